//! What one fold commit writes into the deltas topic: one record per partition, whatever came.

use super::link::Output;
use crate::engine::codec::encode_delta;
use crate::engine::plan::Plan;
use crate::engine::section::{Group, Section};
use std::collections::BTreeMap;

/// One record per deltas partition: every section, each with the cells that the partition owns.
pub(super) fn records(plan: &Plan, topic: &str, sections: Vec<Section>, outputs: &mut Vec<Output>) {
    let mut cells: BTreeMap<i32, Vec<Vec<Group>>> = BTreeMap::new();
    let mut bare = sections;
    for (index, section) in bare.iter_mut().enumerate() {
        for group in section.groups.drain(..) {
            let partition = plan.partition(&group.set, &group.group_by);
            let groups = cells.entry(partition).or_default();
            groups.resize_with(index + 1, Vec::new);
            groups[index].push(group);
        }
    }
    let empty = encode_delta(&bare, plan.format);
    for partition in 0..plan.deltas_partitions {
        let value = match cells.remove(&partition) {
            None => empty.clone(),
            Some(groups) => {
                for (section, groups) in bare.iter_mut().zip(groups) {
                    section.groups = groups;
                }
                let value = encode_delta(&bare, plan.format);
                bare.iter_mut().for_each(|section| section.groups.clear());
                value
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
