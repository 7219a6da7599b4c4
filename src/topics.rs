//! The one table of topics: what exists, how it is laid out, how long it is kept, and who may touch it.
//!
//! The `topics` command creates from it and compares with it, the in-memory broker is built from it, and the
//! documentation is printed from it. Our own topics use `LogAppendTime`: with the event's time as the record's,
//! retention would delete a replay of last year's history as soon as it was written. This file is data and never
//! talks to a broker.

/// How much larger than the input's largest record a record of ours may be: its bytes plus the headers that say
/// where it came from and why it is here. Without that room a legal record could not be dead-lettered, and would
/// block its partition for ever.
pub const HEADROOM_BYTES: usize = 64 * 1024;

/// The largest delta record: one commit of one worker, for one deltas partition. A worker commits before its time
/// when it has half of this open.
pub const DELTAS_BYTES_MAX: usize = 8 << 20;

/// How large a producer's batches become, of records that are smaller.
pub const BATCH_BYTES: usize = 1 << 20;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The names of our own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    /// Windows, current and final.
    pub aggregates: String,
    /// Late items, as received.
    pub late: String,
    /// Rejected items, as received.
    pub dead_letter: String,
    /// What fold hands to merge.
    pub deltas: String,
    /// Merge's state at its checkpoints.
    pub changelog: String,
}

impl Default for TopicNames {
    fn default() -> Self {
        Self::prefixed("")
    }
}

impl TopicNames {
    /// The default names with `prefix` before each.
    ///
    /// ```
    /// assert_eq!(touchstone::topics::TopicNames::prefixed("eu.").aggregates, "eu.cx.aggregates");
    /// ```
    pub fn prefixed(prefix: &str) -> Self {
        Self {
            aggregates: format!("{prefix}cx.aggregates"),
            late: format!("{prefix}cx.late"),
            dead_letter: format!("{prefix}cx.dead-letter"),
            deltas: format!("{prefix}touchstone.deltas"),
            changelog: format!("{prefix}touchstone.changelog"),
        }
    }
}

/// What the table is computed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The names of our own topics.
    pub names: TopicNames,
    /// The input topics, which exist already and are never created or changed by us.
    pub inputs: Vec<String>,
    /// Partitions of deltas, changelog and aggregates; fixed for the life of the state.
    pub state_partitions: i32,
    /// Partitions of the topics for late and rejected items.
    pub aside_partitions: i32,
    /// Copies of every partition.
    pub replication_factor: i32,
    /// The largest record an input may hold.
    pub input_record_bytes_max: usize,
}

impl Layout {
    /// The layout for these inputs with everything else at its default.
    pub fn new(inputs: Vec<String>) -> Self {
        Self {
            names: TopicNames::default(),
            inputs,
            state_partitions: 16,
            aside_partitions: 6,
            replication_factor: 3,
            input_record_bytes_max: 1_048_588,
        }
    }

    /// The largest record that our producers and topics allow. Brokers measure whole batches, and a producer fills one up
    /// to [`BATCH_BYTES`]: a topic for smaller records could not be written to.
    pub fn record_bytes_max(&self) -> usize {
        self.input_record_bytes_max.max(BATCH_BYTES) + HEADROOM_BYTES
    }
}

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Touchpoints, written by others.
    Input,
    /// Windows for other services.
    Aggregates,
    /// Late items.
    Late,
    /// Rejected items.
    DeadLetter,
    /// From fold to merge.
    Deltas,
    /// Merge's state.
    Changelog,
}

/// One topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its full name.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// How many partitions it has; for an input the fewest that will do.
    pub partitions: i32,
    /// Copies of every partition.
    pub replication_factor: i32,
    /// The settings that differ from a broker's defaults, by Kafka's names. Empty for inputs.
    pub config: Vec<(&'static str, String)>,
}

impl Topic {
    /// The setting of that name.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.config.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }
}

/// Every topic of a layout, inputs first.
///
/// ```
/// use touchstone::topics::{Layout, table};
/// let topics = table(&Layout::new(vec!["touchpoints".into()]));
/// assert_eq!(topics.len(), 6);
/// ```
pub fn table(layout: &Layout) -> Vec<Topic> {
    let names = &layout.names;
    let input = |name: &String| Topic {
        name: name.clone(),
        purpose: Purpose::Input,
        partitions: 1,
        replication_factor: layout.replication_factor,
        config: Vec::new(),
    };
    let mut topics: Vec<Topic> = layout.inputs.iter().map(input).collect();
    topics.push(own(layout, &names.deltas, Purpose::Deltas, layout.state_partitions, &delete_after(7)));
    topics.push(own(layout, &names.changelog, Purpose::Changelog, layout.state_partitions, &compacted()));
    topics.push(own(
        layout,
        &names.aggregates,
        Purpose::Aggregates,
        layout.state_partitions,
        &[("cleanup.policy", "compact,delete".into()), ("retention.ms", (35 * DAY_MS).to_string())],
    ));
    topics.push(own(layout, &names.late, Purpose::Late, layout.aside_partitions, &delete_after(30)));
    topics.push(own(layout, &names.dead_letter, Purpose::DeadLetter, layout.aside_partitions, &delete_after(30)));
    topics
}

