//! The rules of the repository that a compiler does not hold: who may import whom, and how long a file may be.

use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub fn tests() -> Vec<Trial> {
    vec![
        Trial::test("rules::imports_go_one_way", imports),
        Trial::test("rules::files_stay_short", lengths),
        Trial::test("rules::names_stay_home", homes),
        Trial::test("rules::every_promise_names_tests_that_exist", promises),
    ]
}

/// Module -> the modules of this crate it may import.
fn allowed() -> BTreeMap<&'static str, Vec<&'static str>> {
    let all = [
        "aggregate",
        "cli",
        "clock",
        "config",
        "engine",
        "export",
        "files",
        "kafka",
        "mapping",
        "memory",
        "metrics",
        "pipeline",
        "record",
        "secret",
        "statistics",
        "telemetry",
        "topics",
        "touchpoint",
        "web",
        "workload",
    ];
    [
        ("main", all.to_vec()),
        ("lib", all.to_vec()),
        ("cli", all.to_vec()),
        ("record", vec![]),
        ("secret", vec![]),
        ("clock", vec![]),
        ("telemetry", vec![]),
        ("statistics", vec![]),
        ("topics", vec![]),
        ("touchpoint", vec!["record"]),
        ("mapping", vec!["touchpoint", "record"]),
        ("files", vec!["touchpoint", "record"]),
        ("workload", vec!["touchpoint"]),
        ("engine", vec!["touchpoint"]),
        ("metrics", vec!["engine", "touchpoint", "statistics"]),
        ("aggregate", vec!["engine"]),
        ("pipeline", vec!["engine", "touchpoint", "mapping", "record", "clock", "aggregate"]),
        ("memory", vec!["pipeline", "record", "topics"]),
        ("kafka", vec!["secret", "pipeline", "record", "topics"]),
        ("export", vec!["engine", "metrics", "statistics", "pipeline", "clock"]),
        ("web", vec!["aggregate", "clock", "engine", "export", "pipeline", "record", "touchpoint"]),
        ("config", vec!["secret", "engine", "metrics", "mapping", "pipeline", "topics", "touchpoint"]),
    ]
    .into()
}

/// (path, text) of every source file, tests inside the files cut off.
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_string();
                into.push((path, code));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 40, "the sources were found");
    files
}

fn module(path: &Path) -> String {
    let inside = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_string()
}

fn is_test(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests")
}

fn imports() -> Result<(), Failed> {
    let allowed = allowed();
    let mut wrong = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let from = module(&path);
        let may = allowed.get(from.as_str()).ok_or_else(|| format!("module {from} has no rule"))?;
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for part in line.split("crate::").skip(1) {
                let name: String =
                    part.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
                if name != from && !may.contains(&name.as_str()) && allowed.contains_key(name.as_str()) {
                    wrong.push(format!("{}: {from} must not import {name}", path.display()));
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The longest a source file may be: somewhat above what the house style asks for.
const LINES_MAX: usize = 560;

fn lengths() -> Result<(), Failed> {
    let long: Vec<String> = sources()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    if long.is_empty() { Ok(()) } else { Err(long.join("\n").into()) }
}

/// librdkafka under kafka/ alone, tokio and axum in HTTP alone, no unsafe code, no clock in the engine.
fn homes() -> Result<(), Failed> {
    let homes: [(&str, &[&str]); 7] = [
        ("rdkafka::", &["kafka"]),
        ("tokio::", &["export", "web"]),
        ("axum::", &["export", "web"]),
        ("unsafe ", &[]),
        ("SystemTime", &["clock"]),
        ("thread::", &["cli", "clock", "export", "kafka", "memory", "pipeline", "web"]),
        ("tracing::", &["cli", "export", "kafka", "memory", "pipeline", "telemetry", "web"]),
    ];
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        for (name, home) in homes {
            let used = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(name));
            if used && !home.contains(&module(&path).as_str()) && !is_test(&path) {
                wrong.push(format!("{}: {name} belongs into {home:?}", path.display()));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// docs/SEMANTICS.md: every numbered promise names at least one test, and every test it names is there.
fn promises() -> Result<(), Failed> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("docs/SEMANTICS.md"))?;
    let numbered = |line: &str| line.split_once(". **").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
    let starts: Vec<usize> =
        text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| numbered(&text[*at..])).collect();
    assert!(starts.len() >= 15, "the promises were found");
    let mut wrong = Vec::new();
    for (index, start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(text.len());
        let promise = text[*start..end].split("\n#").next().unwrap_or_default();
        let named: Vec<&str> = promise.split('`').skip(1).step_by(2).filter(|name| is_named_test(root, name)).collect();
        if named.is_empty() {
            wrong.push(promise.lines().next().unwrap_or_default().to_string());
        }
        for name in promise.split('`').skip(1).step_by(2).filter(|name| name.contains("::")) {
            if !is_named_test(root, name) {
                wrong.push(format!("there is no test {name}"));
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// `module::name`, `module::*` of this binary, or a module of the crate with tests inside.
fn is_named_test(root: &Path, name: &str) -> bool {
    let (module, test) = name.split_once("::").unwrap_or((name, "*"));
    // Other test binaries are folders of their own.
    if root.join(format!("tests/{module}/main.rs")).exists() && test == "*" {
        return true;
    }
    if let Ok(text) = std::fs::read_to_string(root.join(format!("tests/integration/{module}.rs"))) {
        return test == "*" || text.contains(&format!("{module}::{test}")) || text.contains(&format!("\"{test}\""));
    }
    let path = root.join("src").join(name.replace("::", "/"));
    path.with_extension("rs").exists() || path.is_dir()
}
