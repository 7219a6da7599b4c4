//! The company that the touchpoints are about: its channels, queues, teams and customers. Tables, no logic.

use super::random::{Slots, slots};

/// How contacts and answers go in one channel.
pub(super) struct Channel {
    pub name: &'static str,
    /// Half of the waits are shorter, ms, when it is neither busy nor quiet.
    pub wait_ms: u64,
    /// Half of the customers give up sooner, ms.
    pub patience_ms: u64,
    /// Half of the conversations are shorter, ms.
    pub talk_ms: u64,
    /// Half of the first answers by a person come sooner, ms; 0 where nobody measures them.
    pub first_response_ms: u64,
    /// How many answered contacts of ten thousand are put on hold; `None` where there is no hold.
    pub held: Option<u32>,
    /// What people do here without an agent.
    pub kinds: &'static [&'static str],
    /// How the answers 1..5 to "how satisfied are you" are spread.
    pub csat: &'static Slots,
}

static GOOD: Slots = slots([4, 5, 11, 36, 44]);
static FAIR: Slots = slots([6, 8, 15, 40, 31]);
static POOR: Slots = slots([9, 11, 18, 36, 26]);

/// How they are spread while customers are unhappy.
pub(super) static UNHAPPY: Slots = slots([26, 22, 20, 21, 11]);

pub(super) const VOICE: usize = 0;

/// The channels; their places are what [`QUEUES`], [`INTERACTIONS`] and incidents name them by.
pub(super) static CHANNELS: [Channel; 8] = [
    channel("voice", 16_000, 190_000, 230_000, 0, Some(3_200), &["call_me_request"], &GOOD),
    channel("chat", 11_000, 150_000, 420_000, 20_000, Some(900), &["bot_session"], &GOOD),
    channel("email", 5_400_000, 90_000_000, 300_000, 9_000_000, None, &["newsletter_open", "reply"], &FAIR),
    channel("messaging", 40_000, 900_000, 500_000, 150_000, None, &["message", "bot_session"], &GOOD),
    channel("social", 600_000, 20_000_000, 240_000, 1_500_000, None, &["mention", "comment", "review"], &POOR),
    channel("web", 0, 0, 0, 0, None, &["visit", "visit", "visit", "search", "order", "help_article"], &FAIR),
    channel("app", 0, 0, 0, 0, None, &["session", "session", "order", "help_article"], &GOOD),
    channel("sms", 90_000, 3_600_000, 120_000, 240_000, None, &["message", "link_opened"], &FAIR),
];

#[expect(clippy::too_many_arguments, reason = "a row of a table")]
const fn channel(
    name: &'static str,
    wait_ms: u64,
    patience_ms: u64,
    talk_ms: u64,
    first_response_ms: u64,
    held: Option<u32>,
    kinds: &'static [&'static str],
    csat: &'static Slots,
) -> Channel {
    Channel { name, wait_ms, patience_ms, talk_ms, first_response_ms, held, kinds, csat }
}

/// Where interactions happen, by the places of [`CHANNELS`].
pub(super) static INTERACTIONS: Slots = slots([1, 4, 6, 6, 10, 44, 25, 4]);

/// A queue of one channel; queues of one name exist in several.
pub(super) struct Queue {
    pub channel: usize,
    pub name: &'static str,
    pub team: Team,
    weight: u32,
}

/// Who takes the contacts of a queue.
#[derive(Clone, Copy)]
pub(super) struct Team {
    pub name: &'static str,
    /// The first of its agents' numbers, and how many there are.
    pub agents: (u32, u32),
}

const fn queue(channel: usize, name: &'static str, team: Team, weight: u32) -> Queue {
    Queue { channel, name, team, weight }
}

const fn team(name: &'static str, first: u32, agents: u32) -> Team {
    Team { name, agents: (first, agents) }
}

const ACCOUNTS: Team = team("accounts", 1_000, 90);
const LOGISTICS: Team = team("logistics", 2_000, 110);
const TECHNICAL: Team = team("technical", 3_000, 120);
const DEVICES: Team = team("devices", 4_000, 50);
const SALES: Team = team("sales", 5_000, 60);
const RETENTION: Team = team("retention", 6_000, 25);
const CARE: Team = team("care", 7_000, 80);
const KEY_ACCOUNTS: Team = team("key-accounts", 8_000, 20);
const DIGITAL: Team = team("digital", 9_000, 45);

