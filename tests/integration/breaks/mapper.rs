//! What breaks the mapper process.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // Whatever a mapper rejects has failed in the filter.
    Break {
        name: "reasons_lost",
        file: "src/mapping/mapper.rs",
        text: "let reason = RejectReason::parse(&answer.reason).unwrap_or(RejectReason::MappingFailed);",
        replacement: r#"let reason = RejectReason::parse(&answer.reason).filter(|_| !crate::canary("reasons_lost"));
    let reason = reason.unwrap_or(RejectReason::MappingFailed);"#,
        tests: &["mapper::gives_what_the_mapping_gives"],
    },
    // Nothing limits the processor time of a record.
    Break {
        name: "no_limit_of_time",
        file: "src/mapping/child.rs",
        text: "limit(Resource::Cpu, until)?;",
        replacement: r#"if !crate::canary("no_limit_of_time") {
                limit(Resource::Cpu, until)?;
            }"#,
        tests: &["mapper::a_filter_that_does_not_end_rejects_its_record_in_bounded_time"],
    },
    // The first record without an answer is to blame, although others may have been answered unheard.
    Break {
        name: "first_unanswered_to_blame",
        file: "src/mapping/mapper.rs",
        text: "let alone = std::mem::replace(&mut self.one_by_one, true) && at_once;",
        replacement: r#"let alone = std::mem::replace(&mut self.one_by_one, true) && at_once || crate::canary("first_unanswered_to_blame");"#,
        tests: &["mapper::one_record_in_a_thousand_kills"],
    },
    // A mapper goes on however long it takes.
    Break {
        name: "never_enough",
        file: "src/mapping/child.rs",
        text: "if now - begun > Duration::from_millis(batch.enough_ms) {",
        replacement: r#"if now - begun > Duration::from_millis(batch.enough_ms) && !crate::canary("never_enough") {"#,
        tests: &["mapper::a_filter_that_spins_leaves_the_rest_for_later"],
    },
    // A signal from outside counts as the record's doing.
    Break {
        name: "signals_are_the_records_doing",
        file: "src/mapping/mapper.rs",
        text: "            Some(_) => None,
",
        replacement: r#"            Some(_) => crate::canary("signals_are_the_records_doing").then(|| "the filter ends the mapper".into()),
"#,
        tests: &["mapper::killed_from_outside_nothing_is_rejected"],
    },
    // A mapper stays when its input ends.
    Break {
        name: "stays_without_an_owner",
        file: "src/mapping/frame.rs",
        text: "Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),",
        replacement: r#"Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            if crate::canary("stays_without_an_owner") {
                std::thread::sleep(std::time::Duration::from_secs(40));
            }
            return Ok(None);
        }"#,
        tests: &["mapper::ends_with_its_owner"],
    },
    // A program that is no mapper is not named.
    Break {
        name: "program_not_named",
        file: "src/mapping/mapper.rs",
        text: "NoMapper { program: program.display().to_string(), reason };",
        replacement: r#"NoMapper {
            program: if crate::canary("program_not_named") { "it".into() } else { program.display().to_string() },
            reason,
        };"#,
        tests: &["mapper::a_program_that_is_none_is_named"],
    },
    // What waits for its mapping still waits after a commit that failed.
    Break {
        name: "waiting_after_an_abort",
        file: "src/pipeline/folding.rs",
        text: "task.waiting.clear();",
        replacement: r#"if !crate::canary("waiting_after_an_abort") {
            task.waiting.clear();
        }"#,
        tests: &["mapper::aborts_and_crashes_change_nothing"],
    },
];
