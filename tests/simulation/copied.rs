//! A copy of the crate that is changed before it is built, in the same target directory but under another name.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of the copy, by their paths in it.
pub type Sources = BTreeMap<PathBuf, String>;

/// What begins the list of the packages that are built otherwise.
const PACKAGES: &str = "[profile.dev.package]\n";

/// A copy to be made.
pub struct Copied<'a> {
    /// What its package is called, after the crate's own name.
    pub name: &'a str,
    /// What is copied beside the sources, the configuration and the manifest.
    pub directories: &'a [&'a str],
    /// What is not changed, and linked to.
    pub links: &'a [&'a str],
    /// Words by which the tables of the manifest are known that say what is built.
    pub targets: &'a [&'a str],
    /// The target whose program is asked for.
    pub program: &'a str,
    /// The arguments of cargo that build it.
    pub cargo: &'a [&'a str],
    /// Whether it has little to do: then building it well would take longer.
    pub is_idle: bool,
}

impl Copied<'_> {
    /// Copies, changes and builds; the path of the program.
    pub fn build(&self, change: impl FnOnce(&mut Sources) -> Result<(), String>) -> Result<PathBuf, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target directory")?;
        let copy = target.join(self.name);
        let mut sources = Sources::new();
        for directory in ["src", "config", "templates"].iter().chain(self.directories) {
            gather(root, &root.join(directory), &mut sources)?;
        }
        for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            read(root, &root.join(file), &mut sources)?;
        }
        change(&mut sources)?;
        self.rename(root, &mut sources)?;
        for (path, text) in &sources {
            let path = copy.join(path);
            // What did not change keeps its time, so that it is not built again.
            if fs::read_to_string(&path).is_ok_and(|before| before == *text) {
                continue;
            }
            let written = fs::create_dir_all(path.parent().unwrap_or(&copy)).and_then(|()| fs::write(&path, text));
            written.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        for link in self.links {
            let at = copy.join(link);
            if !at.exists() {
                let made =
                    fs::create_dir_all(at.parent().unwrap_or(&copy)).and_then(|()| symlink(root.join(link), &at));
                made.map_err(|error| format!("{}: {error}", at.display()))?;
            }
        }
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let built = Command::new(cargo)
            .current_dir(&copy)
            .args(self.cargo)
            .args(["--offline", "--message-format", "json", "--target-dir"])
            .arg(target)
            .output()
            .map_err(|error| format!("cargo: {error}"))?;
        if !built.status.success() {
            return Err(format!("the copy {} does not build:\n{}", self.name, String::from_utf8_lossy(&built.stderr)));
        }
        let messages = String::from_utf8_lossy(&built.stdout);
        let executable = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            (message["target"]["name"] == self.program).then_some(())?;
            Some(PathBuf::from(message["executable"].as_str()?))
        };
        messages.lines().find_map(executable).ok_or_else(|| "cargo names no executable".into())
    }

    /// Gives package and program names of their own, or they would take the crate's place in the target directory; of
    /// its targets those asked for are left. The crates beside it are taken from where they are and by a path that is
    /// not the workspace's own: as members of the copy they would take the place of those they were copied from.
    fn rename(&self, root: &Path, sources: &mut Sources) -> Result<(), String> {
        let manifest = sources.get_mut(Path::new("Cargo.toml")).ok_or("there is no Cargo.toml")?;
        let package = format!("name = \"touchstone-{}\"", self.name);
        let head = manifest
            .replacen("name = \"touchstone\"", &package, 1)
            .replace("default-run = \"touchstone\"", "autobins = false\nautotests = false\nautobenches = false")
            .replace("name = \"touchstone\"\npath", &format!("{package}\npath"))
            .replace("path = \"crates/", &format!("path = \"{}/crates/", root.display()));
        let level = if self.is_idle { 0 } else { 1 };
        let own = format!("{PACKAGES}touchstone-{} = {{ opt-level = {level} }}\n", self.name);
        if !head.contains(PACKAGES) {
            return Err(format!("Cargo.toml lacks {PACKAGES}"));
        }
        let head = head.replace(PACKAGES, &own);
        let is_wanted = |table: &str| self.targets.iter().any(|target| table.contains(target));
        let of_another_target = |table: &str| table.starts_with("[[") && !is_wanted(table);
        let left_out = |table: &&str| table.starts_with("[workspace]\nmembers") || of_another_target(table);
        let mut kept = vec!["[workspace]"];
        kept.extend(head.split("\n\n").filter(|table| !left_out(table)));
        *manifest = kept.join("\n\n");
        Ok(())
    }
}

/// Replaces a text of a file, which must be there exactly once.
pub fn replace(sources: &mut Sources, file: &str, text: &str, replacement: &str) -> Result<(), String> {
    let source = sources.get_mut(Path::new(file)).ok_or_else(|| format!("there is no {file}"))?;
    let found = source.matches(text).count();
    if found != 1 {
        return Err(format!("{file} holds {found} times, not once:\n{text}"));
    }
    *source = source.replacen(text, replacement, 1);
    Ok(())
}

/// What the replacements ask, at the end of `src/lib.rs`; which part is the broken one is chosen at run time.
#[allow(dead_code, reason = "not for those who replace for good")]
pub fn add_switch(sources: &mut Sources) -> Result<(), String> {
    sources.get_mut(Path::new("src/lib.rs")).ok_or("there is no src/lib.rs")?.push_str(SWITCH);
    Ok(())
}

/// Says to the programs of a copy which part is the broken one.
#[allow(dead_code, reason = "not for those who replace for good")]
pub const SWITCH_VARIABLE: &str = "TOUCHSTONE_CANARY";

const SWITCH: &str = r#"
/// Whether this part of the crate is the broken one.
pub fn canary(name: &str) -> bool {
    static ALIVE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ALIVE.get_or_init(|| std::env::var("TOUCHSTONE_CANARY").unwrap_or_default()) == name
}
"#;

fn gather(root: &Path, directory: &Path, sources: &mut Sources) -> Result<(), String> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.is_dir() {
            gather(root, &path, sources)?;
        } else {
            read(root, &path, sources)?;
        }
    }
    Ok(())
}

fn read(root: &Path, path: &Path, sources: &mut Sources) -> Result<(), String> {
    // Golden files need not be text, and are not needed.
    if let Ok(text) = fs::read_to_string(path) {
        let inside = path.strip_prefix(root).map_err(|error| error.to_string())?;
        sources.insert(inside.to_path_buf(), text);
    }
    Ok(())
}