/// The queues; their places are what incidents name them by.
pub(super) const QUEUES: [Queue; 50] = [
    queue(VOICE, "technical", TECHNICAL, 70),
    queue(VOICE, "billing", ACCOUNTS, 60),
    queue(VOICE, "delivery", LOGISTICS, 55),
    queue(VOICE, "general", CARE, 50),
    queue(VOICE, "orders", LOGISTICS, 45),
    queue(VOICE, "internet", TECHNICAL, 40),
    queue(VOICE, "sales", SALES, 40),
    queue(VOICE, "mobile", DEVICES, 35),
    queue(VOICE, "returns", LOGISTICS, 30),
    queue(VOICE, "cancellations", RETENTION, 26),
    queue(VOICE, "payments", ACCOUNTS, 25),
    queue(VOICE, "contracts", ACCOUNTS, 22),
    queue(VOICE, "complaints", CARE, 20),
    queue(VOICE, "business", KEY_ACCOUNTS, 18),
    queue(VOICE, "appointments", CARE, 16),
    queue(VOICE, "tv", DEVICES, 15),
    queue(VOICE, "premium", KEY_ACCOUNTS, 12),
    queue(VOICE, "claims", CARE, 10),
    queue(1, "technical", TECHNICAL, 36),
    queue(1, "delivery", LOGISTICS, 34),
    queue(1, "orders", LOGISTICS, 30),
    queue(1, "billing", ACCOUNTS, 28),
    queue(1, "sales", SALES, 26),
    queue(1, "general", CARE, 24),
    queue(1, "returns", LOGISTICS, 20),
    queue(1, "internet", TECHNICAL, 18),
    queue(1, "mobile", DEVICES, 16),
    queue(1, "contracts", ACCOUNTS, 8),
    queue(1, "complaints", CARE, 7),
    queue(2, "general", CARE, 22),
    queue(2, "billing", ACCOUNTS, 20),
    queue(2, "complaints", CARE, 18),
    queue(2, "orders", LOGISTICS, 16),
    queue(2, "returns", LOGISTICS, 14),
    queue(2, "technical", TECHNICAL, 12),
    queue(2, "contracts", ACCOUNTS, 12),
    queue(2, "claims", CARE, 8),
    queue(2, "business", KEY_ACCOUNTS, 8),
    queue(3, "delivery", DIGITAL, 18),
    queue(3, "orders", DIGITAL, 14),
    queue(3, "general", DIGITAL, 14),
    queue(3, "technical", TECHNICAL, 11),
    queue(3, "returns", DIGITAL, 9),
    queue(3, "mobile", DEVICES, 8),
    queue(3, "sales", SALES, 8),
    queue(4, "care", DIGITAL, 14),
    queue(4, "complaints", DIGITAL, 8),
    queue(4, "general", DIGITAL, 6),
    queue(7, "delivery", LOGISTICS, 10),
    queue(7, "appointments", CARE, 8),
];

/// How contacts are spread over [`QUEUES`].
pub(super) static QUEUE_SLOTS: Slots = {
    let mut weights = [0; QUEUES.len()];
    let mut place = 0;
    while place < QUEUES.len() {
        weights[place] = QUEUES[place].weight;
        place += 1;
    }
    slots(weights)
};

pub(super) const CUSTOMERS: u32 = 100_000;
pub(super) const REGIONS: [&str; 6] = ["north", "south", "east", "west", "central", "islands"];
pub(super) static REGION_SLOTS: Slots = slots([26, 22, 18, 17, 14, 3]);
pub(super) const SEGMENTS: [&str; 4] = ["consumer", "family", "small-business", "premium"];
pub(super) static SEGMENT_SLOTS: Slots = slots([58, 24, 12, 6]);
pub(super) const PRODUCTS: [&str; 5] = ["fibre", "mobile", "tv", "device", "bundle"];
pub(super) const REASONS: [&str; 4] = ["price", "service", "moved", "competitor"];

/// The answers 0..10 to "would you recommend us".
pub(super) static NPS: Slots = slots([3, 1, 2, 2, 3, 6, 7, 14, 19, 20, 23]);

/// The answers 1..7 to "it was easy", 7 being easiest.
pub(super) static CES: Slots = slots([3, 4, 7, 11, 21, 30, 24]);
