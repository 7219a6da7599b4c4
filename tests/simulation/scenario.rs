//! A scenario: everything that a seed decides, as plain lists. What happens by chance while it runs depends on seed and
//! time alone, so that an event or a fault can be left out and the rest stays as it is: that is how it is shrunk.

use touchstone::engine::time::{DAY, MINUTE, SECOND};
use touchstone::touchpoint::{RejectReason, Touchpoint};

use crate::events::{BYTES, json, touchpoint};
use crate::faults::{Answer, Change, Class, Fault, LinkFault, Loss, Moment, StageName};
use crate::random::Random;

/// When every run begins.
pub const START: i64 = 1_700_000_000_000;

/// The policy of the input, as [`config`] writes it.
pub const OUT_OF_ORDERNESS: i64 = 5 * SECOND;
pub const LATENESS: i64 = 40 * SECOND;
pub const IDLE_TIMEOUT: i64 = 25 * SECOND;
pub const MAX_FUTURE: i64 = 20 * SECOND;
/// No clock is wrong by more.
pub const SKEW_MAX: i64 = 15 * SECOND;
/// The longest window.
pub const WINDOW_MAX: i64 = 3 * MINUTE;
/// What the brokers of the simulation allow.
pub const POLL_INTERVAL: i64 = 6 * SECOND;
pub const TRANSACTION_TIMEOUT: i64 = 8 * SECOND;

/// Something at a time, ms after the start.
#[derive(Debug, Clone)]
pub struct Planned<T> {
    pub at: i64,
    pub what: T,
}

/// What a record holds.
#[derive(Debug, Clone)]
pub enum Made {
    Valid(Box<Touchpoint<'static>>),
    Skipped,
    Rejected(RejectReason),
}

/// A record of the input.
#[derive(Debug, Clone)]
pub struct Sent {
    pub partition: i32,
    pub made: Made,
    pub bytes: Vec<u8>,
    /// What it is an instance of.
    pub class: Option<Class>,
}

/// Everything a seed decides.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub seed: u64,
    pub partitions: i32,
    pub nodes: usize,
    pub config: Config,
    pub tick_ms: i64,
    pub span_ms: i64,
    /// How many times in a hundred a worker is not given its step.
    pub sleepy: i64,
    /// How many records a restoring reader gets at once.
    pub read_max: usize,
    pub catches_up: bool,
    pub skews: Vec<i64>,
    pub records: Vec<Planned<Sent>>,
    pub faults: Vec<Planned<Fault>>,
}

/// What differs between configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Config {
    pub commit_ms: i64,
    pub publish_ms: i64,
    pub checkpoint_ms: i64,
    pub epoch: u32,
    pub short_abandon_ms: i64,
    pub with_team: bool,
    pub format: u32,
    pub max_skew_ms: i64,
}

impl Config {
    /// The configuration of the next deployment.
    pub fn changed(self, change: Change) -> Config {
        match change {
            Change::Epoch => Config { epoch: self.epoch + 1, ..self },
            Change::Threshold => Config { short_abandon_ms: self.short_abandon_ms + 15_000, ..self },
            Change::GroupBy => Config { with_team: !self.with_team, ..self },
            Change::Format => Config { format: 3 - self.format, ..self },
        }
    }

    /// As the configuration file says it.
    pub fn text(&self) -> String {
        let Config { commit_ms, publish_ms, checkpoint_ms, epoch, short_abandon_ms, with_team, format, max_skew_ms } =
            self;
        let team = if *with_team { ", 'team'" } else { "" };
        format!(
            "[service]
            instance = 'node'
            format = {format}
            [metrics]
            short_abandon = '{short_abandon_ms}ms'
            [topics]
            deltas_partitions = 2
            letter_partitions = 1
            replication_factor = 1
            [timing]
            commit_interval = '{commit_ms}ms'
            idle_commit_interval = '1s'
            publish_interval = '{publish_ms}ms'
            checkpoint_interval = '{checkpoint_ms}ms'
            max_skew = '{max_skew_ms}ms'
            [slices]
            group_by = ['all', 'queue'{team}]
            [[windows]]
            name = '1m'
            size = '1m'
            [[windows]]
            name = '3m'
            size = '3m'
            slide = '1m'
            [[input]]
            name = 'calls'
            topic = 'calls'
            epoch = {epoch}
            lateness = '{LATENESS}ms'
            out_of_orderness = '{OUT_OF_ORDERNESS}ms'
            idle_timeout = '{IDLE_TIMEOUT}ms'
            max_future = '{MAX_FUTURE}ms'
            "
        )
    }
}

