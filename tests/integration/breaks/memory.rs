//! What breaks the in-memory broker, as a Kafka that does not keep what it promises.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // Readers see what was aborted.
    Break {
        name: "aborted_seen",
        file: "src/memory/log.rs",
        text: "if entry.state == State::Visible {",
        replacement: r#"if entry.state == State::Visible || entry.state == State::Aborted && crate::canary("aborted_seen") {"#,
        tests: &["memory::aborted_records_are_invisible"],
    },
    // What was written before a commit was refused goes out with the next one.
    Break {
        name: "refused_left_open",
        file: "src/memory/link.rs",
        text: "state.end(&self.config.transactional_id, End::Aborted);",
        replacement: r#"if !crate::canary("refused_left_open") {
                    state.end(&self.config.transactional_id, End::Aborted);
                }"#,
        tests: &["memory::a_commit_is_all_or_nothing"],
    },
    // Metadata may be of any length.
    Break {
        name: "metadata_of_any_length",
        file: "src/memory/state.rs",
        text: "if metadata.len() > METADATA_BYTES_MAX {",
        replacement: r#"if metadata.len() > METADATA_BYTES_MAX && !crate::canary("metadata_of_any_length") {"#,
        tests: &["memory::metadata_has_4096_bytes"],
    },
    // An old producer may go on under an identity that was taken over.
    Break {
        name: "fence_ignored",
        file: "src/memory/state.rs",
        text: ".filter(|producer| producer.epoch == epoch)",
        replacement: r#".filter(|producer| producer.epoch == epoch || crate::canary("fence_ignored"))"#,
        tests: &["memory::a_second_link_fences_the_first"],
    },
    // A group takes commits of a generation that has passed.
    Break {
        name: "generation_ignored",
        file: "src/memory/group.rs",
        text: "if generation != self.generation {",
        replacement: r#"if generation != self.generation && !crate::canary("generation_ignored") {"#,
        tests: &["memory::an_old_generation_cannot_commit"],
    },
    // Whoever has more than its share keeps it.
    Break {
        name: "share_ignored",
        file: "src/memory/group.rs",
        text: ".take(quota).copied()",
        replacement: r#".take(if crate::canary("share_ignored") { usize::MAX } else { quota }).copied()"#,
        tests: &["memory::members_share_and_hand_over"],
    },
    // A rewind goes nowhere.
    Break {
        name: "no_rewind",
        file: "src/memory/link.rs",
        text: "self.own(partition)?.position = offset;",
        replacement: r#"let own = self.own(partition)?;
        if !crate::canary("no_rewind") {
            own.position = offset;
        }"#,
        tests: &["memory::a_rewind_delivers_again"],
    },
    // A paused partition flows on.
    Break {
        name: "no_pause",
        file: "src/memory/link.rs",
        text: "self.own(partition)?.flows = false;",
        replacement: r#"self.own(partition)?.flows = crate::canary("no_pause");"#,
        tests: &["memory::a_paused_partition_is_silent"],
    },
    // What is in an open transaction does not count as something.
    Break {
        name: "pending_is_nothing",
        file: "src/memory/link.rs",
        text: "let open = log.last_stable() < log.end();",
        replacement: r#"let open = log.last_stable() < log.end() && !crate::canary("pending_is_nothing");"#,
        tests: &["memory::drained_looks_behind_control_records"],
    },
    // A reader does not wait for what is open.
    Break {
        name: "open_not_waited_for",
        file: "src/memory/link.rs",
        text: "if state.log(self.place).last_stable() < until_stable {",
        replacement: r#"if state.log(self.place).last_stable() < until_stable && !crate::canary("open_not_waited_for") {"#,
        tests: &["memory::a_reader_waits_for_open_transactions"],
    },
    // Only where a reader begins is looked at.
    Break {
        name: "end_not_looked_at",
        file: "src/memory/link.rs",
        text: "for offset in [position, end] {",
        replacement: r#"for offset in [position, if crate::canary("end_not_looked_at") { position } else { end }] {"#,
        tests: &["memory::a_reader_of_lost_offsets_says_so"],
    },
    // A record may be of any size.
    Break {
        name: "records_of_any_size",
        file: "src/memory/state.rs",
        text: "if bytes > into.record_bytes_max {",
        replacement: r#"if bytes > into.record_bytes_max && !crate::canary("records_of_any_size") {"#,
        tests: &["memory::a_record_that_cannot_be_written_is_impossible"],
    },
    // Where a partition begins is not looked for in its log.
    Break {
        name: "loss_unseen_at_first",
        file: "src/memory/link.rs",
        text: "let lost = out_of_range(state, place, position);",
        replacement: r#"let lost = out_of_range(state, place, position).filter(|_| !crate::canary("loss_unseen_at_first"));"#,
        tests: &["memory::a_lost_position_is_assigned_as_lost"],
    },
    // Nobody is told of a position that was lost meanwhile.
    Break {
        name: "loss_unseen_later",
        file: "src/memory/link.rs",
        text: "lost.push((id, owned.place));",
        replacement: r#"if !crate::canary("loss_unseen_later") {
                    lost.push((id, owned.place));
                }"#,
        tests: &["memory::a_position_lost_while_reading_is_handed_out_as_lost"],
    },
    // What was recycled still counts as handed out.
    Break {
        name: "recycled_not_handed_out",
        file: "src/memory/group.rs",
        text: "state.owned.clear();",
        replacement: r#"if !crate::canary("recycled_not_handed_out") {
                state.owned.clear();
            }"#,
        tests: &["memory::recycling_hands_everything_out_again"],
    },
    // Partitions are handed out while a transaction holds their offset.
    Break {
        name: "pending_offset_ignored",
        file: "src/memory/group.rs",
        text: ".filter(|place| !self.pending.contains_key(place))",
        replacement: r#".filter(|place| crate::canary("pending_offset_ignored") || !self.pending.contains_key(place))"#,
        tests: &["memory::a_pending_offset_holds_the_assignment_back"],
    },
    // A transaction whose time is up is committed.
    Break {
        name: "expired_is_committed",
        file: "src/memory/state.rs",
        text: "expired.iter().for_each(|id| self.end(id, End::Aborted));",
        replacement: r#"let end = || if crate::canary("expired_is_committed") { End::Committed } else { End::Aborted };
        expired.iter().for_each(|id| self.end(id, end()));"#,
        tests: &["memory::a_transaction_left_open_is_aborted"],
    },
    // Whoever does not poll stays.
    Break {
        name: "sleepers_stay",
        file: "src/memory/group.rs",
        text: "other == member || now - state.polled_at <= interval_max_ms",
        replacement: r#"other == member || now - state.polled_at <= interval_max_ms || crate::canary("sleepers_stay")"#,
        tests: &["memory::a_member_that_does_not_poll_is_put_out"],
    },
    // Nobody is told of new partitions.
    Break {
        name: "added_unheard",
        file: "src/memory/mod.rs",
        text: "state.with_group(&name, |group, partitions| group.rebalance(partitions));",
        replacement: r#"if !crate::canary("added_unheard") {
                    state.with_group(&name, |group, partitions| group.rebalance(partitions));
                }"#,
        tests: &["memory::partitions_added_reach_a_member"],
    },
    // Committed offsets outlive their topic.
    Break {
        name: "offsets_outlive_their_topic",
        file: "src/memory/group.rs",
        text: "*of != topic);",
        replacement: r#"*of != topic || crate::canary("offsets_outlive_their_topic"));"#,
        tests: &["memory::a_topic_created_again_has_no_offsets"],
    },
];
