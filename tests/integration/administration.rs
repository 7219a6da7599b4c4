//! Topics on the real Kafka: created from the table, compared with it, missed by name.

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use touchstone::kafka::Connection;
use touchstone::kafka::admin::{Admin, AdminError};
use touchstone::pipeline::link::LinkError;
use touchstone::topics::{Layout, TopicNames, table};

use crate::broker;
use crate::rig::{config, unique};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn() -> Result<(), Failed>| Trial::test(format!("kafka::{name}"), test);
    vec![
        trial("topics_are_created_as_the_table_says", created).with_ignored_flag(broker::is_left_out()),
        trial("a_difference_is_named_with_its_remedy", compared).with_ignored_flag(broker::is_left_out()),
        trial("a_broker_that_does_not_answer_is_named", unreachable),
    ]
}

fn layout() -> Layout {
    let names = TopicNames::prefixed(&unique("administration-"));
    Layout { names, replication_factor: 1, state_partitions: 2, aside_partitions: 1, ..Layout::new(vec![]) }
}

fn created() -> Result<(), Failed> {
    let admin = Admin::open(&Connection::new(&broker::address()?))?;
    let topics = table(&layout());
    assert_eq!(admin.compare(&topics)?.len(), 5, "nothing exists yet");
    assert_eq!(admin.create(&topics)?.len(), 5);
    assert_eq!(admin.compare(&topics)?, []);
    assert_eq!(admin.create(&topics)?, Vec::<String>::new(), "a second time creates nothing");
    admin.require(&topics)?;
    Ok(())
}

fn compared() -> Result<(), Failed> {
    let admin = Admin::open(&Connection::new(&broker::address()?))?;
    let layout = layout();
    admin.create(&table(&layout))?;
    let missing = unique("missing");
    let changed = Layout { input_record_bytes_max: 2_000_000, inputs: vec![missing.clone()], ..layout };
    let differences = admin.compare(&table(&changed))?;
    let sizes = differences.iter().filter(|difference| difference.key == "max.message.bytes");
    assert!(sizes.clone().all(|difference| difference.remedy.contains("kafka-configs.sh")));
    // The deltas have room for more than any input's record, so they do not follow its size.
    assert_eq!((sizes.count(), differences.len()), (4, 5), "{differences:?}");
    let unfit = admin.require(&table(&Layout { state_partitions: 3, ..changed }));
    let Err(AdminError::Unfit(unfit)) = unfit else { return Err(format!("{unfit:?}").into()) };
    assert_eq!(unfit.len(), 4, "{unfit:?}");
    assert!(unfit.iter().any(|difference| difference.topic == missing && difference.key == "exists"));
    Ok(())
}

fn unreachable() -> Result<(), Failed> {
    let nowhere = Connection::new("127.0.0.1:1");
    let begun = Instant::now();
    let admin = Admin::open(&nowhere).map(drop);
    let link = nowhere.link(&config("group", "topic")).map(drop);
    assert!(matches!(&admin, Err(AdminError::Unreachable(text)) if text.contains("127.0.0.1:1")), "{admin:?}");
    assert!(matches!(&link, Err(LinkError::Unavailable(text)) if text.contains("127.0.0.1:1")), "{link:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    Ok(())
}
