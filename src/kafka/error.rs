//! librdkafka's errors sorted by the caller's next step.
//!
//! The rule is that of `rdkafka.h`: abort where it says abort, repeat where it says retriable, and for anything else a
//! new producer. A time-out in rust-rdkafka's own flush is no transaction error: its outcome is unknown.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::security::{denied, is_denied};
use crate::pipeline::link::LinkError;

/// What to do after a transactional call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Abort the transaction.
    Abort,
    /// The same call again, with the same arguments.
    Repeat,
    /// Somebody else writes under our id.
    Fenced,
    /// A new producer; what became of the transaction is not known.
    Renew,
}

/// The next step after a transactional call.
pub(super) fn step(error: &KafkaError) -> Step {
    match error {
        KafkaError::Transaction(cause) if is_fencing(cause.code()) => Step::Fenced,
        KafkaError::Transaction(cause) if cause.txn_requires_abort() => Step::Abort,
        KafkaError::Transaction(cause) if cause.is_retriable() => Step::Repeat,
        _ => Step::Renew,
    }
}

fn is_fencing(code: Code) -> bool {
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

/// Whether a record was refused for a reason that sending it again will not change.
pub(super) fn is_impossible(error: &KafkaError) -> bool {
    let KafkaError::MessageProduction(code) = error else { return false };
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::InvalidMessageSize
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicOrPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::InvalidRecord
            | Code::PolicyViolation
    )
}

/// What an error met while consuming means for the worker; `None` when librdkafka mends it by itself.
///
/// `refusal` is how the cluster has refused the client, if it has.
pub(super) fn consuming(error: &KafkaError, refusal: Option<String>) -> Option<LinkError> {
    let code = match error {
        KafkaError::MessageConsumptionFatal(code) => return Some(LinkError::Fatal(format!("consumer: {code}"))),
        KafkaError::MessageConsumption(code) => *code,
        KafkaError::PartitionEOF(_) => return None,
        other => return Some(LinkError::Unavailable(other.to_string())),
    };
    match code {
        Code::Fatal => Some(LinkError::Fatal(format!("consumer: {code}"))),
        Code::AllBrokersDown => {
            let why = refusal.unwrap_or_else(|| "no broker can be reached; still trying".into());
            Some(LinkError::Unavailable(why))
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            Some(LinkError::Lost(format!("a subscribed topic does not exist ({code}); `touchstone topics` lists them")))
        }
        Code::Authentication | Code::SSL => refusal.map(LinkError::Unavailable),
        code if is_denied(code) => Some(LinkError::Lost(denied("what it reads"))),
        _ => None,
    }
}

/// Whether the error says that an offset is no longer in the log.
pub(super) fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageConsumption(Code::OffsetOutOfRange | Code::AutoOffsetReset))
}
