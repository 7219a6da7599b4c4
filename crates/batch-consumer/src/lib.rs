//! Takes a Kafka consumer's records in batches.
//!
//! `BaseConsumer::poll` makes an event and a counted pointer of every record, which costs more than reading it does.
//! librdkafka has a call that fills an array with many; this crate makes that call safe for a member of a group, and
//! holds every `unsafe` of the program.
//!
//! Records and everything else go separate ways. [`BatchConsumer::divert`] sends what will be fetched of a partition to a
//! queue of our own before the partition is assigned; [`BatchConsumer::batch`] empties that queue. Rebalances, errors of
//! brokers and what else the group has to say stay in the consumer's own queue, which must still be polled: a
//! rebalance that was served inside a batch would hand out records from before and after it together.
//!
//! What librdkafka promises of the array, and this relies on: records of a partition come in the order of their offsets,
//! and none of a partition that was paused, sought or revoked before the call (its version barrier drops them).

use std::ffi::{CStr, CString, c_int, c_void};
use std::marker::PhantomData;
use std::ptr::{NonNull, null};
use std::time::Duration;

use rdkafka::bindings as native;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;

/// A consumer whose records are taken in batches.
///
/// It cannot be sent to another thread or shared: librdkafka's batch call is not safe against itself.
pub struct BatchConsumer<C: ConsumerContext + 'static> {
    // Before the consumer, so that it is destroyed first: a queue must not outlive its client.
    queue: Queue,
    consumer: BaseConsumer<C>,
    /// The array that librdkafka fills. Outside of a batch nothing in it is owned.
    array: Vec<*mut native::rd_kafka_message_t>,
}

/// A queue of librdkafka, destroyed with this.
struct Queue(NonNull<native::rd_kafka_queue_t>);

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a function that gives its caller one reference, which ends here and only here.
        unsafe { native::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

impl<C: ConsumerContext + 'static> BatchConsumer<C> {
    /// Batches of at most `batch_max` records of this consumer.
    pub fn new(consumer: BaseConsumer<C>, batch_max: usize) -> Self {
        // SAFETY: the client lives, because the consumer does.
        let queue = unsafe { native::rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = Queue(NonNull::new(queue).expect("librdkafka allocates a queue or ends the process"));
        Self { queue, consumer, array: vec![std::ptr::null_mut(); batch_max] }
    }

    /// The consumer. Its `poll` must go on being called, and gives no records.
    pub fn consumer(&self) -> &BaseConsumer<C> {
        &self.consumer
    }

    /// Gives the consumer back, to let go of it.
    pub fn into_consumer(self) -> BaseConsumer<C> {
        let BatchConsumer { queue, consumer, .. } = self;
        drop(queue);
        consumer
    }

    /// Sends what will be fetched of a partition into the batches. To be called before the partition is assigned: what
    /// was fetched earlier comes out of the consumer's `poll`. It holds until the consumer ends, over revocations too.
    ///
    /// # Panics
    /// When the topic's name holds a zero byte, which no topic's does.
    pub fn divert(&self, topic: &str, partition: i32) {
        let topic = CString::new(topic).expect("the name of a topic holds no zero byte");
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client lives; the name ends in a zero byte and is only read during the call.
        let own = unsafe { native::rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let own = Queue(NonNull::new(own).expect("a consumer makes what it does not know yet"));
        // SAFETY: both queues live and belong to this client. The partition keeps a reference to ours for as long as it
        // forwards to it, so it may be destroyed before the client is.
        unsafe { native::rd_kafka_queue_forward(own.0.as_ptr(), self.queue.0.as_ptr()) }
    }

    /// The next records. It waits until there are `max`, and no longer than this: ask for one to wait for the first.
    pub fn batch(&mut self, max: usize, wait: Duration) -> Batch<'_> {
        // Rounded up: part of a millisecond is no time to librdkafka, and whoever waits for it would ask again and again.
        let milliseconds = c_int::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(c_int::MAX);
        let room = max.min(self.array.len());
        let (queue, array) = (self.queue.0.as_ptr(), self.array.as_mut_ptr());
        // SAFETY: the queue lives, `array` has room for `room` pointers, and no other batch call runs on this client:
        // this takes `&mut self` and the type is bound to its thread.
        let filled = unsafe { native::rd_kafka_consume_batch_queue(queue, milliseconds, array, room) };
        // Below zero is an error of the call's arguments, which cannot be.
        let filled = usize::try_from(filled).unwrap_or(0);
        Batch { messages: self.array[..filled].iter() }
    }
}

/// Records that were taken together. What is not looked at is dropped: read it again by seeking back.
pub struct Batch<'a> {
    /// Each is ours to destroy once.
    messages: std::slice::Iter<'a, *mut native::rd_kafka_message_t>,
}

