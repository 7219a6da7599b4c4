//! The touchpoint: one CloudEvent as touchstone understands it.
//!
//! A [`Touchpoint`] is flat and borrows from the bytes it was decoded from: no tagged enum, no nested
//! structs to allocate. Fields that a type does not have are `None`. Everything in a `Touchpoint` has
//! been validated; whatever could not be is a [`Rejection`] with one of the [`RejectReason`]s.
//!
//! Nothing in this module knows Kafka, files, windows or metrics.

mod decode;
mod field;
mod hash;
mod judge;
mod number;
mod reject;
#[cfg(test)]
mod tests;
mod time;
mod tree;
mod vocabulary;
mod wire;

pub use decode::{DecodeContext, Limits, check_limits, decode, decode_event};
pub use hash::{content_hash, identity_hash};
pub use reject::{RejectReason, Rejection};
pub use time::parse_rfc3339;
pub use tree::check_json;
#[doc(hidden)] // Only for the benchmark that chooses the JSON parser.
pub use wire::RawEvent;

use std::borrow::Cow;

/// What became of one item before the engine judges it.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every item is a touchpoint, and a box for each costs more")]
pub enum Item<'a> {
    /// A valid touchpoint.
    Touchpoint(Touchpoint<'a>),
    /// `test: true`, or a record for which the mapping yields nothing.
    Skipped,
    /// It could not be used, and why.
    Rejected(Rejection),
}

/// One validated touchpoint. Times are milliseconds since the Unix epoch, durations milliseconds.
#[derive(Debug, Clone, PartialEq, Hash)]
pub struct Touchpoint<'a> {
    /// CloudEvents `source`; with `id` it identifies the event.
    pub source: Cow<'a, str>,
    /// CloudEvents `id`.
    pub id: Cow<'a, str>,
    /// CloudEvents `time`, in milliseconds since the Unix epoch.
    pub time: i64,
    /// Which of the four event types this is; it decides which of the fields below can be present.
    pub kind: Kind,
    /// The optional string dimensions, indexed by [`Dimension`].
    pub dimensions: Dimensions<'a>,
    /// Who the customer is, where known.
    pub customer_id: Option<Cow<'a, str>>,
    /// Which contact it was; always present for [`Kind::Contact`].
    pub contact_id: Option<Cow<'a, str>>,
    /// How a contact ended; always present for [`Kind::Contact`].
    pub outcome: Option<Outcome>,
    /// Absent means inbound; see [`Touchpoint::is_inbound`].
    pub direction: Option<Direction>,
    /// Time in the queue before an agent answered or the customer gave up. Never time on hold.
    pub queue_wait_ms: Option<i64>,
    /// Time on hold after an agent had answered. Never time in the queue.
    pub hold_ms: Option<i64>,
    /// How often the customer was put on hold. Accepted, not measured yet.
    pub hold_count: Option<i64>,
    /// Time of conversation.
    pub talk_ms: Option<i64>,
    /// Work after the conversation.
    pub wrapup_ms: Option<i64>,
    /// Time until the first answer by a person (chat, mail, messaging).
    pub first_response_ms: Option<i64>,
    /// Whether the matter was settled; absent means unknown.
    pub resolved: Option<bool>,
    /// Where the customer gave up.
    pub abandon_stage: Option<AbandonStage>,
    /// How often the contact was handed on.
    pub transfers: Option<i64>,
    /// `kind` of an interaction (open vocabulary); always present for [`Kind::Interaction`].
    pub interaction: Option<Cow<'a, str>>,
    /// Sentiment in -1..=1, as the bits of an `f64`. Accepted, not measured yet.
    pub sentiment_bits: Option<u64>,
    /// Rating given with an interaction, as the bits of an `f64`. Accepted, not measured yet.
    pub rating_bits: Option<u64>,
    /// What happened to the customer; always present for [`Kind::Customer`].
    pub state: Option<CustomerState>,
    /// Why, in the source's own words.
    pub reason: Option<Cow<'a, str>>,
    /// Which survey it was; always present for [`Kind::Survey`].
    pub metric: Option<SurveyMetric>,
    /// The answer and the scale it was given on; always present for [`Kind::Survey`].
    pub answer: Option<Answer>,
    /// Whether a comment came with the answer. Accepted, not measured yet.
    pub has_comment: Option<bool>,
    /// Who answered (open vocabulary). Accepted, not measured yet.
    pub respondent: Option<Cow<'a, str>>,
}

