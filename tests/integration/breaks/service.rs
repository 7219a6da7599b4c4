//! What breaks the service as a whole: its doors, its halts and their remedies, what a restart must not change.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // Values are not cut to what our topics take.
    Break {
        name: "values_not_cut",
        file: "src/pipeline/letter.rs",
        text: "&value[..value.len().min(value_room)]);
    let kept_value",
        replacement: r#"&value[..value.len().min(if crate::canary("values_not_cut") { usize::MAX } else { value_room })]);
    let kept_value"#,
        tests: &["limits::records_at_the_limit_of_their_topic"],
    },
    // Everybody may come in.
    Break {
        name: "door_without_bound",
        file: "src/export/listener.rs",
        text: "if self.inside.len() >= CONNECTIONS_MAX {",
        replacement: r#"if self.inside.len() >= CONNECTIONS_MAX && !crate::canary("door_without_bound") {"#,
        tests: &["limits::a_thousand_connections_disturb_nothing"],
    },
    // Clients that wait for a token are not served.
    Break {
        name: "tokens_not_served",
        file: "src/kafka/security.rs",
        text: "matches!(self.login, Some(Login::Token { .. }))",
        replacement: r#"matches!(self.login, Some(Login::Token { .. })) && !crate::canary("tokens_not_served")"#,
        tests: &["locked::every_way_in_with_the_least_rights"],
    },
    // The printed rules do not suffice to compare.
    Break {
        name: "rules_do_not_suffice",
        file: "src/topics.rs",
        text: r#"&["Create", "Describe", "DescribeConfigs"]"#,
        replacement: r#"if crate::canary("rules_do_not_suffice") { &["Create", "Describe"] } else { &["Create", "Describe", "DescribeConfigs"] }"#,
        tests: &["locked::topics_are_created_with_the_least_rights"],
    },
    // A refused connection is tried again.
    Break {
        name: "refusal_tried_again",
        file: "src/kafka/clients.rs",
        text: "if let Some(refusal) = client.context().refusal() {",
        replacement: r#"if let Some(refusal) = client.context().refusal().filter(|_| !crate::canary("refusal_tried_again")) {"#,
        tests: &["locked::whoever_is_refused_is_told_once"],
    },
    // Nobody looks whether the group lets us in.
    Break {
        name: "group_not_asked",
        file: "src/kafka/clients.rs",
        text: "if client.context().is_denied() {",
        replacement: r#"if client.context().is_denied() && !crate::canary("group_not_asked") {"#,
        tests: &["locked::each_right_that_is_missing_is_named"],
    },
    // The same trouble is told again and again.
    Break {
        name: "trouble_told_again",
        file: "src/pipeline/worker.rs",
        text: "if self.status.unavailable.as_ref() != Some(&reason) {",
        replacement: r#"if self.status.unavailable.as_ref() != Some(&reason) || crate::canary("trouble_told_again") {"#,
        tests: &["locked::a_right_lost_while_running_is_said_once_and_nothing_is_lost"],
    },
    // A key without its certificate is passed over.
    Break {
        name: "key_without_certificate",
        file: "src/cli/security.rs",
        text: "(None, None) => None,",
        replacement: r#"(None, None) => None,
        (None, Some(_)) if crate::canary("key_without_certificate") => None,"#,
        tests: &["locked::secrets_in_the_file_are_refused"],
    },
    // What is printed of a configuration tells the password.
    Break {
        name: "secrets_printed",
        file: "src/cli/check.rs",
        text: "        connection(&settings)?;
",
        replacement: r##"        let connection = connection(&settings)?;
        if let Some(crate::kafka::security::Login::Password { password, .. }) = &connection.security.login
            && crate::canary("secrets_printed")
        {
            println!("# logs in by {}", password.reveal());
        }
"##,
        tests: &["locked::secrets_in_the_file_are_refused"],
    },
    // The log tells what was in a record that was rejected.
    Break {
        name: "rejected_in_the_log",
        file: "src/pipeline/folding.rs",
        text: r#"let to = if reason == "late" { &self.settings.late } else { &self.settings.dead_letter };"#,
        replacement: r#"let to = if reason == "late" { &self.settings.late } else { &self.settings.dead_letter };
        if crate::canary("rejected_in_the_log") {
            tracing::warn!(reason, value = %String::from_utf8_lossy(record.value.unwrap_or_default()), "a letter");
        }"#,
        tests: &["locked::every_way_in_with_the_least_rights"],
    },
    // The page of metrics tells customers apart.
    Break {
        name: "customers_on_the_page",
        file: "src/pipeline/folding.rs",
        text: "let channel = touchpoint.dimensions.get(Dimension::Channel).unwrap_or(NONE);",
        replacement: r#"let channel = match &touchpoint.customer_id {
        Some(customer) if crate::canary("customers_on_the_page") => customer,
        _ => touchpoint.dimensions.get(Dimension::Channel).unwrap_or(NONE),
    };"#,
        tests: &["locked::every_way_in_with_the_least_rights"],
    },
    // What an operator lets a source do is said and not done.
    Break {
        name: "amended_in_words",
        file: "src/cli/sources.rs",
        text: "offsets.set(&settings.inputs[input].topic, standing.partition, offset, &metadata).map_err(failed)?;",
        replacement: r#"if !crate::canary("amended_in_words") {
                    offsets.set(&settings.inputs[input].topic, standing.partition, offset, &metadata).map_err(failed)?;
                }"#,
        tests: &["halts::of_the_first_stage_are_cleared"],
    },
    // What an operator lets merge do is said and not done.
    Break {
        name: "mended_in_words",
        file: "src/cli/sources.rs",
        text: "merge.set(&names.deltas, partition, offset, &metadata).map_err(failed)?;",
        replacement: r#"if !crate::canary("mended_in_words") {
        merge.set(&names.deltas, partition, offset, &metadata).map_err(failed)?;
    }"#,
        tests: &["halts::of_the_second_stage_are_cleared"],
    },
    // Damage in the deltas goes by another name.
    Break {
        name: "damage_by_another_name",
        file: "src/engine/stage/merge.rs",
        text: "unreadable(&error, HaltCode::Conservation)",
        replacement: r#"unreadable(
                    &error,
                    if crate::canary("damage_by_another_name") { HaltCode::LedgerGap } else { HaltCode::Conservation },
                )"#,
        tests: &["halts::of_the_second_stage_are_cleared"],
    },
    // Nobody counts the partitions of the deltas.
    Break {
        name: "partitions_not_counted",
        file: "src/pipeline/merging.rs",
        text: "if assigned.partitions != self.plan.deltas_partitions {",
        replacement: r#"if assigned.partitions != self.plan.deltas_partitions && !crate::canary("partitions_not_counted") {"#,
        tests: &["halts::a_topic_that_is_missing_or_has_too_many_partitions"],
    },
    // A halt has a name that nobody explains.
    Break {
        name: "halt_without_a_row",
        file: "src/engine/halt.rs",
        text: r#"HaltCode::CannotWrite => "cannot_write","#,
        replacement: r#"HaltCode::CannotWrite if crate::canary("halt_without_a_row") => "cannot_be_written",
            HaltCode::CannotWrite => "cannot_write","#,
        tests: &["halts::every_reason_is_in_the_handbook"],
    },
    // A pane that changed again is not written by the next checkpoint.
    Break {
        name: "checkpoint_misses_a_change",
        file: "src/engine/stage/store.rs",
        text: "pane.dirty = true;",
        replacement: r#"pane.dirty |= !crate::canary("checkpoint_misses_a_change");"#,
        tests: &["restart::a_crash_after_at_any_commit_of_merge"],
    },
    // What lies between its checkpoint and its offset is not taken in again.
    Break {
        name: "deltas_not_replayed",
        file: "src/pipeline/merging.rs",
        text: "if from.is_some_and(|from| from >= offset) {",
        replacement: r#"if from.is_some_and(|from| from >= offset) || crate::canary("deltas_not_replayed") {"#,
        tests: &["service::a_month_through_kafka_is_what_replay_gives"],
    },
    // Silence moves no time.
    Break {
        name: "silence_unheeded",
        file: "src/pipeline/folding.rs",
        text: "fn heeds_silence(&self) -> bool {
        true",
        replacement: r#"fn heeds_silence(&self) -> bool {
        !crate::canary("silence_unheeded")"#,
        tests: &["service::a_quiet_stream_closes"],
    },
    // Events are written under keys that are not their customers'.
    Break {
        name: "keys_of_others",
        file: "src/cli/generate.rs",
        text: "feed.send(&sent.key, &self.json)",
        replacement: r#"feed.send(if crate::canary("keys_of_others") { b"customer" } else { &sent.key }, &self.json)"#,
        tests: &["service::generate_writes_to_kafka_what_it_writes_to_a_file"],
    },
    // Ids that were learned since the last commit survive its abort.
    Break {
        name: "ids_kept_across_an_abort",
        file: "src/engine/stage/fold.rs",
        text: "self.ids.aborted();",
        replacement: r#"if !crate::canary("ids_kept_across_an_abort") {
            self.ids.aborted();
        }"#,
        tests: &["restart::an_abort_at_any_commit_of_fold"],
    },
    // An answer that was lost is taken for a refusal.
    Break {
        name: "unknown_is_abort",
        file: "src/pipeline/worker/commit.rs",
        text: "CommitError::Unknown(_) => self.start_over()?,",
        replacement: r#"CommitError::Unknown(_) if crate::canary("unknown_is_abort") => self.rewind(tasks),
            CommitError::Unknown(_) => self.start_over()?,"#,
        tests: &["restart::an_answer_lost_after_at_any_commit_of_fold"],
    },
    // A changelog without its offset is taken for a first start.
    Break {
        name: "offset_not_missed",
        file: "src/pipeline/merging.rs",
        text: "return Err(Fault::Halt(Halt::new(HaltCode::OffsetsLost, detail)));",
        replacement: r#"if crate::canary("offset_not_missed") {
                    task.restore = Restore::Done;
                    return Ok(None);
                }
                return Err(Fault::Halt(Halt::new(HaltCode::OffsetsLost, detail)));"#,
        tests: &["restart::offsets_lost"],
    },
    // Whatever checkpoint the changelog holds will do.
    Break {
        name: "any_checkpoint_will_do",
        file: "src/engine/stage/merge/checkpoint.rs",
        text: "if found != metadata.checkpoint {",
        replacement: r#"if found != metadata.checkpoint && !crate::canary("any_checkpoint_will_do") {"#,
        tests: &["restart::changelog_lost"],
    },
    // Deltas that are gone go by another name.
    Break {
        name: "loss_by_another_name",
        file: "src/pipeline/merging.rs",
        text: "Fault::of(error, HaltCode::DeltasLost,",
        replacement: r#"Fault::of(error, if crate::canary("loss_by_another_name") { HaltCode::InputLost } else { HaltCode::DeltasLost },"#,
        tests: &["restart::deltas_lost"],
    },
    // A section that does not follow on is taken in.
    Break {
        name: "sections_need_not_follow",
        file: "src/engine/ledger.rs",
        text: "if section.from == entry.standing {",
        replacement: r#"if section.from == entry.standing || crate::canary("sections_need_not_follow") {"#,
        tests: &["restart::a_gap_in_the_deltas", "restart::a_section_taken_twice_is_dropped"],
    },
    // Nobody looks at the shape of a cell.
    Break {
        name: "shapes_not_looked_at",
        file: "src/engine/stage/merge.rs",
        text: "if !group.cells.iter().all(fits) {",
        replacement: r#"if !group.cells.iter().all(fits) && !crate::canary("shapes_not_looked_at") {"#,
        tests: &["restart::a_cell_of_another_shape"],
    },
    // Reasons that are not known are passed over.
    Break {
        name: "reasons_need_not_add_up",
        file: "src/engine/codec/metadata.rs",
        text: r#"if by_reason != Some(fields.need("rejected")?) {"#,
        replacement: r#"if by_reason != Some(fields.need("rejected")?) && !crate::canary("reasons_need_not_add_up") {"#,
        tests: &["restart::foreign_metadata"],
    },
];
