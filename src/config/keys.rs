//! Every configuration key, described once: config/touchstone.toml and docs/CONFIG.md are made from here, and
//! a test holds the list against the structure that is read.

use std::fmt::Write;

/// One section of the file.
pub struct Section {
    /// Its header, as it is written.
    pub header: &'static str,
    /// What it is for.
    pub help: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

/// One key.
pub struct Key {
    /// Its name in the section.
    pub name: &'static str,
    /// The value in the shipped file, as TOML: the default, except for names that have none.
    pub value: &'static str,
    /// Whether the shipped file has it commented out, because it has no default.
    pub optional: bool,
    /// What it does, in whole sentences.
    pub help: &'static str,
}

const fn key(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, optional: false, help }
}

const fn optional(name: &'static str, value: &'static str, help: &'static str) -> Key {
    Key { name, value, optional: true, help }
}

/// Every section, in the order of the file.
pub const SECTIONS: &[Section] = &[
    Section {
        header: "[service]",
        help: "Who this process is. Processes of one application share the work; each needs an instance name of its own.",
        keys: &[
            key(
                "application",
                "\"touchstone\"",
                "Prefix of the consumer groups and transactional ids. Two applications with different names work side by side on their own topics.",
            ),
            key(
                "instance",
                "\"\"",
                "Name of this process, stable over restarts. Empty: the host's name. Two processes with one name fence each other; the loser ends with exit code 4.",
            ),
            key("fold_workers", "1", "Threads that read inputs. More than one pays from two cores on."),
            key("merge_workers", "1", "Threads that merge. One is enough for most."),
            key(
                "format",
                "2",
                "The format of deltas, changelog and offset metadata that is written: 2, or 1, the one before. Both are read. Write 1 everywhere before you go back to a version that does not know 2.",
            ),
        ],
    },
    Section {
        header: "[kafka]",
        help: "How Kafka is reached.",
        keys: &[
            key("bootstrap_servers", "\"127.0.0.1:9092\"", "host:port, several separated by commas."),
            key(
                "security_protocol",
                "\"plaintext\"",
                "\"plaintext\", \"ssl\", \"sasl_plaintext\" or \"sasl_ssl\": whether connections are encrypted, and whether we log in.",
            ),
            key(
                "ssl_ca_file",
                "\"\"",
                "Certificates of whom we trust, PEM; a file, relative to this one. Empty: the system's.",
            ),
            key(
                "ssl_certificate_file",
                "\"\"",
                "Our own certificate with its chain, PEM, where the cluster asks for one. Empty: none.",
            ),
            key("ssl_key_file", "\"\"", "Its private key, PEM."),
            key(
                "ssl_key_password_file",
                "\"\"",
                "A file that holds the password of the private key. Or TOUCHSTONE__KAFKA__SSL_KEY_PASSWORD in the environment.",
            ),
            key(
                "sasl_mechanism",
                "\"\"",
                "How we log in under sasl_plaintext and sasl_ssl: \"PLAIN\", \"SCRAM-SHA-256\", \"SCRAM-SHA-512\" or \"OAUTHBEARER\".",
            ),
            key("sasl_username", "\"\"", "The user of PLAIN and SCRAM."),
            key(
                "sasl_password_file",
                "\"\"",
                "A file that holds the password of PLAIN and SCRAM. Or TOUCHSTONE__KAFKA__SASL_PASSWORD in the environment.",
            ),
            key(
                "sasl_token_file",
                "\"\"",
                "A file that holds the token (a JWT) of OAUTHBEARER. It is read again before the token expires; whoever issues tokens replaces the file.",
            ),
        ],
    },
    Section {
        header: "[kafka.properties]",
        help: "Settings of librdkafka, by their own names. Those that exactly-once depends on are refused.",
        keys: &[optional("\"client.id\"", "\"touchstone\"", "Any setting of librdkafka, like this one.")],
    },
    Section {
        header: "[topics]",
        help: "Our own topics. `touchstone topics --create` makes them.",
        keys: &[
            key(
                "aggregates",
                "\"cx.aggregates\"",
                "Windows, current and final: what other services read, with isolation.level=read_committed.",
            ),
            key("late", "\"cx.late\"", "Late items, as received. They hold personal data as received."),
            key(
                "dead_letter",
                "\"cx.dead-letter\"",
                "Rejected items, as received. They hold personal data as received.",
            ),
            key("deltas", "\"touchstone.deltas\"", "From the first stage to the second."),
            key("changelog", "\"touchstone.changelog\"", "State of the second stage."),
            key(
                "deltas_partitions",
                "16",
                "Partitions of deltas, changelog and aggregates. Fixed for the life of the state.",
            ),
            key("letter_partitions", "4", "Partitions of the topics of late and rejected items."),
            key(
                "replication_factor",
                "3",
                "Copies of each partition. With 3 or more, two must be in sync for a write.",
            ),
        ],
    },
    Section {
        header: "[[input]]",
        help: "One topic of touchpoints; write one such section for each.",
        keys: &[
            key(
                "name",
                "\"touchpoints\"",
                "Its name in labels, logs and the ledger. Never change it while state exists.",
            ),
            key("topic", "\"touchpoints\"", "The topic. Its key should be the customer or the contact."),
            key(
                "start",
                "\"beginning\"",
                "Where a partition begins that nothing was ever committed of: \"beginning\", \"end\", or a time like \"2026-01-31T08:00:00Z\".",
            ),
            key("epoch", "1", "Raise it when the topic was re-created or its offsets were reset on purpose."),
            key(
                "mapping",
                "\"\"",
                "A jq filter that makes touchpoints of foreign records: a file, relative to this one. Empty: the records are CloudEvents.",
            ),
            key(
                "lateness",
                "\"10m\"",
                "How far behind the watermark an event is still taken. Windows become final this much later.",
            ),
            key(
                "out_of_orderness",
                "\"10s\"",
                "How far events may lie out of order without holding anything up: the watermark stays this far behind the newest event.",
            ),
            key(
                "idle_timeout",
                "\"30s\"",
                "How long a partition must be silent, and be proved empty, before its watermark follows the clock. At least out_of_orderness.",
            ),
            key(
                "max_future",
                "\"5m\"",
                "How far an event may lie after its record's timestamp; beyond, it is rejected. With out_of_orderness it must be at most lateness.",
            ),
            key(
                "record_bytes_max",
                "1048576",
                "The largest record that is looked at, in bytes; a larger one is rejected.",
            ),
            key("dedup", "true", "Whether a second event with the same source and id is a duplicate."),
            key(
                "dedup_ids_max",
                "10000000",
                "The most ids remembered per partition, about 32 bytes each. Beyond, the oldest leave first, and are counted.",
            ),
            key(
                "metric_sets",
                "[]",
                "The metric sets this input feeds; empty: all. A set is as far in time as the slowest input that feeds it.",
            ),
            key(
                "skip_offsets",
                "[]",
                "Records that are stepped over unread, as \"partition:offset\": for one that cannot be taken in and blocks its partition. Each counts as skipped.",
            ),
        ],
    },
    Section {
        header: "[[windows]]",
        help: "The windows. Without any such section these are on: 1m, 15m by 1m, 1h by 5m, 1d by 1h, 7d by 6h, 28d by 1d, and calendar_day in UTC. With one, only those that are written.",
        keys: &[
            optional("name", "\"1h\"", "Its name in keys and labels."),
            optional("size", "\"1h\"", "Its length, a multiple of slide."),
            optional(
                "slide",
                "\"5m\"",
                "Distance of two starts, whole minutes; left out: as long as the window (tumbling).",
            ),
            optional(
                "calendar_day",
                "\"Europe/Kyiv\"",
                "In place of size and slide: the local days of a time zone, by its IANA name.",
            ),
            optional(
                "show",
                "\"closed\"",
                "Which instance is the current one: \"closed\", the last that ended, or \"open\", the one that ends next. Left out: closed for slides up to 5m, else open.",
            ),
        ],
    },
    Section {
        header: "[slices]",
        help: "By what is counted.",
        keys: &[
            key(
                "group_by",
                "[\"all\", \"channel\", \"queue\", \"team\", \"region\", \"segment\"]",
                "The group-bys of every metric set. agent and topic exist too; agents are personal data.",
            ),
            key(
                "values_max",
                "1000",
                "The most distinct values of a group-by, and keys of a map inside a record. Beyond, events count under _other, and that is counted.",
            ),
        ],
    },
    Section {
        header: "[slices.per_metric_set]",
        help: "Other group-bys for one metric set.",
        keys: &[optional(
            "contacts",
            "[\"all\", \"channel\", \"queue\", \"agent\"]",
            "The name of the metric set, and its group-bys.",
        )],
    },
    Section {
        header: "[metrics]",
        help: "Thresholds and formulas. They are stamped into every record.",
        keys: &[
            key("service_level_formula", "3", "1 to 5, see docs/METRICS.md. Read out only: it may change at any time."),
            key("service_level_threshold", "\"20s\"", "Answered in time is a wait of at most this."),
            key("short_abandon", "\"5s\"", "An abandon is short when it waited less than this."),
            key(
                "satisfied_from",
                "0.75",
                "From which share of its scale on an answer counts as satisfied. Read out only.",
            ),
        ],
    },
    Section {
        header: "[[metrics.queue]]",
        help: "Thresholds of one queue, where they differ.",
        keys: &[
            optional("queue", "\"retention\"", "The queue."),
            optional("channel", "\"voice\"", "Only in this channel; left out: in every channel."),
            optional("service_level_threshold", "\"10s\"", "As above."),
            optional("short_abandon", "\"3s\"", "As above."),
        ],
    },
    Section {
        header: "[export]",
        help: "What is shown over HTTP: /metrics, /healthz, /readyz, /debug, and the board.",
        keys: &[
            key(
                "listen",
                "\"127.0.0.1:9464\"",
                "Address and port. Nothing that is served changes anything, but it tells how the business goes.",
            ),
            key(
                "series_max",
                "30000",
                "The most series in /metrics. Above it whole group-bys are left out, finest first, and touchstone_series_left_out says how many.",
            ),
            key("wide", "[\"15m\", \"1h\", \"1d\", \"28d\"]", "Windows shown for all and channel."),
            key(
                "narrow",
                "[\"15m\", \"1h\", \"1d\"]",
                "Windows shown for the other group-bys. Alerts compare an hour with the day: without it they do not name a queue.",
            ),
        ],
    },
    Section {
        header: "[board]",
        help: "The page at /: what people look at who have no other tool. It reads cx.aggregates of the last 24 hours.",
        keys: &[key(
            "enabled",
            "true",
            "Whether it is served. It shows what /metrics shows, and a day of it; give it to no one who may not see that.",
        )],
    },
    Section {
        header: "[timing]",
        help: "How often what happens.",
        keys: &[
            key(
                "commit_interval",
                "\"250ms\"",
                "Between two commits while records come: 1ms to 5s. Numbers are as old as this at least.",
            ),
            key("idle_commit_interval", "\"1s\"", "Between two commits while none come."),
            key("publish_interval", "\"10s\"", "Between two records of a current window, where it changed."),
            key(
                "checkpoint_interval",
                "\"10s\"",
                "Between two checkpoints of the second stage: what a restart reads again at most.",
            ),
            key(
                "snapshot_interval",
                "\"250ms\"",
                "Between two looks at the current windows for /metrics, at least; they take a twentieth of the time at most.",
            ),
            key(
                "max_skew",
                "\"1h\"",
                "How far, in event time, a partition may run ahead of what has been merged: it bounds memory while history is caught up with. At least 1m.",
            ),
            key("batch_items_max", "250000", "After how many items a commit is made before its time."),
        ],
    },
    Section {
        header: "[log]",
        help: "Our own log, on standard error.",
        keys: &[
            key("level", "\"info\"", "error, warn, info, debug or trace, or a filter as RUST_LOG takes it."),
            key("format", "\"text\"", "\"text\" for people, \"json\" for machines."),
        ],
    },
];

