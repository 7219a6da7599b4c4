//! What one fold commit writes into the deltas topic: one record per partition, whatever came.

use super::link::Output;
use crate::engine::codec::encode_delta;
use crate::engine::plan::Plan;
use crate::engine::section::{Group, Section};
use std::collections::BTreeMap;

/// One record per deltas partition: every section everywhere, the first with the cells that the partition owns.
pub(super) fn records(plan: &Plan, topic: &str, mut sections: Vec<Section<'_>>, outputs: &mut Vec<Output>) {
    let mut cells: BTreeMap<i32, Vec<Group<'_>>> = BTreeMap::new();
    for group in sections.iter_mut().flat_map(|section| section.groups.drain(..)) {
        cells.entry(plan.partition(&group.set, &group.group_by)).or_default().push(group);
    }
    let bare = encode_delta(&sections, plan.format);
    for partition in 0..plan.deltas_partitions {
        let value = match cells.remove(&partition) {
            None => bare.clone(),
            Some(groups) => {
                sections[0].groups = groups;
                encode_delta(&sections, plan.format)
            }
        };
        let headers = Vec::new();
        outputs.push(Output {
            topic: topic.into(),
            partition: Some(partition),
            key: None,
            value: Some(value),
            headers,
        });
    }
}
