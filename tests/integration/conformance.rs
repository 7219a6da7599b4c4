//! One suite, run on the in-memory broker and on a real Kafka: what the worker relies on holds on both.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use touchstone::pipeline::link::{Commit, CommitError, LinkConfig, LinkError, Output, PartitionId};

use crate::broker;
use crate::rig::{PATIENCE, Rig, Worker, commit, config, output, unique};

type Check = fn(&Rig);

const CHECKS: [(&str, Check); 21] = [
    ("aborted_records_are_invisible", aborted_records_are_invisible),
    ("a_commit_is_all_or_nothing", a_commit_is_all_or_nothing),
    ("metadata_has_4096_bytes", metadata_has_4096_bytes),
    ("a_second_link_fences_the_first", a_second_link_fences_the_first),
    ("an_old_generation_cannot_commit", an_old_generation_cannot_commit),
    ("members_share_and_hand_over", members_share_and_hand_over),
    ("a_rewind_delivers_again", a_rewind_delivers_again),
    ("a_paused_partition_is_silent", a_paused_partition_is_silent),
    ("drained_looks_behind_control_records", drained_looks_behind_control_records),
    ("a_reader_waits_for_open_transactions", a_reader_waits_for_open_transactions),
    ("a_reader_of_lost_offsets_says_so", a_reader_of_lost_offsets_says_so),
    ("a_commit_may_be_larger_than_what_waits_to_be_sent", a_commit_may_be_larger_than_what_waits_to_be_sent),
    ("a_record_that_cannot_be_written_is_impossible", a_record_that_cannot_be_written_is_impossible),
    ("a_lost_position_is_assigned_as_lost", a_lost_position_is_assigned_as_lost),
    ("a_position_lost_while_reading_is_handed_out_as_lost", a_position_lost_while_reading_is_handed_out_as_lost),
    ("recycling_hands_everything_out_again", recycling_hands_everything_out_again),
    ("a_pending_offset_holds_the_assignment_back", a_pending_offset_holds_the_assignment_back),
    ("a_transaction_left_open_is_aborted", a_transaction_left_open_is_aborted),
    ("a_member_that_does_not_poll_is_put_out", a_member_that_does_not_poll_is_put_out),
    ("partitions_added_reach_a_member", partitions_added_reach_a_member),
    ("a_topic_created_again_has_no_offsets", a_topic_created_again_has_no_offsets),
];

pub fn tests() -> Vec<Trial> {
    let memory = CHECKS.iter().map(|&(name, check)| {
        Trial::test(format!("memory::{name}"), move || {
            check(&Rig::memory());
            Ok(())
        })
    });
    let kafka = CHECKS.iter().map(|&(name, check)| {
        Trial::test(format!("kafka::{name}"), move || {
            check(&Rig::kafka()?);
            Ok(())
        })
        .with_ignored_flag(broker::is_left_out())
    });
    let stale = Trial::test("kafka::a_stale_membership_joins_anew", || {
        a_stale_membership_joins_anew(&Rig::kafka()?);
        Ok(())
    });
    memory.chain(kafka).chain([stale.with_ignored_flag(broker::is_left_out())]).collect()
}

const FIRST: PartitionId = PartitionId { topic: 0, partition: 0 };

/// A worker alone in a new group.
fn worker(rig: &Rig, topic: &str) -> Worker {
    Worker::new(rig.open(&config(&unique("group"), topic)))
}

fn read(worker: &mut Worker, topic: &str, from: Option<i64>, until: Option<i64>) -> Vec<String> {
    let mut reader = worker.link.reader(topic, 0, from, until).unwrap();
    let mut values = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    let mut take = |value: Option<&[u8]>| values.push(String::from_utf8(value.unwrap().to_vec()).unwrap());
    while !reader.read(10, Duration::from_millis(50), &mut |record| take(record.value)).unwrap() {
        assert!(Instant::now() < deadline, "the reader does not end");
    }
    assert_eq!(reader.remaining(), 0);
    values
}

