//! What breaks the port to Kafka.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // Consumers read what is not committed.
    Break {
        name: "reads_uncommitted",
        file: "src/kafka/clients.rs",
        text: r#".set("isolation.level", "read_committed")"#,
        replacement: r#".set("isolation.level", if crate::canary("reads_uncommitted") { "read_uncommitted" } else { "read_committed" })"#,
        tests: &[
            "kafka::aborted_records_are_invisible",
            "kafka::a_pending_offset_holds_the_assignment_back",
            "kafka::a_transaction_left_open_is_aborted",
        ],
    },
    // A full queue ends a commit in place of holding it up.
    Break {
        name: "queue_never_empties",
        file: "src/kafka/producer.rs",
        text: "if Instant::now() < deadline => {",
        replacement: r#"if Instant::now() < deadline && !crate::canary("queue_never_empties") => {"#,
        tests: &["kafka::a_commit_may_be_larger_than_what_waits_to_be_sent"],
    },
    // A refused transaction is left open.
    Break {
        name: "refused_not_aborted",
        file: "src/kafka/producer.rs",
        text: r#"Step::Abort => self.abort(CommitError::Aborted(format!("{what}: {error}"))),"#,
        replacement: r#"Step::Abort if crate::canary("refused_not_aborted") => CommitError::Aborted(format!("{what}: {error}")),
        Step::Abort => self.abort(CommitError::Aborted(format!("{what}: {error}"))),"#,
        tests: &["kafka::a_commit_is_all_or_nothing"],
    },
    // Offsets are committed without what stands beside them.
    Break {
        name: "metadata_not_sent",
        file: "src/kafka/link.rs",
        text: "if !metadata.is_empty() {",
        replacement: r#"if !metadata.is_empty() && !crate::canary("metadata_not_sent") {"#,
        tests: &["kafka::metadata_has_4096_bytes"],
    },
    // To be fenced is an error like any other.
    Break {
        name: "fencing_unknown",
        file: "src/kafka/error.rs",
        text: "matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)",
        replacement: r#"matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch) && !crate::canary("fencing_unknown")"#,
        tests: &["kafka::a_second_link_fences_the_first"],
    },
    // Commits go out under the membership of a consumer that has joined nothing.
    Break {
        name: "membership_of_nobody",
        file: "src/kafka/link.rs",
        text: r#"let group = group.ok_or_else(|| CommitError::Aborted("the membership in the group was lost".into()))?;"#,
        replacement: r#"let group = match &self.aside {
            Some(aside) if crate::canary("membership_of_nobody") => aside.group_metadata().map(std::sync::Arc::new),
            _ => group,
        };
        let group = group.ok_or_else(|| CommitError::Aborted("the membership in the group was lost".into()))?;"#,
        tests: &["kafka::an_old_generation_cannot_commit"],
    },
    // Nobody is told what was taken away.
    Break {
        name: "revoked_unheard",
        file: "src/kafka/link.rs",
        text: "if !known.is_empty() {
                        self.events",
        replacement: r#"if !known.is_empty() && !crate::canary("revoked_unheard") {
                        self.events"#,
        tests: &["kafka::members_share_and_hand_over"],
    },
    // A rewind goes nowhere.
    Break {
        name: "rewind_without_seek",
        file: "src/kafka/link.rs",
        text: "self.own(partition)?;
        self.seek(partition, offset)?;
        self.own(partition)?.position",
        replacement: r#"self.own(partition)?;
        if !crate::canary("rewind_without_seek") {
            self.seek(partition, offset)?;
        }
        self.own(partition)?.position"#,
        tests: &["kafka::a_rewind_delivers_again"],
    },
    // A pause does nothing.
    Break {
        name: "pause_does_nothing",
        file: "src/kafka/link.rs",
        text: "        self.own(partition)?.flows = false;
        let list",
        replacement: r#"        if crate::canary("pause_does_nothing") {
            return Ok(());
        }
        self.own(partition)?.flows = false;
        let list"#,
        tests: &["kafka::a_paused_partition_is_silent"],
    },
    // The end of a log is asked for without what is in open transactions.
    Break {
        name: "ends_without_open",
        file: "src/kafka/clients.rs",
        text: r#"config.set("isolation.level", "read_uncommitted");"#,
        replacement: r#"config.set("isolation.level", if crate::canary("ends_without_open") { "read_committed" } else { "read_uncommitted" });"#,
        tests: &["kafka::drained_looks_behind_control_records"],
    },
    // A reader does not wait for what is open.
    Break {
        name: "reader_does_not_wait",
        file: "src/kafka/link.rs",
        text: "span, until.is_none())?",
        replacement: r#"span, until.is_none() && !crate::canary("reader_does_not_wait"))?"#,
        tests: &["kafka::a_reader_waits_for_open_transactions"],
    },
    // Only where a reader begins is looked at.
    Break {
        name: "reader_looks_at_its_begin",
        file: "src/kafka/link.rs",
        text: "for offset in [begin, end] {",
        replacement: r#"for offset in [begin, if crate::canary("reader_looks_at_its_begin") { begin } else { end }] {"#,
        tests: &["kafka::a_reader_of_lost_offsets_says_so"],
    },
    // A record that is too large is tried again.
    Break {
        name: "too_large_tried_again",
        file: "src/kafka/error.rs",
        text: "let KafkaError::MessageProduction(code) = error else { return false };",
        replacement: r#"let KafkaError::MessageProduction(code) = error else { return false };
    if *code == Code::MessageSizeTooLarge && crate::canary("too_large_tried_again") {
        return false;
    }"#,
        tests: &["kafka::a_record_that_cannot_be_written_is_impossible"],
    },
    // Where a partition begins is not looked for in its log.
    Break {
        name: "placed_unseen",
        file: "src/kafka/assignment.rs",
        text: "let lost = out_of_range(&name, position, low, high);",
        replacement: r#"let lost = out_of_range(&name, position, low, high).filter(|_| !crate::canary("placed_unseen"));"#,
        tests: &["kafka::a_lost_position_is_assigned_as_lost"],
    },
    // A position that is out of range is passed over.
    Break {
        name: "out_of_range_passed_over",
        file: "src/kafka/link.rs",
        text: "if is_out_of_range(error) {",
        replacement: r#"if is_out_of_range(error) && !crate::canary("out_of_range_passed_over") {"#,
        tests: &["kafka::a_position_lost_while_reading_is_handed_out_as_lost"],
    },
    // What was recycled is not announced.
    Break {
        name: "recycled_not_announced",
        file: "src/kafka/link.rs",
        text: "self.owned.clear();
        if !gone.is_empty() {",
        replacement: r#"if crate::canary("recycled_not_announced") {
            self.to_announce.clear();
        }
        self.owned.clear();
        if !gone.is_empty() {"#,
        tests: &["kafka::recycling_hands_everything_out_again"],
    },
    // A member may go without a poll for minutes.
    Break {
        name: "polls_at_leisure",
        file: "src/kafka/clients.rs",
        text: "millis(timings.poll_interval)",
        replacement: r#"millis(if crate::canary("polls_at_leisure") { Duration::from_secs(300) } else { timings.poll_interval })"#,
        tests: &["kafka::a_member_that_does_not_poll_is_put_out"],
    },
    // New partitions are looked for every five minutes.
    Break {
        name: "added_looked_for_at_leisure",
        file: "src/kafka/clients.rs",
        text: "millis(timings.metadata_refresh)",
        replacement: r#"millis(if crate::canary("added_looked_for_at_leisure") { Duration::from_secs(300) } else { timings.metadata_refresh })"#,
        tests: &["kafka::partitions_added_reach_a_member"],
    },
    // A membership that may have ended is trusted.
    Break {
        name: "stale_membership_trusted",
        file: "src/kafka/context.rs",
        text: "heard.polled_at.elapsed() >= self.session;",
        replacement: r#"heard.polled_at.elapsed() >= self.session && !crate::canary("stale_membership_trusted");"#,
        tests: &["kafka::a_stale_membership_joins_anew"],
    },
    // A partition without a committed offset begins at its end.
    Break {
        name: "begins_at_the_end",
        file: "src/kafka/assignment.rs",
        text: "None => self.start(id)?,",
        replacement: r#"None if crate::canary("begins_at_the_end") => (high, None),
            None => self.start(id)?,"#,
        tests: &["kafka::a_topic_created_again_has_no_offsets"],
    },
];
