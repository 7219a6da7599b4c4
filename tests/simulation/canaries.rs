//! Canaries: the crate, broken on purpose in one place at a time, must be caught by the seeds that the healthy one passes.
//!
//! The sources are copied, every replacement is made at once, and which of them is alive is chosen at run time by
//! `TOUCHSTONE_CANARY`: so the copy is built once. A text that is not found, or found twice, is a failure: the canary
//! has to follow the code.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::copied::{Copied, SWITCH_VARIABLE, add_switch, replace};

/// Each in at most so many seeds.
const SEEDS: u64 = 2_000;

/// What is broken, by its name; one canary may need several replacements.
struct Canary {
    name: &'static str,
    file: &'static str,
    text: &'static str,
    replacement: &'static str,
}

const CANARIES: &[Canary] = &[
    // A sink that commits the offsets apart from the outputs.
    Canary {
        name: "offsets_apart",
        file: "src/memory/state.rs",
        text: "self.groups.entry(group.to_owned()).or_default().hold(place);",
        replacement: "self.groups.entry(group.to_owned()).or_default().hold(place);
            if crate::canary(\"offsets_apart\") {
                let at_once = Some((offset, metadata.to_owned()));
                self.groups.entry(group.to_owned()).or_default().set_committed(place, at_once);
            }",
    },
    // A ledger that does not look where a section begins.
    Canary {
        name: "ledger_ignores_from",
        file: "src/engine/ledger.rs",
        text: "if section.from == entry.standing {",
        replacement: "if section.from == entry.standing || crate::canary(\"ledger_ignores_from\") {",
    },
    // Ids that were learned since the last commit survive its abort.
    Canary {
        name: "ids_kept_across_an_abort",
        file: "src/engine/stage/fold.rs",
        text: "self.ids.aborted();",
        replacement: "if !crate::canary(\"ids_kept_across_an_abort\") { self.ids.aborted(); }",
    },
    // The watermark is not taken from the metadata, but worked out again from the newest event.
    Canary {
        name: "watermark_recomputed",
        file: "src/engine/stage/fold.rs",
        text: "standing: Standing { offset, watermark: memory.watermark, accepted: memory.totals.accepted },",
        replacement: "standing: Standing {
                offset,
                watermark: if crate::canary(\"watermark_recomputed\") {
                    memory.newest.and_then(|newest| fold.settings().policy.after_event(None, newest))
                } else {
                    memory.watermark
                },
                accepted: memory.totals.accepted,
            },",
    },
    // Merge closes windows before the last source has registered.
    Canary {
        name: "closes_before_all_registered",
        file: "src/engine/ledger.rs",
        text: "(0..latest.partitions).all(",
        replacement: "crate::canary(\"closes_before_all_registered\") || (0..latest.partitions).all(",
    },
    // What was taken in stays in the panes although the commit did not happen.
    Canary {
        name: "overlay_folded_in_early",
        file: "src/engine/stage/store.rs",
        text: "while let Some(Undo { values, level, start, before }) = self.undo.pop() {",
        replacement: "if crate::canary(\"overlay_folded_in_early\") {
            self.undo.clear();
        }
        while let Some(Undo { values, level, start, before }) = self.undo.pop() {",
    },
    // A worker commits under the group's present generation, whatever it was told.
    Canary {
        name: "present_generation",
        file: "src/memory/group.rs",
        text: "if generation != self.generation {",
        replacement: "if generation != self.generation && !crate::canary(\"present_generation\") {",
    },
    Canary {
        name: "present_generation",
        file: "src/memory/group.rs",
        text: "if !self.members.contains_key(&member) {",
        replacement: "if !self.members.contains_key(&member) && !crate::canary(\"present_generation\") {",
    },
    // Partitions are handed out while a transaction holds their offset.
    Canary {
        name: "pending_offset_ignored",
        file: "src/memory/group.rs",
        text: ".filter(|place| !self.pending.contains_key(place))",
        replacement: ".filter(|place| crate::canary(\"pending_offset_ignored\") || !self.pending.contains_key(place))",
    },
    // An old producer may go on under an identity that was taken over.
    Canary {
        name: "fence_ignored",
        file: "src/memory/state.rs",
        text: "filter(|producer| producer.epoch == epoch)",
        replacement: "filter(|producer| producer.epoch == epoch || crate::canary(\"fence_ignored\"))",
    },
    // After a restart nothing is learned again.
    Canary {
        name: "ids_not_learned_again",
        file: "src/engine/stage/fold.rs",
        text: "let mut replay_from = if fold.settings().dedup {",
        replacement: "let mut replay_from = if fold.settings().dedup && !crate::canary(\"ids_not_learned_again\") {",
    },
    // Nothing is late.
    Canary {
        name: "late_let_in",
        file: "src/engine/stage/fold.rs",
        text: "if touchpoint.time < horizon {",
        replacement: "if touchpoint.time < horizon && !crate::canary(\"late_let_in\") {",
    },
    // Letters go out once more with the next commit.
    Canary {
        name: "letters_sent_again",
        file: "src/pipeline/folding.rs",
        text: "outputs.append(&mut task.letters);",
        replacement: "outputs.extend(task.letters.iter().cloned());
            if !crate::canary(\"letters_sent_again\") {
                task.letters.clear();
            }",
    },
    // An answer that was lost is taken for a refusal.
    Canary {
        name: "unknown_is_abort",
        file: "src/pipeline/worker/commit.rs",
        text: "CommitError::Unknown(_) => self.start_over()?,",
        replacement: "CommitError::Unknown(_) if crate::canary(\"unknown_is_abort\") => self.rewind(tasks),
            CommitError::Unknown(_) => self.start_over()?,",
    },
    // Silence moves time although the log has not ended.
    Canary {
        name: "silence_without_proof",
        file: "src/pipeline/worker.rs",
        text: "if drained && stage.heeds_silence() {",
        replacement: "if (drained || crate::canary(\"silence_without_proof\")) && stage.heeds_silence() {",
    },
    // Windows that were final before a restart are published once more after it.
    Canary {
        name: "finals_again_after_a_restart",
        file: "src/engine/stage/merge.rs",
        text: "if !self.silent {",
        replacement: "if !self.silent || crate::canary(\"finals_again_after_a_restart\") {",
    },
    Canary {
        name: "finals_again_after_a_restart",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "self.silent = false;\n        self.closed.clear();",
        replacement: "self.silent = false;
        if !crate::canary(\"finals_again_after_a_restart\") {
            self.closed.clear();
        }",
    },
    // What a task had counted that is gone goes out with the others' commit, and again with that of its next owner.
    Canary {
        name: "counts_of_one_that_is_gone",
        file: "src/pipeline/worker/commit.rs",
        text: "if stage.is_spoiled(&live(slots)) {",
        replacement: "if stage.is_spoiled(&live(slots)) && !crate::canary(\"counts_of_one_that_is_gone\") {",
    },
    // Panes that leave before a commit that fails do not come back.
    Canary {
        name: "panes_that_left_stay_away",
        file: "src/engine/stage/store.rs",
        text: "for (values, left) in std::mem::take(&mut self.left) {",
        replacement: "let left = std::mem::take(&mut self.left);
        for (values, left) in left.into_iter().filter(|_| !crate::canary(\"panes_that_left_stay_away\")) {",
    },
    // A pane that changed again is not written by the next checkpoint.
    Canary {
        name: "checkpoint_misses_a_change",
        file: "src/engine/stage/store.rs",
        text: "pane.dirty = true;",
        replacement: "pane.dirty |= !crate::canary(\"checkpoint_misses_a_change\");",
    },
    // A changelog that lacks what a torn transaction lost is taken for whole.
    Canary {
        name: "changelog_taken_for_whole",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "is_some_and(|named| named != contents)",
        replacement: "is_some_and(|named| named != contents && !crate::canary(\"changelog_taken_for_whole\"))",
    },
    // A source begins without having been announced: time may have passed what it takes.
    Canary {
        name: "joins_unannounced",
        file: "src/pipeline/announcing.rs",
        text: "Some(target) if self.view.has_passed(target) => {",
        replacement: "Some(target) if self.view.has_passed(target) || crate::canary(\"joins_unannounced\") => {",
    },
    // A source that joins begins with no time instead of merge's.
    Canary {
        name: "joins_without_time",
        file: "src/engine/stage/fold.rs",
        text: "pub fn joined(&mut self, watermark: Option<i64>, floor: Option<i64>) {",
        replacement: "pub fn joined(&mut self, watermark: Option<i64>, floor: Option<i64>) {
        let alive = crate::canary(\"joins_without_time\");
        let (watermark, floor) = if alive { (None, None) } else { (watermark, floor) };",
    },
    // Cells of other definitions are added up.
    Canary {
        name: "definitions_mixed",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "if definitions != plan.definitions[series.by] {",
        replacement: "if definitions != plan.definitions[series.by] && !crate::canary(\"definitions_mixed\") {",
    },
    // A source that merge knows begins anew although its offsets are gone.
    Canary {
        name: "lost_offsets_unseen",
        file: "src/pipeline/announcing.rs",
        text: "task.halt = offsets_lost(&task.fold, epoch);",
        replacement: "task.halt = offsets_lost(&task.fold, epoch).filter(|_| !crate::canary(\"lost_offsets_unseen\"));",
    },
    // A broker whose readers see what was aborted.
    Canary {
        name: "aborted_records_seen",
        file: "src/memory/log.rs",
        text: "if entry.state == State::Visible {",
        replacement: "if entry.state == State::Visible
                    || entry.state == State::Aborted && crate::canary(\"aborted_records_seen\") {",
    },
];

/// Builds the broken crate and sends every canary through the seeds; `only` those whose name contains it.
pub fn act(only: &str) -> ExitCode {
    let program = match build() {
        Ok(program) => program,
        Err(reason) => {
            println!("{reason}\n0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let mut names: Vec<&str> = CANARIES.iter().map(|canary| canary.name).filter(|name| name.contains(only)).collect();
    names.dedup();
    let mut escaped = 0;
    for name in &names {
        let seeds = SEEDS.to_string();
        let mut command = Command::new(&program);
        command.args(["--first-failure", "--seeds", &seeds]).env(SWITCH_VARIABLE, name);
        let output = command.output().expect("it was built just now");
        let text = String::from_utf8_lossy(&output.stdout);
        let caught = text.lines().find(|line| line.starts_with("seed ") && line.contains(" failed: "));
        match caught.filter(|_| !output.status.success()) {
            Some(line) => println!("{name}: caught by {}", line.chars().take(160).collect::<String>()),
            None => {
                println!("{name}: NOT CAUGHT within {SEEDS} seeds");
                escaped += 1;
            }
        }
    }
    println!("{} passed, {escaped} failed", names.len() - escaped);
    if escaped == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The broken crate's simulator.
fn build() -> Result<PathBuf, String> {
    let copied = Copied {
        name: "canaries",
        directories: &["tests/simulation", "tests/integration"],
        links: &[],
        targets: &["simulation"],
        program: "simulation",
        cargo: &["test", "--no-run", "--test", "simulation"],
        is_idle: false,
    };
    copied.build(|sources| {
        for Canary { name, file, text, replacement } in CANARIES {
            replace(sources, file, text, replacement).map_err(|error| format!("canary {name}: {error}"))?;
        }
        add_switch(sources)
    })
}