impl Touchpoint<'_> {
    /// Whether this contact came from the customer: `direction` is `inbound` or absent.
    pub fn is_inbound(&self) -> bool {
        matches!(self.direction, None | Some(Direction::Inbound))
    }
}

/// The four event types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `cx.contact.ended.v1`
    Contact,
    /// `cx.interaction.v1`
    Interaction,
    /// `cx.customer.changed.v1`
    Customer,
    /// `cx.survey.responded.v1`
    Survey,
}

/// The dimensions an event may carry, in the order of [`Dimensions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub enum Dimension {
    /// voice, chat, messaging, email, social, web, app, sms, in_person, ...
    Channel,
    /// The queue or skill the contact waited in.
    Queue,
    /// The team that took it.
    Team,
    /// The person who took it: personal data, off by default.
    Agent,
    /// What it was about.
    Topic,
    /// Where in the journey.
    Stage,
    /// Where the customer is.
    Region,
    /// Which kind of customer.
    Segment,
    /// Which product.
    Product,
    /// Which campaign.
    Campaign,
    /// Which variant of a test.
    Variant,
}

impl Dimension {
    /// Every dimension, in the order of its index.
    pub const ALL: [Dimension; 11] = [
        Dimension::Channel,
        Dimension::Queue,
        Dimension::Team,
        Dimension::Agent,
        Dimension::Topic,
        Dimension::Stage,
        Dimension::Region,
        Dimension::Segment,
        Dimension::Product,
        Dimension::Campaign,
        Dimension::Variant,
    ];

    /// The name of the dimension in `data`, in labels and in keys.
    ///
    /// ```
    /// use touchstone::touchpoint::Dimension;
    /// assert_eq!(Dimension::Channel.name(), "channel");
    /// ```
    pub const fn name(self) -> &'static str {
        match self {
            Dimension::Channel => "channel",
            Dimension::Queue => "queue",
            Dimension::Team => "team",
            Dimension::Agent => "agent",
            Dimension::Topic => "topic",
            Dimension::Stage => "stage",
            Dimension::Region => "region",
            Dimension::Segment => "segment",
            Dimension::Product => "product",
            Dimension::Campaign => "campaign",
            Dimension::Variant => "variant",
        }
    }

    /// The dimension of that name.
    pub fn parse(name: &str) -> Option<Dimension> {
        Dimension::ALL.into_iter().find(|dimension| dimension.name() == name)
    }
}

/// The values of the dimensions; `None` where the event carries none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Dimensions<'a> {
    /// Indexed by `Dimension as usize`.
    pub values: [Option<Cow<'a, str>>; Dimension::ALL.len()],
}

impl Dimensions<'_> {
    /// The value of one dimension, if the event carries it.
    pub fn get(&self, dimension: Dimension) -> Option<&str> {
        self.values[dimension as usize].as_deref()
    }
}

/// How a contact ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// An agent took it.
    Answered,
    /// The customer gave up before an agent took it.
    Abandoned,
    /// It was sent on to another queue or system.
    FlowOut,
    /// The customer asked to be called back.
    Callback,
    /// It ended at a mailbox.
    Voicemail,
    /// It broke for technical reasons.
    Failed,
}

/// Who began the contact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The customer.
    Inbound,
    /// The company.
    Outbound,
    /// Neither: between people of the company.
    Internal,
}

/// Where a customer gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AbandonStage {
    /// In the voice menu, before any queue: not an offered contact.
    Ivr,
    /// While waiting in the queue.
    Queue,
    /// While the agent's phone was ringing.
    Ring,
    /// While on hold: an answered contact.
    Hold,
}

/// What happened to a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CustomerState {
    /// A new customer.
    Acquired,
    /// Stayed for another term.
    Renewed,
    /// Stays, with less.
    Downgraded,
    /// Left.
    Churned,
    /// Came back after having left.
    Reactivated,
}

/// Which survey an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SurveyMetric {
    /// Customer satisfaction.
    Csat,
    /// Net promoter score.
    Nps,
    /// Customer effort score.
    Ces,
    /// Employee net promoter score. Accepted, not measured yet.
    Enps,
}

/// One answer on its scale. `min <= score <= max`, `max - min <= 100`, all integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Answer {
    /// The lowest score of the scale.
    pub scale_min: i32,
    /// The highest score of the scale.
    pub scale_max: i32,
    /// Whether a low score is the good one (`higher_is_better: false`).
    pub low_is_best: bool,
    /// What was answered.
    pub score: i32,
}