impl Batch<'_> {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.messages.len() == 0
    }
}

impl<'a> Iterator for Batch<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        let message = NonNull::new(*self.messages.next()?).expect("librdkafka fills the array with messages");
        Some(Message { message, batch: PhantomData })
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

/// A record, or an error of its partition: see [`Message::error`].
pub struct Message<'a> {
    /// Ours, and valid until this is dropped.
    message: NonNull<native::rd_kafka_message_t>,
    batch: PhantomData<&'a ()>,
}

impl Drop for Message<'_> {
    fn drop(&mut self) {
        // SAFETY: it came out of the array by an iterator that gives each once, so it is destroyed once.
        unsafe { native::rd_kafka_message_destroy(self.message.as_ptr()) }
    }
}

impl Message<'_> {
    fn native(&self) -> &native::rd_kafka_message_t {
        // SAFETY: the message is valid until this is dropped, and nothing writes to it.
        unsafe { self.message.as_ref() }
    }

    /// What went wrong in the partition; then there is no record.
    pub fn error(&self) -> Option<RDKafkaErrorCode> {
        let error = self.native().err;
        (error != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| error.into())
    }

    /// The topic's name; empty where the name is not UTF-8, which no topic's is.
    pub fn topic(&self) -> &str {
        let topic = self.native().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: the message holds a reference to its topic object.
        let name = unsafe { native::rd_kafka_topic_name(topic) };
        // SAFETY: the name ends in a zero byte and lives as long as the topic object.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap_or_default()
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.native().partition
    }

    /// The offset.
    pub fn offset(&self) -> i64 {
        self.native().offset
    }

    /// The record's timestamp, ms since the Unix epoch.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is valid, and `kind` is written during the call alone.
        let timestamp = unsafe { native::rd_kafka_message_timestamp(self.message.as_ptr(), &raw mut kind) };
        (kind != native::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0)
            .then_some(timestamp)
    }

    /// The key.
    pub fn key(&self) -> Option<&[u8]> {
        let message = self.native();
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// The value; `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        let message = self.native();
        // SAFETY: payload and length belong together and live as long as the message.
        unsafe { bytes(message.payload, message.len) }
    }

    /// Adds the headers, in their order. One whose name is not UTF-8 is left out.
    pub fn headers<'m>(&'m self, into: &mut Vec<(&'m str, Option<&'m [u8]>)>) {
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is valid; the list it gives belongs to it and lives as long. The first call reads the list
        // out of the message: the type is neither sent nor shared, so nothing else does so at once.
        let found = unsafe { native::rd_kafka_message_headers(self.message.as_ptr(), &raw mut headers) };
        if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        for index in 0.. {
            let (mut name, mut value, mut length) = (null(), null(), 0);
            // SAFETY: the list is valid; what is written are pointers into it.
            let found = unsafe {
                native::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut length)
            };
            if found != native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return;
            }
            // SAFETY: the name ends in a zero byte and lives as long as the message.
            let Ok(name) = unsafe { CStr::from_ptr(name) }.to_str() else { continue };
            // SAFETY: value and length belong together and live as long as the message.
            into.push((name, unsafe { bytes(value, length) }));
        }
    }
}

/// # Safety
/// Null, or `length` bytes that live for `'a` and are not written to.
unsafe fn bytes<'a>(start: *const c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