fn aborted_records_are_invisible(rig: &Rig) {
    let topic = rig.topic(1);
    for (value, committed) in [("a", true), ("void", false), ("b", true)] {
        let transaction = rig.transaction();
        transaction.send(&topic, 0, &[value]);
        transaction.end(committed);
    }
    rig.produce(&topic, 0, &["c"]);
    let mut worker = worker(rig, &topic);
    worker.poll_until("three records", |worker| worker.seen.len() >= 3);
    assert_eq!(worker.values(), ["a", "b", "c"]);
    assert_eq!(read(&mut worker, &topic, None, None), ["a", "b", "c"]);
    worker.link.close();
}

fn a_commit_is_all_or_nothing(rig: &Rig) {
    let (input, out) = (rig.topic(1), rig.topic(1));
    let LinkConfig { group, .. } = config(&unique("group"), &input);
    let mut worker = Worker::new(rig.open(&config(&group, &input)));
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    assert_eq!(worker.link.committed(&group, &input).unwrap(), [None]);
    let mut full = output(&out, 0, "first");
    full.key = Some(b"key".to_vec());
    full.headers = vec![("h".into(), Some(b"1".to_vec())), ("null".into(), None), ("h".into(), Some(Vec::new()))];
    worker.link.commit(commit(3, "three", vec![full])).unwrap();
    let refused = worker.link.commit(commit(4, &"m".repeat(4097), vec![output(&out, 0, "void")]));
    assert!(matches!(refused, Err(CommitError::Aborted(_))), "{refused:?}");
    assert_eq!(worker.link.committed(&group, &input).unwrap(), [Some((3, "three".to_owned()))]);
    worker.link.commit(commit(5, "", vec![output(&out, 0, "second")])).unwrap();
    assert_eq!(read(&mut worker, &out, None, None), ["first", "second"]);
    let mut reader = worker.link.reader(&out, 0, None, Some(1)).unwrap();
    let mut checked = false;
    while !reader
        .read(1, Duration::from_millis(50), &mut |record| {
            let headers = [("h", Some(&b"1"[..])), ("null", None), ("h", Some(&b""[..]))];
            assert_eq!((record.key, record.headers), (Some(&b"key"[..]), &headers[..]));
            checked = true;
        })
        .unwrap()
    {}
    assert!(checked);
    drop(reader);
    worker.link.close();
}

fn metadata_has_4096_bytes(rig: &Rig) {
    let input = rig.topic(1);
    let group = unique("group");
    let mut first = Worker::new(rig.open(&config(&group, &input)));
    first.poll_until("assignment", |worker| !worker.owned.is_empty());
    let metadata = "ä".repeat(2048);
    first.link.commit(commit(0, &metadata, vec![])).unwrap();
    let refused = first.link.commit(commit(0, &"x".repeat(4097), vec![]));
    assert!(matches!(refused, Err(CommitError::Aborted(_))), "{refused:?}");
    first.link.close();
    let mut second = Worker::new(rig.open(&config(&group, &input)));
    second.poll_until("assignment", |worker| !worker.owned.is_empty());
    assert_eq!(second.owned[&FIRST].committed, Some((0, metadata)));
    second.link.close();
}

fn a_second_link_fences_the_first(rig: &Rig) {
    let (input, out) = (rig.topic(1), rig.topic(1));
    let same = config(&unique("group"), &input);
    let mut first = Worker::new(rig.open(&same));
    first.poll_until("assignment", |worker| !worker.owned.is_empty());
    first.link.commit(commit(0, "first", vec![output(&out, 0, "first")])).unwrap();
    let mut second = Worker::new(rig.open(&same));
    let fenced = first.link.commit(commit(1, "zombie", vec![output(&out, 0, "zombie")]));
    assert!(matches!(fenced, Err(CommitError::Fenced(_))), "{fenced:?}");
    first.link.close();
    second.poll_until("assignment", |worker| !worker.owned.is_empty());
    assert_eq!(second.owned[&FIRST].committed, Some((0, "first".to_owned())));
    assert_eq!(read(&mut second, &out, None, None), ["first"]);
    second.link.close();
}

