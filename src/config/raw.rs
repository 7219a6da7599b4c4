//! The configuration as it is written: every key, its default, and nothing checked yet.

#![expect(missing_docs, reason = "every key is described in keys.rs, and a test holds that list complete")]

use super::duration::Span;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    pub service: Service,
    pub kafka: Kafka,
    pub topics: Topics,
    pub input: Vec<Input>,
    pub windows: Option<Vec<Window>>,
    pub slices: Slices,
    pub metrics: Metrics,
    pub export: Export,
    pub board: Board,
    pub timing: Timing,
    pub log: Log,
}

/// Who this process is.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Service {
    pub application: String,
    pub instance: String,
    pub fold_workers: usize,
    pub merge_workers: usize,
    pub format: u32,
}

impl Default for Service {
    fn default() -> Service {
        Service {
            application: "touchstone".into(),
            instance: String::new(),
            fold_workers: 1,
            merge_workers: 1,
            format: 2,
        }
    }
}

/// How Kafka is reached.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Kafka {
    pub bootstrap_servers: String,
    pub security_protocol: String,
    pub ssl_ca_file: String,
    pub ssl_certificate_file: String,
    pub ssl_key_file: String,
    pub ssl_key_password_file: String,
    /// Only from the environment.
    #[serde(skip_serializing)]
    pub ssl_key_password: Option<Secret>,
    pub sasl_mechanism: String,
    pub sasl_username: String,
    pub sasl_password_file: String,
    /// Only from the environment.
    #[serde(skip_serializing)]
    pub sasl_password: Option<Secret>,
    pub sasl_token_file: String,
    pub properties: BTreeMap<String, String>,
}

impl Default for Kafka {
    fn default() -> Kafka {
        Kafka {
            bootstrap_servers: "127.0.0.1:9092".into(),
            security_protocol: "plaintext".into(),
            ssl_ca_file: String::new(),
            ssl_certificate_file: String::new(),
            ssl_key_file: String::new(),
            ssl_key_password_file: String::new(),
            ssl_key_password: None,
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password_file: String::new(),
            sasl_password: None,
            sasl_token_file: String::new(),
            properties: BTreeMap::new(),
        }
    }
}

/// What our own topics are called, and how they are made.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Topics {
    pub aggregates: String,
    pub late: String,
    pub dead_letter: String,
    pub deltas: String,
    pub changelog: String,
    pub deltas_partitions: i32,
    pub letter_partitions: i32,
    pub replication_factor: i32,
}

impl Default for Topics {
    fn default() -> Topics {
        Topics {
            aggregates: "cx.aggregates".into(),
            late: "cx.late".into(),
            dead_letter: "cx.dead-letter".into(),
            deltas: "touchstone.deltas".into(),
            changelog: "touchstone.changelog".into(),
            deltas_partitions: 16,
            letter_partitions: 4,
            replication_factor: 3,
        }
    }
}

/// One input.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Input {
    pub name: String,
    pub topic: String,
    pub start: String,
    pub epoch: u32,
    pub mapping: String,
    pub lateness: Span,
    pub out_of_orderness: Span,
    pub idle_timeout: Span,
    pub max_future: Span,
    pub record_bytes_max: usize,
    pub dedup: bool,
    pub dedup_ids_max: usize,
    pub metric_sets: Vec<String>,
    pub skip_offsets: Vec<String>,
}

impl Default for Input {
    fn default() -> Input {
        Input {
            name: String::new(),
            topic: String::new(),
            start: "beginning".into(),
            epoch: 1,
            mapping: String::new(),
            lateness: Span::minutes(10),
            out_of_orderness: Span::seconds(10),
            idle_timeout: Span::seconds(30),
            max_future: Span::minutes(5),
            record_bytes_max: 1_048_576,
            dedup: true,
            dedup_ids_max: 10_000_000,
            metric_sets: Vec::new(),
            skip_offsets: Vec::new(),
        }
    }
}

/// One window: either `size` (and `slide`), or `calendar_day` with a zone.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    pub name: String,
    pub size: Option<Span>,
    pub slide: Option<Span>,
    pub calendar_day: Option<String>,
    pub show: Option<String>,
}

/// Group-bys and their bounds.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Slices {
    pub group_by: Vec<String>,
    pub per_metric_set: BTreeMap<String, Vec<String>>,
    pub values_max: usize,
}

impl Default for Slices {
    fn default() -> Slices {
        let group_by = ["all", "channel", "queue", "team", "region", "segment"].map(String::from).to_vec();
        Slices { group_by, per_metric_set: BTreeMap::new(), values_max: 1_000 }
    }
}

/// Thresholds and formulas.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    pub service_level_formula: i64,
    pub service_level_threshold: Span,
    pub short_abandon: Span,
    pub satisfied_from: f64,
    pub queue: Vec<Queue>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            service_level_formula: 3,
            service_level_threshold: Span::seconds(20),
            short_abandon: Span::seconds(5),
            satisfied_from: 0.75,
            queue: Vec::new(),
        }
    }
}

/// Thresholds of one queue.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Default)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    pub queue: String,
    pub channel: Option<String>,
    pub service_level_threshold: Option<Span>,
    pub short_abandon: Option<Span>,
}

/// What is shown over HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    pub listen: String,
    pub series_max: usize,
    pub wide: Vec<String>,
    pub narrow: Vec<String>,
}

impl Default for Export {
    fn default() -> Export {
        Export {
            listen: "127.0.0.1:9464".into(),
            series_max: 30_000,
            wide: ["15m", "1h", "1d", "28d"].map(String::from).to_vec(),
            narrow: ["15m", "1h", "1d"].map(String::from).to_vec(),
        }
    }
}

/// The page that people open.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Board {
    pub enabled: bool,
}

impl Default for Board {
    fn default() -> Board {
        Board { enabled: true }
    }
}

/// How often what happens.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    pub commit_interval: Span,
    pub idle_commit_interval: Span,
    pub publish_interval: Span,
    pub checkpoint_interval: Span,
    pub snapshot_interval: Span,
    pub max_skew: Span,
    pub batch_items_max: usize,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            commit_interval: Span::milliseconds(250),
            idle_commit_interval: Span::seconds(1),
            publish_interval: Span::seconds(10),
            checkpoint_interval: Span::seconds(10),
            snapshot_interval: Span::milliseconds(250),
            max_skew: Span::minutes(60),
            batch_items_max: 250_000,
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: String,
    pub format: String,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".into(), format: "text".into() }
    }
}