/// The fault classes that a run may switch on, each for itself.
const SWARM: [fn(&mut Random, &Bounds) -> Fault; 17] = [
    |random, bounds| Fault::Crash { node: bounds.node(random), down_ms: random.between(0, 20_000) },
    |random, bounds| Fault::Leave { node: bounds.node(random), down_ms: random.between(0, 15_000) },
    |random, bounds| Fault::Freeze { node: bounds.node(random), ms: random.between(1_000, 20_000) },
    |random, bounds| bounds.arm(random, LinkFault::Abort),
    |random, bounds| bounds.arm(random, LinkFault::Unknown { made: true }),
    |random, bounds| bounds.arm(random, LinkFault::Unknown { made: false }),
    |random, bounds| {
        let moment = random.one_of(&[Moment::Before, Moment::Open, Moment::After]);
        bounds.arm(random, LinkFault::Crash(moment))
    },
    |random, bounds| {
        let moment = random.one_of(&[Moment::Before, Moment::Open, Moment::After]);
        let ms = random.between(1_000, 20_000);
        bounds.arm(random, LinkFault::Pause(moment, ms))
    },
    |random, bounds| bounds.arm(random, LinkFault::CrashRestoring),
    |random, bounds| {
        let ms = random.between(1_000, 15_000);
        bounds.arm(random, LinkFault::PauseRestoring(ms))
    },
    |random, bounds| {
        let ms = random.between(1_000, 15_000);
        bounds.arm(random, LinkFault::PausePolling(ms))
    },
    |random, bounds| Fault::SetClock { node: bounds.node(random), ahead_ms: random.between(-SKEW_MAX, SKEW_MAX + 1) },
    |random, bounds| {
        let partition = bounds.partition(random);
        Fault::Unreachable { node: bounds.node(random), partition, ms: random.between(2_000, 90_000) }
    },
    |random, bounds| Fault::NoProof { node: bounds.node(random), ms: random.between(2_000, 90_000) },
    |random, bounds| Fault::Outage { node: bounds.node(random), ms: random.between(500, 20_000) },
    |random, bounds| Fault::Twin { node: bounds.node(random), ms: random.between(2_000, 40_000) },
    |random, bounds| {
        let (partition, committed) = (bounds.partition(random), random.chance(60));
        Fault::InputTransaction { partition, ms: random.between(500, 15_000), committed }
    },
];

struct Bounds {
    nodes: usize,
    partitions: i32,
}

impl Bounds {
    fn node(&self, random: &mut Random) -> usize {
        random.index(self.nodes)
    }

    fn partition(&self, random: &mut Random) -> i32 {
        i32::try_from(random.below(self.partitions.into())).expect("few partitions")
    }

    fn arm(&self, random: &mut Random, fault: LinkFault) -> Fault {
        let stage = random.one_of(&[StageName::Fold, StageName::Merge]);
        Fault::Arm { node: self.node(random), stage, fault }
    }

    fn torn(&self, random: &mut Random, stage: StageName) -> Fault {
        // What fold writes has two parts that can be lost, what merge writes four.
        let lost = u8::try_from(random.below(if stage == StageName::Fold { 4 } else { 64 })).expect("a byte");
        let answer = random.one_of(&[Answer::Committed, Answer::Aborted, Answer::Lost]);
        let fault = LinkFault::Torn { lost, offsets: random.chance(50), answer };
        Fault::Arm { node: self.node(random), stage, fault }
    }
}

