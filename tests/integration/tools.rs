//! Tools of other languages that tests run: installed once under `target/tmp`, by pinned versions, or said to be missing.
//!
//! In CI a missing tool is a failure. Elsewhere the test that wants it checks nothing, and the end of the run says so.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use libtest_mimic::Failed;
use xxhash_rust::xxh64::xxh64;

static MISSING: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The tool, or `None` where it is missing and that is no failure.
pub fn or_missing<T>(what: &str, found: Result<T, String>) -> Result<Option<T>, Failed> {
    match found {
        Ok(tool) => Ok(Some(tool)),
        Err(error) if std::env::var_os("CI").is_some() => Err(format!("{what}: {error}").into()),
        Err(error) => {
            let line = format!("{what}: {}", error.lines().next().unwrap_or_default());
            MISSING.lock().unwrap().insert(line);
            Ok(None)
        }
    }
}

/// Says what was not checked, loudly.
pub fn report() {
    for what in MISSING.lock().unwrap().iter() {
        println!("NOT CHECKED: {what}\n");
    }
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The text of a file of the repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a command prints; everything that it says where it fails.
pub fn printed(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if output.status.success() {
        Ok(stdout)
    } else {
        Err(format!("{program} ends with {}\n{stdout}{stderr}", output.status))
    }
}

/// A directory that `make` fills once. It is made anew when `content` changes; who comes meanwhile waits.
pub fn made_once(
    name: &str,
    content: &[&str],
    make: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tools");
    let failed = |error: std::io::Error| format!("{}: {error}", tools.display());
    fs::create_dir_all(&tools).map_err(failed)?;
    let lock = File::create(tools.join(format!("{name}.lock"))).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let (place, made_of) = (tools.join(name), format!("{:016x}", xxh64(content.join("\0").as_bytes(), 0)));
    let mark = place.join("made-of");
    if fs::read_to_string(&mark).is_ok_and(|there| there == made_of) {
        return Ok(place);
    }
    if place.exists() {
        fs::remove_dir_all(&place).map_err(failed)?;
    }
    fs::create_dir_all(&place).map_err(failed)?;
    make(&place)?;
    fs::write(mark, made_of).map_err(failed)?;
    Ok(place)
}

/// The `bin` of a Python environment with what a requirements file of the repository names.
pub fn python(name: &str, requirements: &str) -> Result<PathBuf, String> {
    let wanted = repository(requirements);
    let made = made_once(name, &[&text(requirements)], |place| {
        println!("making a Python environment in {}", place.display());
        printed(Command::new("python3").args(["-m", "venv"]).arg(place))
            .map_err(|error| format!("{error} (Debian: apt-get install python3-venv)"))?;
        let mut pip = Command::new(place.join("bin/pip"));
        printed(pip.args(["install", "-q", "--disable-pip-version-check", "-r"]).arg(&wanted)).map(drop)
    })?;
    Ok(made.join("bin"))
}

/// What was built in a folder is none of its sources.
fn is_built(path: &Path) -> bool {
    path.is_dir() && path.file_name().is_some_and(|name| ["target", "node_modules"].iter().any(|built| name == *built))
}

/// Copies a folder, and what is in it, into another one.
pub fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if is_built(&path) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(failed)?;
        }
    }
    Ok(())
}

/// The text of every file in a folder of the repository, sorted by name: what something was made of.
pub fn sources(folder: &str) -> Vec<String> {
    let mut files: Vec<(PathBuf, String)> = Vec::new();
    let mut folders = vec![repository(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.extend(Some(path).filter(|path| !is_built(path)));
            } else {
                files.push((path.clone(), fs::read_to_string(&path).unwrap_or_default()));
            }
        }
    }
    files.sort();
    files.into_iter().map(|(path, text)| format!("{}\n{text}", path.display())).collect()
}
