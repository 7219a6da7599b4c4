//! What breaks the bounds of whatever comes in.

use super::Break;

pub(super) const BREAKS: &[Break] = &[
    // An id may be of any length.
    Break {
        name: "ids_of_any_length",
        file: "src/touchpoint/judge.rs",
        text: "Attribute::Id | Attribute::Source | Attribute::Type => ID_BYTES_MAX,",
        replacement: r#"Attribute::Id if crate::canary("ids_of_any_length") => usize::MAX,
            Attribute::Id | Attribute::Source | Attribute::Type => ID_BYTES_MAX,"#,
        tests: &["poison::decode"],
    },
    // What a filter gave before it failed is handed over.
    Break {
        name: "mapped_in_part",
        file: "src/mapping/mod.rs",
        text: "let outputs = self.run(input, provenance.to_value(), limits)?;",
        replacement: r#"if crate::canary("mapped_in_part")
            && let Some(Ok(first)) = self
                .filter
                .id
                .run((Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([provenance.to_value()])), input.clone()))
                .next()
        {
            each(&first.to_string());
        }
        let outputs = self.run(input, provenance.to_value(), limits)?;"#,
        tests: &["poison::mapping"],
    },
    // The place of a count is believed.
    Break {
        name: "places_believed",
        file: "src/engine/codec/cells.rs",
        text: "*all.get_mut(usize::try_from(place).ok()?)? = count;",
        replacement: r#"if crate::canary("places_believed") {
            all[place as usize] = count;
            return Some(());
        }
        *all.get_mut(usize::try_from(place).ok()?)? = count;"#,
        tests: &["poison::codec"],
    },
    // Where ids are to be learned from is believed.
    Break {
        name: "replay_believed",
        file: "src/engine/stage/fold.rs",
        text: "memory.replay_from.min(offset)",
        replacement: r#"if crate::canary("replay_believed") { memory.replay_from } else { memory.replay_from.min(offset) }"#,
        tests: &["poison::metadata"],
    },
    // Two lengths of time are added up as if there were no longest one.
    Break {
        name: "spans_without_bound",
        file: "src/config/settings.rs",
        text: "input.max_future.ms().saturating_add(policy.out_of_orderness_ms)",
        replacement: r#"if crate::canary("spans_without_bound") {
        input.max_future.ms() + policy.out_of_orderness_ms
    } else {
        input.max_future.ms().saturating_add(policy.out_of_orderness_ms)
    }"#,
        tests: &["poison::config"],
    },
    // A record without a value is rejected without a letter.
    Break {
        name: "unnamed_rejected_silently",
        file: "src/pipeline/folding.rs",
        text: "task.fold.rejected(rejection.reason);
",
        replacement: r#"task.fold.rejected(rejection.reason);
                if record.value.is_none() && crate::canary("unnamed_rejected_silently") {
                    return;
                }
"#,
        tests: &["poison::any_record_leaves_through_one_door"],
    },
    // A key may take more than its part of a letter.
    Break {
        name: "keys_of_any_length",
        file: "src/pipeline/letter.rs",
        text: "&key[..key.len().min(key_room)]",
        replacement: r#"&key[..key.len().min(if crate::canary("keys_of_any_length") { usize::MAX } else { key_room })]"#,
        tests: &["poison::records_of_a_megabyte_leave_through_one_door"],
    },
    // Nobody looks how deep JSON is.
    Break {
        name: "depth_unseen",
        file: "src/touchpoint/decode.rs",
        text: "count_opening(json) > DEPTH_MAX && depth(json) > DEPTH_MAX",
        replacement: r#"count_opening(json) > DEPTH_MAX && depth(json) > DEPTH_MAX && !crate::canary("depth_unseen")"#,
        tests: &["poison::json_a_hundred_thousand_deep_is_rejected"],
    },
    // Every value has a slice of its own.
    Break {
        name: "values_without_bound",
        file: "src/engine/stage/store.rs",
        text: "if own < plan.values_max {",
        replacement: r#"if own < plan.values_max || crate::canary("values_without_bound") {"#,
        tests: &["poison::values_without_end_are_bounded"],
    },
    // What is open may grow between commits.
    Break {
        name: "open_without_bound",
        file: "src/pipeline/folding.rs",
        text: "|| self.open_delta_bytes >= self.settings.delta_bytes_max / 2",
        replacement: r#"|| self.open_delta_bytes >= self.settings.delta_bytes_max / 2 && !crate::canary("open_without_bound")"#,
        tests: &["poison::a_record_of_a_thousand_events_is_bounded"],
    },
    // Ids are remembered without bound.
    Break {
        name: "ids_without_bound",
        file: "src/engine/dedup.rs",
        text: "while self.live > self.ids_max {",
        replacement: r#"while self.live > self.ids_max && !crate::canary("ids_without_bound") {"#,
        tests: &["poison::ids_and_scores_without_end_are_bounded"],
    },
];