/// The shipped configuration: every key with its default and what it does.
pub fn file() -> String {
    let mut text = String::from(
        "# The configuration of touchstone: every key, its default, and what it does.\n\
         # TOUCHSTONE__SECTION__KEY in the environment goes over this file. An unknown key is an error.\n\
         # Check it, and see what is in force: touchstone check --config FILE\n",
    );
    for section in SECTIONS {
        let off = !section.keys.is_empty() && section.keys.iter().all(|key| key.optional);
        let _ = writeln!(text, "\n{}\n{}{}", comment(section.help, "# "), if off { "# " } else { "" }, section.header);
        for key in section.keys {
            let hash = if key.optional { "# " } else { "" };
            let _ = writeln!(text, "{}\n{hash}{} = {}", comment(key.help, "# "), key.name, key.value);
        }
    }
    text
}

/// docs/CONFIG.md.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Configuration\n\nOne TOML file; `TOUCHSTONE__SECTION__KEY` in the environment goes over it. An unknown key is an error in \
         both.\n`touchstone check --config FILE` says whether a file is right and prints what is in force; with a load, \
         `--rate contact=50 --rate survey=5 --slices queue=120`, also the memory and the series to expect.\nThe whole file with every \
         key: [config/touchstone.toml](../config/touchstone.toml).\nLengths of time are a whole number and a unit: `250ms`, `10s`, `5m`, `1h`, `28d`.\n",
    );
    for section in SECTIONS {
        let _ = write!(
            text,
            "\n## `{}`\n\n{}\n\n| key | default | meaning |\n|---|---|---|\n",
            section.header, section.help
        );
        for key in section.keys {
            let default =
                if key.optional { format!("none; for example `{}`", key.value) } else { format!("`{}`", key.value) };
            let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.help);
        }
    }
    text
}

