//! A librdkafka message as a record.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::pipeline::link::{LinkConfig, PartitionId};
use crate::record::{Header, Record};

/// Which partition a record came from; `None` for a topic nobody subscribed to.
pub(super) fn identify(config: &LinkConfig, topic: &str, partition: i32) -> Option<PartitionId> {
    let topic = match config.subscriptions.as_slice() {
        [_] => 0,
        several => several.iter().position(|subscription| subscription.topic == topic)?,
    };
    Some(PartitionId { topic, partition })
}

/// Shows a message of a batch as a record.
pub(super) fn with_batched(message: &batch_consumer::Message<'_>, take: &mut dyn FnMut(Record<'_>)) {
    let mut headers: Vec<Header<'_>> = Vec::new();
    message.headers(&mut headers);
    take(Record {
        offset: message.offset(),
        timestamp: message.timestamp(),
        key: message.key(),
        value: message.value(),
        headers: &headers,
    });
}

/// Shows a message as a record.
pub(super) fn with_record(message: &BorrowedMessage<'_>, take: &mut dyn FnMut(Record<'_>)) {
    let mut headers: Vec<Header<'_>> = Vec::new();
    if let Some(found) = message.headers() {
        for index in 0..found.count() {
            // The library panics on a name that is not UTF-8. Nothing of ours has one, and it must not end the process.
            let header = catch_unwind(AssertUnwindSafe(|| found.try_get(index)));
            headers.extend(header.ok().flatten().map(|header| (header.key, header.value)));
        }
    }
    take(Record {
        offset: message.offset(),
        timestamp: message.timestamp().to_millis(),
        key: message.key(),
        value: message.payload(),
        headers: &headers,
    });
}