fn an_old_generation_cannot_commit(rig: &Rig) {
    let input = rig.topic(2);
    let group = unique("group");
    let mut first = Worker::new(rig.open(&config(&group, &input)));
    first.poll_until("assignment", |worker| worker.owned.len() == 2);
    let mut second = Worker::new(rig.open(&config(&group, &input)));
    let deadline = Instant::now() + PATIENCE;
    // The first one is not told of the new generation: it does not poll.
    let refused = loop {
        second.poll(20);
        match first.link.commit(commit(0, "", vec![])) {
            Ok(()) => assert!(Instant::now() < deadline, "the old generation goes on committing"),
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, CommitError::Aborted(_) | CommitError::Fenced(_)), "{refused:?}");
    // Told of it, what it kept can be committed again.
    let deadline = Instant::now() + PATIENCE;
    loop {
        first.poll(20);
        second.poll(20);
        if first.owned.len() == 1 && second.owned.len() == 1 {
            let kept = *first.owned.keys().next().unwrap();
            if first
                .link
                .commit(Commit { outputs: Box::new([].into_iter()), offsets: vec![(kept, 0, "".into())] })
                .is_ok()
            {
                break;
            }
        }
        assert!(Instant::now() < deadline, "the new generation cannot commit");
    }
    first.link.close();
    second.link.close();
}

fn members_share_and_hand_over(rig: &Rig) {
    let input = rig.topic(4);
    let group = unique("group");
    let mut first = Worker::new(rig.open(&config(&group, &input)));
    first.poll_until("all four", |worker| worker.owned.len() == 4);
    let mut second = Worker::new(rig.open(&config(&group, &input)));
    let both = |first: &mut Worker, second: &mut Worker, what: &str, holds: &dyn Fn(&Worker, &Worker) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !holds(first, second) {
            assert!(Instant::now() < deadline, "{what}: not in time");
            (0..4).for_each(|partition| rig.produce(&input, partition, &["x"]));
            first.poll(10);
            second.poll(10);
        }
    };
    both(&mut first, &mut second, "two each", &|first, second| first.owned.len() == 2 && second.owned.len() == 2);
    assert!(first.owned.keys().all(|id| !second.owned.contains_key(id)));
    let taken = (first.seen.len(), second.seen.len());
    both(&mut first, &mut second, "both take", &|first, second| {
        first.seen.len() > taken.0 && second.seen.len() > taken.1
    });
    second.link.close();
    first.poll_until("all four again", |worker| worker.owned.len() == 4);
    assert_eq!(first.revocations, 1);
    first.link.close();
}

fn a_rewind_delivers_again(rig: &Rig) {
    let input = rig.topic(1);
    rig.produce(&input, 0, &["a", "b", "c"]);
    let mut worker = worker(rig, &input);
    worker.poll_until("three records", |worker| worker.seen.len() >= 3);
    worker.link.rewind(FIRST, 1).unwrap();
    worker.poll_until("two again", |worker| worker.seen.len() >= 5);
    let offsets: Vec<i64> = worker.seen.iter().map(|seen| seen.1).collect();
    assert_eq!(offsets, [0, 1, 2, 1, 2]);
    worker.link.close();
}

fn a_paused_partition_is_silent(rig: &Rig) {
    let input = rig.topic(2);
    let mut worker = worker(rig, &input);
    worker.resumes = false;
    worker.poll_until("assignment", |worker| worker.owned.len() == 2);
    rig.produce(&input, 0, &["a", "b"]);
    rig.produce(&input, 1, &["other"]);
    let other = PartitionId { topic: 0, partition: 1 };
    worker.link.resume(other, 0).unwrap();
    worker.poll_until("the other one", |worker| !worker.seen.is_empty());
    worker.poll_for(Duration::from_millis(300));
    assert_eq!(worker.values(), ["other"]);
    worker.link.resume(FIRST, 1).unwrap();
    worker.poll_until("the resumed one", |worker| worker.seen.len() >= 2);
    worker.link.pause(FIRST).unwrap();
    rig.produce(&input, 0, &["c"]);
    worker.poll_for(Duration::from_millis(300));
    assert_eq!(worker.values(), ["b", "other"]);
    worker.link.resume(FIRST, 2).unwrap();
    worker.poll_until("resumed again", |worker| worker.seen.len() >= 3);
    assert_eq!(worker.values(), ["b", "c", "other"]);
    worker.link.close();
}

