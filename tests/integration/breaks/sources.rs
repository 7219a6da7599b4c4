//! What breaks the life of sources.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // A source begins before it has been heard.
    Break {
        name: "joins_unheard",
        file: "src/pipeline/announcing.rs",
        text: "Some(target) if self.view.has_passed(target) => {",
        replacement: r#"Some(target) if self.view.has_passed(target) || crate::canary("joins_unheard") => {"#,
        tests: &["sources::nothing_is_taken_before_merge_has_heard"],
    },
    // A source that joins begins with no time.
    Break {
        name: "joins_without_time",
        file: "src/pipeline/announcing.rs",
        text: "task.fold.joined(reach.watermark, reach.final_until);",
        replacement: r#"if crate::canary("joins_without_time") {
                        task.fold.joined(None, None);
                    } else {
                        task.fold.joined(reach.watermark, reach.final_until);
                    }"#,
        tests: &["sources::a_partition_added_later_loses_nothing"],
    },
    // A halt of merge is not written where the sources look.
    Break {
        name: "halt_not_marked",
        file: "src/pipeline/merging.rs",
        text: "Some((offset, metadata.encode(self.plan.format)))",
        replacement: r#"Some((offset, metadata.encode(self.plan.format))).filter(|_| !crate::canary("halt_not_marked"))"#,
        tests: &["sources::nobody_joins_while_a_merge_task_is_halted"],
    },
    // However far ahead, a source goes on.
    Break {
        name: "no_limit_of_skew",
        file: "src/pipeline/alignment.rs",
        text: "reach.map_or(i64::MIN, |reach| reach.saturating_add(max_skew_ms))",
        replacement: r#"if crate::canary("no_limit_of_skew") {
        return i64::MAX;
    }
    reach.map_or(i64::MIN, |reach| reach.saturating_add(max_skew_ms))"#,
        tests: &["sources::a_source_waits_for_those_behind"],
    },
    // A source that is held says nothing until it may go on.
    Break {
        name: "held_says_nothing",
        file: "src/pipeline/announcing.rs",
        text: "> STANDSTILL_MS {\n                    // Merge may",
        replacement: "> STANDSTILL_MS && !crate::canary(\"held_says_nothing\") {\n                    // Merge may",
        tests: &["sources::what_a_source_said_last_and_was_lost_is_found_while_it_waits"],
    },
    // A new epoch goes on where the one before stood.
    Break {
        name: "epoch_goes_on",
        file: "src/pipeline/announcing.rs",
        text: "Some(_) => link.start(assigned.id).map_err(Fault::Unavailable)?,",
        replacement: r#"Some(_) if crate::canary("epoch_goes_on") => (assigned.position, assigned.first_timestamp),
                Some(_) => link.start(assigned.id).map_err(Fault::Unavailable)?,"#,
        tests: &["sources::a_new_epoch_begins_anew"],
    },
    // An epoch may go back.
    Break {
        name: "epoch_may_go_back",
        file: "src/pipeline/announcing.rs",
        text: "if memory.epoch > input.epoch {",
        replacement: r#"if memory.epoch > input.epoch && !crate::canary("epoch_may_go_back") {"#,
        tests: &["sources::an_epoch_that_has_passed_halts"],
    },
    // A source that merge knows begins anew although its offsets are gone.
    Break {
        name: "lost_offsets_unseen",
        file: "src/pipeline/announcing.rs",
        text: "task.halt = offsets_lost(&task.fold, epoch);",
        replacement: r#"task.halt = offsets_lost(&task.fold, epoch).filter(|_| !crate::canary("lost_offsets_unseen"));"#,
        tests: &["sources::expired_offsets_halt_one_task"],
    },
    // An offset that is adopted becomes the first there is.
    Break {
        name: "adopted_at_the_beginning",
        file: "src/pipeline/sources.rs",
        text: "Ok((*offset, adopted.encode(format)))",
        replacement: r#"Ok((if crate::canary("adopted_at_the_beginning") { low } else { *offset }, adopted.encode(format)))"#,
        tests: &["sources::foreign_offsets_are_adopted"],
    },
    // A gap that was accepted is not stepped over.
    Break {
        name: "gap_not_stepped_over",
        file: "src/engine/stage/fold.rs",
        text: "self.state.standing.offset = self.behind_gap.unwrap_or(self.state.standing.offset);",
        replacement: r#"if !crate::canary("gap_not_stepped_over") {
            self.state.standing.offset = self.behind_gap.unwrap_or(self.state.standing.offset);
        }"#,
        tests: &["sources::a_gap_in_the_input_is_accepted"],
    },
    // Time moves before everything that a record holds is counted.
    Break {
        name: "time_moves_before_the_cells",
        file: "src/engine/stage/merge.rs",
        text: "        let newest = sections.iter().filter_map(|section| section.newest).max();\n        for section in sections {",
        replacement: r#"        let newest = sections.iter().filter_map(|section| section.newest).max();
        if crate::canary("time_moves_before_the_cells") {
            sections.iter().for_each(|section| self.state.ledger.apply(section));
            self.advance_all();
        }
        for section in sections {"#,
        tests: &["order::a_record_closes_no_window_that_it_counts_in"],
    },
    // What was not counted is missing up to the newest of the source that holds the cells alone.
    Break {
        name: "uncovered_by_one_source",
        file: "src/engine/stage/merge.rs",
        text: "self.uncover(section, newest);",
        replacement: r#"self.uncover(section, if crate::canary("uncovered_by_one_source") { section.newest } else { newest });"#,
        tests: &["merge_state::what_was_not_counted_is_missing_up_to_the_newest_of_all_sources"],
    },
    // A record of which a part was taken in before is taken in all the same.
    Break {
        name: "half_a_record_taken",
        file: "src/engine/stage/merge.rs",
        text: "if halt.is_none() && before > 0 && !follow.is_empty() && shared {",
        replacement: r#"if halt.is_none() && before > 0 && !follow.is_empty() && shared && !crate::canary("half_a_record_taken") {"#,
        tests: &["restart::half_a_record_halts"],
    },
    // What a gap in the deltas tore says nothing of it.
    Break {
        name: "torn_windows_say_nothing",
        file: "src/engine/stage/merge.rs",
        text: "self.uncover_all(sections.iter().filter_map(|section| section.newest).max());",
        replacement: r#"if !crate::canary("torn_windows_say_nothing") {
            self.uncover_all(sections.iter().filter_map(|section| section.newest).max());
        }"#,
        tests: &["sources::a_gap_in_the_deltas_is_accepted"],
    },
    // A merge task that lost its offsets is not told its checkpoint.
    Break {
        name: "checkpoint_not_named",
        file: "src/pipeline/sources.rs",
        text: "let memory = MergeMetadata { checkpoint, accept, ..MergeMetadata::default() };",
        replacement: r#"let named = if crate::canary("checkpoint_not_named") { 0 } else { checkpoint };
        let memory = MergeMetadata { checkpoint: named, accept, ..MergeMetadata::default() };"#,
        tests: &["sources::lost_offsets_of_merge_are_found_in_its_changelog"],
    },
    // A changelog that was given up is read all the same.
    Break {
        name: "damage_read_again",
        file: "src/pipeline/merging.rs",
        text: "metadata.checkpoint == 0 && metadata.accept.is_some()",
        replacement: r#"metadata.checkpoint == 0 && metadata.accept.is_some() && !crate::canary("damage_read_again")"#,
        tests: &["sources::a_lost_changelog_is_rebuilt_from_the_deltas"],
    },
    // A source that is retired does not say its last word.
    Break {
        name: "no_last_word",
        file: "src/engine/stage/fold.rs",
        text: "self.state.phase = Phase::Retired;",
        replacement: r#"if !crate::canary("no_last_word") {
            self.state.phase = Phase::Retired;
        }"#,
        tests: &["sources::a_removed_input_holds_time_until_it_is_retired"],
    },
    // A record that was named is taken all the same.
    Break {
        name: "named_record_taken",
        file: "src/pipeline/folding.rs",
        text: "if input.skip_offsets.contains(&(partition, record.offset)) {",
        replacement: r#"if input.skip_offsets.contains(&(partition, record.offset)) && !crate::canary("named_record_taken") {"#,
        tests: &["sources::a_record_is_stepped_over"],
    },
    // After a commit that cannot be written all of them try together again.
    Break {
        name: "never_one_by_one",
        file: "src/pipeline/worker/commit.rs",
        text: "self.one_by_one = true;",
        replacement: r#"self.one_by_one = !crate::canary("never_one_by_one");"#,
        tests: &["sources::what_cannot_be_written_halts_the_one_to_blame"],
    },
    // Tasks that commit one by one go on counting together.
    Break {
        name: "counts_not_apart",
        file: "src/pipeline/folding.rs",
        text: "self.apart = apart;",
        replacement: r#"self.apart = apart && !crate::canary("counts_not_apart");"#,
        tests: &["sources::what_cannot_be_written_halts_the_one_to_blame"],
    },
    // A raised lateness reaches back over a restart.
    Break {
        name: "horizon_forgotten",
        file: "src/engine/stage/fold.rs",
        text: "floor: memory.horizon.unwrap_or(i64::MIN),",
        replacement: r#"floor: memory.horizon.filter(|_| !crate::canary("horizon_forgotten")).unwrap_or(i64::MIN),"#,
        tests: &["sources::lateness_that_is_raised_opens_no_final_window"],
    },
    // A series that is new counts as covered since ever.
    Break {
        name: "new_series_covered",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: ".map_or(anew, |kept| kept.covered_from);",
        replacement: r#".map_or(if crate::canary("new_series_covered") { i64::MIN } else { anew }, |kept| kept.covered_from);"#,
        tests: &["sources::changed_definitions_say_from_when_they_hold"],
    },
    // Offsets are written in the latest format, whatever is configured.
    Break {
        name: "metadata_in_the_latest_format",
        file: "src/pipeline/folding.rs",
        text: "task.fold.metadata().encode(self.plan.format)",
        replacement: r#"task.fold.metadata().encode(if crate::canary("metadata_in_the_latest_format") {
                    crate::engine::codec::Format::LATEST
                } else {
                    self.plan.format
                })"#,
        tests: &["sources::the_format_may_change_up_and_down"],
    },
    // So are deltas.
    Break {
        name: "deltas_in_the_latest_format",
        file: "src/pipeline/deltas.rs",
        text: "sections[0].groups = groups;\n                encode_delta(&sections, plan.format)",
        replacement: r#"sections[0].groups = groups;
                let latest = crate::canary("deltas_in_the_latest_format").then_some(crate::engine::codec::Format::LATEST);
                encode_delta(&sections, latest.unwrap_or(plan.format))"#,
        tests: &["sources::the_format_may_change_up_and_down"],
    },
    // So are panes.
    Break {
        name: "panes_in_the_latest_format",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "let value = encode_pane(&pane.cell, definitions, plan.format);",
        replacement: r#"let latest =
                            crate::canary("panes_in_the_latest_format").then_some(crate::engine::codec::Format::LATEST);
                        let value = encode_pane(&pane.cell, definitions, latest.unwrap_or(plan.format));"#,
        tests: &["sources::the_format_may_change_up_and_down"],
    },
    // Panes in another format stay as they are.
    Break {
        name: "panes_of_another_format_stay",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "format != self.plan.format)",
        replacement: r#"format != self.plan.format && !crate::canary("panes_of_another_format_stay"))"#,
        tests: &["sources::the_format_may_change_up_and_down"],
    },
];
