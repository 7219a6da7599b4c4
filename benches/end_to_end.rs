//! Replay end to end against the decoder alone, on the same lines: CPU time per item of both, and their ratio.
//!
//!     cargo bench --bench end_to_end [-- ITEMS]
//!
//! CPU is user + system time of a process; both sides run in a process of their own.

use std::path::Path;
use std::process::{Command, Stdio};
use touchstone::touchpoint::{DecodeContext, Item, Limits, decode_event};

/// The argument that makes this program the decoder alone.
const FLOOR: &str = "--decode-only";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [mode, file] = &arguments[..]
        && mode == FLOOR
    {
        return decode_only(Path::new(file));
    }
    let items = arguments.first().map_or("1000000", String::as_str);
    let directory = tempfile::tempdir().expect("a directory for the input");
    let file = directory.path().join("items.ndjson");
    let input = std::fs::File::create(&file).expect("the input");
    let program = env!("CARGO_BIN_EXE_touchstone");
    let made = Command::new(program).args(["generate", "--clean", "--count", items]).stdout(input).status();
    assert!(made.expect("generate runs").success());
    let count: f64 = items.parse().expect("a number of items");
    let own = std::env::current_exe().expect("this program");
    let mut ratios = Vec::new();
    for round in 1..=3 {
        let floor = cpu_seconds(Command::new(&own).arg(FLOOR).arg(&file)) / count * 1e9;
        let replay = cpu_seconds(Command::new(program).arg("replay").arg(&file)) / count * 1e9;
        let live = cpu_seconds(Command::new(program).args(["replay", "--as-live"]).arg(&file)) / count * 1e9;
        println!(
            "round {round}: decoder alone {floor:.0} ns, replay {replay:.0} ns ({:.2} x), as live {live:.0} ns ({:.2} x) an item",
            replay / floor,
            live / floor
        );
        ratios.push(replay / floor);
    }
    ratios.sort_by(f64::total_cmp);
    println!("replay costs {:.2} times the decoder alone (median of 3, {items} items)", ratios[1]);
}

/// Decodes every line, and nothing else.
fn decode_only(file: &Path) {
    let context = DecodeContext { now: i64::MAX / 2, max_future_ms: 0, limits: Limits { record_bytes_max: 1 << 20 } };
    let mut input = touchstone::files::InputFile::open(&file.to_string_lossy(), None, 1 << 20).expect("the input");
    let mut accepted = 0u64;
    while let Some(row) = input.next_row().expect("readable") {
        let text = row.content.ok().and_then(|bytes| std::str::from_utf8(bytes).ok()).expect("clean lines");
        accepted += u64::from(matches!(decode_event(text, None, &context), Item::Touchpoint(_)));
    }
    assert!(accepted > 0);
}

/// User and system time of a process, as the kernel counts it for ended children.
fn cpu_seconds(command: &mut Command) -> f64 {
    let before = children();
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("it runs");
    assert!(status.success());
    children() - before
}

fn children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit_once(") ").expect("the name is in brackets").1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    // cutime and cstime, fields 16 and 17 of proc(5), in ticks of 1/100 s.
    let ticks: f64 = fields[13].parse::<f64>().expect("a number") + fields[14].parse::<f64>().expect("a number");
    ticks / 100.0
}
