//! What goes wrong, as data: from when to when, and what.

use super::business::{CHANNELS, QUEUES};
use super::random::Random;
use std::ops::Range;

/// Something that goes wrong for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incident {
    /// The minutes since the epoch in which it lasts.
    pub minutes: Range<i64>,
    /// What it is.
    pub kind: IncidentKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncidentKind {
    /// A queue gets worse: waits are four times as long, and more customers give up.
    SlowQueue(usize),
    /// Answers to satisfaction surveys in a channel drop.
    UnhappyChannel(usize),
}

impl IncidentKind {
    /// A slow queue, by the names of its channel and its own.
    pub fn slow_queue(channel: &str, queue: &str) -> Option<IncidentKind> {
        let place = QUEUES.iter().position(|row| CHANNELS[row.channel].name == channel && row.name == queue);
        place.map(IncidentKind::SlowQueue)
    }

    /// An unhappy channel, by its name.
    pub fn unhappy_channel(channel: &str) -> Option<IncidentKind> {
        CHANNELS.iter().position(|row| row.name == channel).map(IncidentKind::UnhappyChannel)
    }
}

/// Where incidents lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incidents {
    /// Two on each day, laid by the seed.
    BySeed,
    /// These, and no others.
    Given(Vec<Incident>),
}

/// What goes wrong in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    slow_queues: u64,
    unhappy_channels: u64,
}

impl Trouble {
    /// What goes wrong in that minute.
    pub fn of(incidents: &Incidents, seed: u64, minute: i64) -> Trouble {
        let mut trouble = Trouble::default();
        let mut add = |incident: &Incident| {
            if incident.minutes.contains(&minute) {
                match incident.kind {
                    IncidentKind::SlowQueue(queue) => trouble.slow_queues |= 1 << queue,
                    IncidentKind::UnhappyChannel(channel) => trouble.unhappy_channels |= 1 << channel,
                }
            }
        };
        match incidents {
            Incidents::Given(incidents) => incidents.iter().for_each(add),
            Incidents::BySeed => of_day(seed, minute.div_euclid(1_440)).iter().for_each(&mut add),
        }
        trouble
    }

    pub fn is_slow(&self, queue: usize) -> bool {
        self.slow_queues & (1 << queue) != 0
    }

    pub fn is_unhappy(&self, channel: usize) -> bool {
        self.unhappy_channels & (1 << channel) != 0
    }
}

/// The incidents of one day, counted from the epoch: in the busy hours, among the busier queues and channels.
fn of_day(seed: u64, day: i64) -> [Incident; 2] {
    let mut random = Random::at(seed, day, u32::MAX - 1);
    let mut minutes = || {
        let from = day * 1_440 + 8 * 60 + i64::from(random.below(9 * 60));
        from..from + 45 + i64::from(random.below(75))
    };
    let (slow, unhappy) = (minutes(), minutes());
    [
        Incident { minutes: slow, kind: IncidentKind::SlowQueue(random.below(12) as usize) },
        Incident { minutes: unhappy, kind: IncidentKind::UnhappyChannel(random.below(4) as usize) },
    ]
}