/// A comment of lines of at most 100 letters.
fn comment(help: &str, prefix: &str) -> String {
    let mut lines = vec![String::from(prefix)];
    for word in help.split(' ') {
        let line = lines.last_mut().expect("starts with one line");
        if line.len() + word.len() >= 100 {
            lines.push(format!("{prefix}{word}"));
        } else if line == prefix {
            line.push_str(word);
        } else {
            line.push(' ');
            line.push_str(word);
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Raw};

    #[test]
    fn the_shipped_file_is_the_defaults_and_one_input() {
        let mut expected = Raw::default();
        expected.input.push(Default::default());
        expected.input[0].name = "touchpoints".into();
        expected.input[0].topic = "touchpoints".into();
        assert_eq!(config::parse(&file()).unwrap(), expected);
    }

    #[test]
    fn every_commented_key_can_be_switched_on() {
        let on = |line: &str| {
            let code = line
                .strip_prefix("# ")
                .filter(|rest| rest.starts_with('[') || rest.split(' ').nth(1) == Some("=") && !rest.ends_with('.'));
            code.unwrap_or(line).to_string()
        };
        // A window has either a size or a zone.
        let text: Vec<String> = file().lines().map(on).filter(|line| !line.starts_with("calendar_day")).collect();
        let raw = config::parse(&text.join("\n")).unwrap();
        assert_eq!(raw.windows.unwrap().len(), 1);
        assert_eq!((raw.metrics.queue.len(), raw.slices.per_metric_set.len(), raw.kafka.properties.len()), (1, 1, 1));
    }

    #[test]
    fn every_key_that_is_read_is_described() {
        let mut raw = Raw::default();
        raw.input.push(Default::default());
        let value = toml::Value::try_from(&raw).unwrap();
        let mut missing = Vec::new();
        for (section, keys) in value.as_table().unwrap() {
            let (keys, header) = match keys {
                toml::Value::Array(items) => (items[0].clone(), format!("[[{section}]]")),
                keys => (keys.clone(), format!("[{section}]")),
            };
            let described =
                SECTIONS.iter().find(|section| section.header == header).unwrap_or_else(|| panic!("{header}"));
            for (name, value) in keys.as_table().unwrap() {
                let nested = SECTIONS.iter().any(|section| section.header.contains(&format!(".{name}]")));
                let known = described.keys.iter().any(|key| key.name == name);
                if !known && !(nested && (value.is_table() || value.is_array())) {
                    missing.push(format!("{header} {name}"));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    }
}