impl Scenario {
    /// What the seed decides.
    pub fn new(seed: u64) -> Scenario {
        let mut random = Random::new(seed);
        let partitions = i32::try_from(random.between(2, 5)).expect("few");
        let nodes = 1 + random.index(3);
        let span_ms = random.between(90, 300) * SECOND;
        let config = Config {
            commit_ms: random.one_of(&[100, 500, 1_000]),
            publish_ms: random.one_of(&[2_000, 15_000, 60_000]),
            checkpoint_ms: random.one_of(&[3_000, 20_000, 70_000]),
            epoch: 1,
            short_abandon_ms: 5_000,
            with_team: random.chance(20),
            format: 1 + u32::from(random.chance(70)),
            max_skew_ms: random.one_of(&[1, 10, 60]) * MINUTE,
        };
        let skewed = random.chance(30);
        let skews = (0..nodes).map(|_| if skewed { random.between(-SKEW_MAX, SKEW_MAX + 1) } else { 0 }).collect();
        let bounds = Bounds { nodes, partitions };
        let mut faults = faults(&mut random, &bounds, span_ms);
        let catch_up = random.chance(15).then(|| random.between(1, 4) * DAY);
        if catch_up.is_some() {
            // Nobody reaches one partition while the others catch up.
            let (partition, ms) = (bounds.partition(&mut random), random.between(5_000, 60_000));
            let slow = |node| Planned { at: 0, what: Fault::Unreachable { node, partition, ms } };
            faults.splice(0..0, (0..nodes).map(slow));
        }
        let mut records = records(&mut random, partitions, span_ms, catch_up);
        if let Some(added) = faults.iter().find(|fault| fault.what == Fault::AddPartition) {
            // Some of what follows goes to the new one.
            for record in records.iter_mut().filter(|record| record.at > added.at) {
                if random.chance(30) {
                    record.what.partition = partitions;
                }
            }
        }
        Scenario {
            seed,
            partitions,
            nodes,
            config,
            tick_ms: random.one_of(&[100, 250, 500, 1_000]),
            span_ms,
            sleepy: random.one_of(&[0, 5, 30, 60]),
            read_max: random.one_of(&[3, 20, 16_384]),
            catches_up: catch_up.is_some(),
            skews,
            records,
            faults,
        }
    }
}

