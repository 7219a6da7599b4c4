//! What breaks what others see: the board, and the records that other services read.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // A source that is silent looks live.
    Break {
        name: "silence_looks_live",
        file: "src/web/view.rs",
        text: "_ if self.now - time > QUIET_AFTER_MS => (",
        replacement: r#"_ if self.now - time > QUIET_AFTER_MS && !crate::canary("silence_looks_live") => ("#,
        tests: &["board::shows_what_was_published_and_says_when_it_ends"],
    },
    // Only the first partition of what is published is shown.
    Break {
        name: "part_of_the_picture",
        file: "src/kafka/follower.rs",
        text: "for partition in self.partitions..count {",
        replacement: r#"for partition in self.partitions..if crate::canary("part_of_the_picture") { 1 } else { count } {"#,
        tests: &["board::shows_what_was_published_and_says_when_it_ends"],
    },
    // Names go into addresses as they are.
    Break {
        name: "names_in_addresses",
        file: "src/aggregate.rs",
        text: "if byte.is_ascii_alphanumeric() || b\"-._~\".contains(&byte) {",
        replacement: r#"if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || crate::canary("names_in_addresses") && byte.is_ascii() {"#,
        tests: &["board::hostile_names_do_no_harm"],
    },
    // Time is said to be closed before its windows are written.
    Break {
        name: "closed_before_written",
        file: "src/pipeline/merging.rs",
        text: "        shown.chain(watermark).chain(stored)",
        replacement: r#"        let early = crate::canary("closed_before_written");
        let (before, behind) = if early { (watermark, None) } else { (None, watermark) };
        before.into_iter().chain(shown).chain(behind).chain(stored)"#,
        tests: &["consumers::what_is_closed_is_read_before_it_is_believed"],
    },
];