fn drained_looks_behind_control_records(rig: &Rig) {
    let input = rig.topic(1);
    let mut worker = worker(rig, &input);
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    assert_eq!(worker.link.drained(FIRST, 0).unwrap(), (true, 0));
    let transaction = rig.transaction();
    transaction.send(&input, 0, &["a"]);
    assert_eq!(worker.link.drained(FIRST, 0).unwrap(), (false, 1), "pending records are not nothing");
    transaction.end(true);
    worker.poll_until("the record", |worker| !worker.seen.is_empty());
    let deadline = Instant::now() + PATIENCE;
    while worker.link.drained(FIRST, 1).unwrap() != (true, 0) {
        assert!(Instant::now() < deadline, "a control record at the end counts as something");
    }
    assert!(!worker.link.drained(FIRST, 0).unwrap().0, "what was not taken is not drained");
    assert!(worker.link.drained(FIRST, 1).unwrap().0, "asking twice changes nothing");
    rig.produce(&input, 0, &["b"]);
    assert!(!worker.link.drained(FIRST, 1).unwrap().0);
    worker.link.close();
}

fn a_reader_waits_for_open_transactions(rig: &Rig) {
    let (input, log) = (rig.topic(1), rig.topic(1));
    rig.produce(&log, 0, &["a"]);
    let transaction = rig.transaction();
    transaction.send(&log, 0, &["b"]);
    let mut worker = worker(rig, &input);
    let mut reader = worker.link.reader(&log, 0, None, None).unwrap();
    let mut values = Vec::new();
    for _ in 0..5 {
        let done = reader.read(10, Duration::from_millis(20), &mut |record| values.push(record.offset)).unwrap();
        assert!(!done && values.is_empty(), "the end is not known while a transaction is open");
    }
    transaction.end(true);
    rig.produce(&log, 0, &["after the reader was opened"]);
    let deadline = Instant::now() + PATIENCE;
    while !reader.read(1, Duration::from_millis(50), &mut |record| values.push(record.offset)).unwrap() {
        assert!(Instant::now() < deadline, "the reader does not end");
    }
    assert_eq!((values, reader.remaining()), (vec![0, 1], 0));
    drop(reader);
    assert_eq!(read(&mut worker, &log, Some(1), Some(2)), ["b"]);
    assert_eq!(read(&mut worker, &log, Some(4), None), Vec::<String>::new());
    worker.link.close();
}

fn a_reader_of_lost_offsets_says_so(rig: &Rig) {
    let (input, log) = (rig.topic(1), rig.topic(1));
    rig.produce(&log, 0, &["a", "b", "c"]);
    rig.delete_before(&log, 0, 2);
    let mut worker = worker(rig, &input);
    assert_eq!(read(&mut worker, &log, None, None), ["c"]);
    for (from, until) in [(Some(1), None), (None, Some(4)), (Some(4), None)] {
        let refused = worker.link.reader(&log, 0, from, until).map(drop);
        assert!(matches!(refused, Err(LinkError::Lost(_))), "{from:?} {until:?}: {refused:?}");
    }
    assert!(matches!(worker.link.reader("no-such-topic", 0, None, None), Err(LinkError::Lost(_))));
    worker.link.close();
}

/// Records are made while others are sent, and those that wait have a bound; a commit has none.
fn a_commit_may_be_larger_than_what_waits_to_be_sent(rig: &Rig) {
    let (input, out) = (rig.topic(1), rig.topic(1));
    let mut worker = worker(rig, &input);
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    let large = "x".repeat(999_000);
    worker.link.commit(commit(0, "", (0..50).map(|_| output(&out, 0, &large)).collect())).unwrap();
    let values = read(&mut worker, &out, None, None);
    assert_eq!((values.len(), values.iter().all(|value| *value == large)), (50, true));
    worker.link.close();
}

fn a_record_that_cannot_be_written_is_impossible(rig: &Rig) {
    let (input, out) = (rig.topic(1), rig.topic(1));
    let mut worker = worker(rig, &input);
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    let large = "x".repeat(999_000);
    worker.link.commit(commit(0, "", vec![output(&out, 0, &large)])).unwrap();
    let larger = output(&out, 0, &"x".repeat(1_100_000));
    let nowhere = [output(&out, 7, "x"), output("no-such-topic", 0, "x"), larger];
    for impossible in nowhere {
        let begun = Instant::now();
        let (topic, partition) = (impossible.topic.clone(), impossible.partition);
        let refused = worker.link.commit(commit(1, "", vec![output(&out, 0, "void"), impossible]));
        assert!(matches!(refused, Err(CommitError::Impossible(_))), "{topic} {partition:?}: {refused:?}");
        assert!(begun.elapsed() < Duration::from_secs(9), "{topic} {partition:?} blocked for {:?}", begun.elapsed());
    }
    worker.link.commit(commit(2, "", vec![output(&out, 0, "after")])).unwrap();
    assert_eq!(read(&mut worker, &out, Some(1), None), ["after"]);
    worker.link.close();
}