fn delete_after(days: i64) -> [(&'static str, String); 2] {
    [("cleanup.policy", "delete".into()), ("retention.ms", (days * DAY_MS).to_string())]
}

/// Small segments, because the active one is never compacted: a restore reads what the cleaner has left.
fn compacted() -> [(&'static str, String); 6] {
    [
        ("cleanup.policy", "compact".into()),
        ("segment.bytes", (32 * 1024 * 1024).to_string()),
        ("segment.ms", (10 * 60 * 1000).to_string()),
        ("max.compaction.lag.ms", (30 * 60 * 1000).to_string()),
        ("min.cleanable.dirty.ratio", "0.2".into()),
        ("delete.retention.ms", DAY_MS.to_string()),
    ]
}

fn own(layout: &Layout, name: &str, purpose: Purpose, partitions: i32, keeping: &[(&'static str, String)]) -> Topic {
    let mut config = keeping.to_vec();
    config.push(("message.timestamp.type", "LogAppendTime".into()));
    let bytes_max = match purpose {
        Purpose::Deltas => layout.record_bytes_max().max(DELTAS_BYTES_MAX),
        _ => layout.record_bytes_max(),
    };
    config.push(("max.message.bytes", bytes_max.to_string()));
    if layout.replication_factor >= 3 {
        config.push(("min.insync.replicas", "2".into()));
    }
    let replication_factor = layout.replication_factor;
    Topic { name: name.to_owned(), purpose, partitions, replication_factor, config }
}

/// Who acts on Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// `touchstone run`.
    Service,
    /// `touchstone topics`.
    Administrator,
    /// Whoever writes touchpoints.
    Producer,
    /// Whoever reads windows.
    Consumer,
}

/// What an access rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// The topic of this name.
    Topic(String),
    /// The consumer group of this name.
    Group(String),
    /// Every transactional id with this prefix.
    TransactionalIdPrefix(String),
    /// The cluster.
    Cluster,
}

/// One access rule, allowing operations by Kafka's names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// Who needs it.
    pub role: Role,
    /// On what.
    pub resource: Resource,
    /// To do what.
    pub operations: &'static [&'static str],
}

impl std::fmt::Display for Acl {
    /// One line for a person: role, operations, resource.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resource = match &self.resource {
            Resource::Topic(name) => format!("topic {name}"),
            Resource::Group(name) => format!("group {name}"),
            Resource::TransactionalIdPrefix(prefix) => format!("transactional ids that begin with {prefix}"),
            Resource::Cluster => "the cluster".to_string(),
        };
        write!(f, "{:?}: {} on {resource}", self.role, self.operations.join(", "))
    }
}

/// The least access each role needs. `application` prefixes group names and transactional ids. (Write implies
/// Describe, as does Read; idempotent writing needs no rule of its own since Kafka 2.8.)
pub fn acls(layout: &Layout, application: &str) -> Vec<Acl> {
    let mut rules = Vec::new();
    let mut allow = |role, resource, operations| rules.push(Acl { role, resource, operations });
    for topic in table(layout) {
        let service: &'static [&'static str] = match topic.purpose {
            Purpose::Input => &["Read", "DescribeConfigs"],
            Purpose::Deltas | Purpose::Changelog | Purpose::Aggregates => &["Read", "Write", "DescribeConfigs"],
            Purpose::Late | Purpose::DeadLetter => &["Write", "DescribeConfigs"],
        };
        allow(Role::Service, Resource::Topic(topic.name.clone()), service);
        if topic.purpose == Purpose::Input {
            allow(Role::Administrator, Resource::Topic(topic.name.clone()), &["Describe", "DescribeConfigs"]);
            allow(Role::Producer, Resource::Topic(topic.name), &["Write"]);
        } else {
            allow(Role::Administrator, Resource::Topic(topic.name.clone()), &["Create", "Describe", "DescribeConfigs"]);
            if topic.purpose == Purpose::Aggregates {
                allow(Role::Consumer, Resource::Topic(topic.name), &["Read"]);
            }
        }
    }
    for stage in ["fold", "merge"] {
        allow(Role::Service, Resource::Group(format!("{application}-{stage}")), &["Read"]);
    }
    allow(Role::Service, Resource::TransactionalIdPrefix(format!("{application}-")), &["Write"]);
    allow(Role::Administrator, Resource::Cluster, &["Describe"]);
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_topics_keep_append_time_and_leave_room_for_the_largest_input() {
        let layout = Layout::new(vec!["in".into()]);
        for topic in table(&layout).iter().filter(|topic| topic.purpose != Purpose::Input) {
            assert_eq!(topic.setting("message.timestamp.type"), Some("LogAppendTime"), "{}", topic.name);
            let bytes_max = if topic.purpose == Purpose::Deltas { "8388608" } else { "1114124" };
            assert_eq!(topic.setting("max.message.bytes"), Some(bytes_max), "{}", topic.name);
            assert_eq!(topic.setting("min.insync.replicas"), Some("2"), "{}", topic.name);
        }
    }

    #[test]
    fn one_copy_asks_for_no_second_one_in_sync() {
        let layout = Layout { replication_factor: 1, ..Layout::new(vec![]) };
        assert!(table(&layout).iter().all(|topic| topic.setting("min.insync.replicas").is_none()));
    }

    #[test]
    fn aggregates_have_as_many_partitions_as_deltas() {
        let topics = table(&Layout { state_partitions: 4, ..Layout::new(vec![]) });
        let of = |purpose| topics.iter().find(|topic| topic.purpose == purpose).map(|topic| topic.partitions);
        assert_eq!(of(Purpose::Aggregates), of(Purpose::Deltas));
        assert_eq!(of(Purpose::Changelog), of(Purpose::Deltas));
    }

    #[test]
    fn the_service_never_writes_to_an_input_or_creates_a_topic() {
        let layout = Layout::new(vec!["in".into()]);
        for rule in acls(&layout, "touchstone").iter().filter(|rule| rule.role == Role::Service) {
            assert!(!rule.operations.contains(&"Create"));
            assert!(rule.resource != Resource::Topic("in".into()) || !rule.operations.contains(&"Write"));
        }
    }
}