fn faults(random: &mut Random, bounds: &Bounds, span_ms: i64) -> Vec<Planned<Fault>> {
    let mut faults = Vec::new();
    let share = random.one_of(&[0, 10, 25, 50]);
    for make in SWARM {
        if random.chance(share) {
            for _ in 0..random.between(1, 5) {
                faults.push(Planned { at: random.below(span_ms), what: make(random, bounds) });
            }
        }
    }
    let at = random.between(span_ms / 4, span_ms);
    let mut plan = |at: i64, what: Fault| faults.push(Planned { at, what });
    // Faults after which a task may halt by design, and changes of the whole: at most one kind in a run.
    match random.below(100) {
        0..8 => {
            let stage = random.one_of(&[StageName::Fold, StageName::Merge]);
            for _ in 0..random.between(1, 3) {
                let at = random.between(span_ms / 4, span_ms);
                plan(at, bounds.torn(random, stage));
                if random.chance(60) {
                    // What was lost shows when somebody has to begin from what is there.
                    let down_ms = random.between(0, 10_000);
                    (0..bounds.nodes).for_each(|node| plan(at + 60_000, Fault::Crash { node, down_ms }));
                }
            }
        }
        8..11 => plan(at, Fault::Blackout(Loss::MergeOffset(i32::from(random.chance(50))))),
        11..14 => plan(at, Fault::Blackout(Loss::Deltas(i32::from(random.chance(50))))),
        14..20 => {
            let at = random.between(1, span_ms);
            plan(at, Fault::Blackout(random.one_of(&[Loss::FoldOffsets, Loss::Input])));
            if random.chance(70) {
                plan(at + random.between(2_000, 60_000), Fault::Redeploy(Change::Epoch));
            }
        }
        20..32 => {
            let change = random.one_of(&[Change::Threshold, Change::GroupBy, Change::Format, Change::Epoch]);
            plan(at, Fault::Redeploy(change));
        }
        32..44 => plan(at, Fault::AddPartition),
        _ => {}
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// The bytes that are no event, and under which name they are rejected.
const POISON: [(&[u8], RejectReason); 6] = [
    (b"{\"broken", RejectReason::NotJson),
    (b"", RejectReason::NotJson),
    (b"\xff\xfe\x00", RejectReason::NotUtf8),
    (b"[1,2]", RejectReason::NotObject),
    (b"{\"specversion\":\"0.3\"}", RejectReason::UnsupportedSpecversion),
    (b"{\"specversion\":\"1.0\"}", RejectReason::MissingField),
];

fn records(random: &mut Random, partitions: i32, span_ms: i64, catch_up: Option<i64>) -> Vec<Planned<Sent>> {
    let count = random.between(40, 220);
    let old_ms = random.one_of(&[OUT_OF_ORDERNESS, 20 * SECOND, LATENESS + OUT_OF_ORDERNESS, 2 * LATENESS]);
    let odd = random.one_of(&[0, 5, 20]);
    // One partition falls silent half-way, in one run of three.
    let idle = random.chance(33).then(|| random.below(partitions.into()));
    let mut sent: Vec<Planned<Sent>> = Vec::new();
    for _ in 0..count {
        let at = if catch_up.is_some() && random.chance(70) { 0 } else { random.below(span_ms) };
        sent.push(Planned { at, what: Sent { partition: 0, made: Made::Skipped, bytes: Vec::new(), class: None } });
    }
    sent.sort_by_key(|record| record.at);
    let early = i64::try_from(sent.iter().filter(|record| record.at == 0).count()).expect("few").max(1);
    let mut valid: Vec<(i32, Touchpoint<'static>)> = Vec::new();
    for (number, record) in (0..).zip(&mut sent) {
        let mut partition = i32::try_from(random.below(partitions.into())).expect("few");
        if idle == Some(partition.into()) && record.at > span_ms / 3 && record.at < span_ms * 5 / 6 {
            partition = (partition + 1) % partitions;
        }
        let bytes: [u8; BYTES] = std::array::from_fn(|_| u8::try_from(random.below(256)).expect("a byte"));
        let age = if random.chance(50) { 0 } else { random.below(old_ms) };
        let time = match catch_up {
            Some(span) if record.at == 0 => START - span + number * span / early - age,
            _ => START + record.at - age,
        };
        let event = touchpoint(&format!("event-{number}"), time, &bytes);
        record.what = if random.chance(odd) {
            odd_one(random, partition, event, &valid)
        } else {
            valid.push((partition, event.clone()));
            of(partition, event, None)
        };
    }
    sent
}

fn of(partition: i32, event: Touchpoint<'static>, class: Option<Class>) -> Sent {
    Sent { partition, bytes: json(&event).into_bytes(), made: Made::Valid(Box::new(event)), class }
}

/// A record that is not simply a new event.
fn odd_one(
    random: &mut Random,
    partition: i32,
    event: Touchpoint<'static>,
    valid: &[(i32, Touchpoint<'static>)],
) -> Sent {
    let copy = (!valid.is_empty()).then(|| valid[valid.len() - 1 - random.index(valid.len().min(40))].clone());
    match (random.below(7), copy) {
        (0 | 1, Some((partition, copy))) => of(partition, copy, Some(Class::Duplicate)),
        (2, Some((partition, copy))) => {
            let changed = Touchpoint { customer_id: Some("else".into()), ..copy };
            of(partition, changed, Some(Class::Conflicting))
        }
        (3, _) => {
            let (bytes, reason) = random.one_of(&POISON);
            Sent { partition, made: Made::Rejected(reason), bytes: bytes.to_vec(), class: Some(Class::Poison) }
        }
        (4, _) => {
            let text = json(&event).replacen("\"data\":{", "\"data\":{\"test\":true,", 1);
            Sent { partition, made: Made::Skipped, bytes: text.into_bytes(), class: None }
        }
        (5, _) => {
            // Ahead of its record's time: just allowed, or too far.
            let time = event.time + random.between(0, 2 * MAX_FUTURE);
            of(partition, Touchpoint { time, ..event }, None)
        }
        _ => {
            let time = event.time - random.between(LATENESS, 4 * LATENESS);
            of(partition, Touchpoint { time, ..event }, None)
        }
    }
}

/// Some events for a transaction on the input.
pub fn in_transaction(random: &mut Random, partition: i32, now: i64) -> Vec<Sent> {
    let event = |number: i64, random: &mut Random| {
        let bytes: [u8; BYTES] = std::array::from_fn(|_| u8::try_from(random.below(256)).expect("a byte"));
        let time = now - random.below(OUT_OF_ORDERNESS);
        of(partition, touchpoint(&format!("transaction-{now}-{number}"), time, &bytes), None)
    };
    (0..random.between(1, 4)).map(|number| event(number, random)).collect()
}