fn a_lost_position_is_assigned_as_lost(rig: &Rig) {
    let input = rig.topic(2);
    let group = unique("group");
    rig.produce(&input, 0, &["a", "b", "c"]);
    rig.produce(&input, 1, &["other"]);
    let mut first = Worker::new(rig.open(&config(&group, &input)));
    first.poll_until("assignment", |worker| worker.owned.len() == 2);
    first.link.commit(commit(1, "one", vec![])).unwrap();
    first.link.close();
    rig.delete_before(&input, 0, 2);
    let mut second = Worker::new(rig.open(&config(&group, &input)));
    second.poll_until("the healthy one", |worker| !worker.seen.is_empty());
    let lost = &second.owned[&FIRST];
    assert_eq!((lost.position, &lost.committed), (1, &Some((1, "one".to_owned()))));
    assert!(lost.lost.as_ref().is_some_and(|lost| lost.contains("offset 1")), "{lost:?}");
    second.poll_for(Duration::from_millis(300));
    assert_eq!(second.revocations, 0, "it was lost from the first, not found to be so later");
    assert_eq!(second.values(), ["other"]);
    second.link.close();
}

fn a_position_lost_while_reading_is_handed_out_as_lost(rig: &Rig) {
    let input = rig.topic(1);
    let mut worker = worker(rig, &input);
    worker.resumes = false;
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    rig.produce(&input, 0, &["a", "b", "c"]);
    rig.delete_before(&input, 0, 2);
    worker.link.resume(FIRST, 0).unwrap();
    worker.poll_until("the loss", |worker| worker.revocations == 1 && worker.owned.len() == 1);
    assert!(worker.owned[&FIRST].lost.is_some());
    assert!(worker.seen.is_empty());
    worker.link.close();
}

fn recycling_hands_everything_out_again(rig: &Rig) {
    let (input, out) = (rig.topic(1), rig.topic(1));
    rig.produce(&input, 0, &["a", "b"]);
    let mut worker = worker(rig, &input);
    worker.poll_until("two records", |worker| worker.seen.len() >= 2);
    worker.link.commit(commit(1, "one", vec![Output { value: None, ..output(&out, 0, "") }])).unwrap();
    worker.link.recycle().unwrap();
    worker.poll_until("handed out again", |worker| worker.assignments == 2);
    assert_eq!(worker.revocations, 1);
    assert_eq!(worker.owned[&FIRST].committed, Some((1, "one".to_owned())));
    worker.poll_until("the second record again", |worker| worker.seen.len() >= 3);
    assert_eq!(worker.seen[2].1, 1);
    worker.link.commit(commit(2, "two", vec![output(&out, 0, "x")])).unwrap();
    worker.link.close();
}

fn a_pending_offset_holds_the_assignment_back(rig: &Rig) {
    let input = rig.topic(1);
    let group = unique("group");
    rig.produce(&input, 0, &["a", "b"]);
    let transaction = rig.transaction();
    transaction.send_offset(&group, &input, 0, 1);
    let mut worker = Worker::new(rig.open(&config(&group, &input)));
    worker.poll_for(Duration::from_millis(1500));
    assert!(worker.owned.is_empty(), "assigned while the offset is in an open transaction");
    transaction.end(true);
    worker.poll_until("assignment", |worker| !worker.owned.is_empty());
    assert_eq!(worker.owned[&FIRST].position, 1);
    worker.link.close();
}

fn a_transaction_left_open_is_aborted(rig: &Rig) {
    let rig = rig.hasty();
    let (input, group) = (rig.topic(1), unique("group"));
    rig.produce(&input, 0, &["a"]);
    let transaction = rig.transaction();
    transaction.send(&input, 0, &["void"]);
    transaction.send_offset(&group, &input, 0, 1);
    rig.produce(&input, 0, &["b"]);
    let mut worker = Worker::new(rig.open(&config(&group, &input)));
    worker.poll_until("what follows it", |worker| worker.seen.len() >= 2);
    assert_eq!(worker.values(), ["a", "b"], "its offset went with it, too");
    assert!(!transaction.commits(), "it was aborted");
    worker.link.close();
}

fn a_member_that_does_not_poll_is_put_out(rig: &Rig) {
    let rig = rig.hasty();
    let (input, group) = (rig.topic(2), unique("group"));
    let mut sleeper = Worker::new(rig.open(&config(&group, &input)));
    sleeper.poll_until("assignment", |worker| worker.owned.len() == 2);
    let mut heir = Worker::new(rig.open(&config(&group, &input)));
    heir.poll_until("everything", |worker| worker.owned.len() == 2);
    let refused = sleeper.link.commit(commit(0, "zombie", vec![output(&input, 0, "zombie")]));
    assert!(matches!(refused, Err(CommitError::Aborted(_) | CommitError::Fenced(_))), "{refused:?}");
    heir.link.commit(commit(0, "heir", vec![])).unwrap();
    assert_eq!(heir.link.committed(&group, &input).unwrap()[0], Some((0, "heir".to_owned())));
    // Awake, it is told that it has lost everything, and comes back as a new member.
    let deadline = Instant::now() + PATIENCE;
    while sleeper.owned.len() != 1 || heir.owned.len() != 1 {
        assert!(Instant::now() < deadline, "they do not share: {} and {}", sleeper.owned.len(), heir.owned.len());
        sleeper.poll(20);
        heir.poll(20);
    }
    assert!(sleeper.revocations > 0);
    sleeper.link.close();
    heir.link.close();
}

fn partitions_added_reach_a_member(rig: &Rig) {
    let rig = rig.hasty();
    let input = rig.topic(1);
    let mut worker = worker(&rig, &input);
    worker.poll_until("assignment", |worker| worker.owned.len() == 1);
    rig.add_partitions(&input, 2);
    worker.poll_until("the new one", |worker| worker.owned.len() == 2);
    let added = &worker.owned[&PartitionId { topic: 0, partition: 1 }];
    assert_eq!((added.position, &added.committed, added.partitions), (0, &None, 2));
    rig.produce(&input, 1, &["x"]);
    worker.poll_until("its first record", |worker| !worker.seen.is_empty());
    worker.link.close();
}

fn a_topic_created_again_has_no_offsets(rig: &Rig) {
    let (input, group) = (rig.topic(1), unique("group"));
    rig.produce(&input, 0, &["a", "b", "c"]);
    let mut before = Worker::new(rig.open(&config(&group, &input)));
    before.poll_until("assignment", |worker| !worker.owned.is_empty());
    before.link.commit(commit(3, "three", vec![])).unwrap();
    before.link.close();
    rig.recreate(&input);
    rig.produce(&input, 0, &["new"]);
    let mut after = Worker::new(rig.open(&config(&group, &input)));
    after.poll_until("the new record", |worker| !worker.seen.is_empty());
    assert_eq!((after.values(), &after.owned[&FIRST].committed), (vec!["new"], &None));
    after.link.close();
}

/// librdkafka alone: an assignment heard of after the session's time may be under a membership that has ended, which
/// brokers would not fence.
fn a_stale_membership_joins_anew(rig: &Rig) {
    let Rig::Kafka(connection) = rig else { unreachable!("only run on Kafka") };
    let mut hasty = connection.clone();
    hasty.timings.session = Duration::from_millis(1500);
    hasty.timings.heartbeat = Duration::from_millis(300);
    let input = rig.topic(1);
    let mut worker = Worker::new(Box::new(hasty.link(&config(&unique("group"), &input)).unwrap()));
    // No condition can be waited for here: that time passes without a poll is what is tested.
    std::thread::sleep(Duration::from_secs(3));
    let deadline = Instant::now() + PATIENCE;
    while worker.owned.is_empty() || worker.link.commit(commit(0, "", vec![])).is_err() {
        assert!(Instant::now() < deadline, "it never commits");
        worker.poll(20);
    }
    assert_eq!((worker.assignments, worker.revocations), (2, 1));
    worker.link.close();
}
