//! The transactional producer: one commit is one transaction, and its outcome is certain or said to be unknown.
//!
//! librdkafka retries the end of a transaction by itself. A first copy that arrives late could then end the NEXT one
//! (KAFKA-17754; librdkafka does not speak KIP-890's second version). So after an outcome that is not known, an error
//! during a commit, or a commit of more than two seconds, the producer is made anew before the next begin: its new
//! epoch fences the stray request. The window shrinks; the receiver's check of every delta stays necessary.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::util::Timeout;

use super::Connection;
use super::clients::{self, let_go};
use super::context::Deliveries;
use super::error::{Step, is_impossible, step};
use super::security::{denied, is_denied};
use crate::pipeline::link::{CommitError, LinkConfig, LinkError, Output};

/// A commit that took longer makes the producer suspect.
const SLOW: Duration = Duration::from_secs(2);

/// How long beyond its time a call may take before its client is given up.
const GRACE: Duration = Duration::from_secs(1);

/// Between two looks at the records in flight. The library's own flush looks every 100 ms, which would be the floor of
/// every commit.
const LOOK: Duration = Duration::from_micros(500);

type Client = ThreadedProducer<Deliveries>;

/// The producer under one transactional id.
pub(super) struct Transactional {
    connection: Connection,
    config: LinkConfig,
    /// The client, and who makes its transactional calls: one that does not come back keeps its thread.
    client: Option<(Arc<Client>, Caller)>,
    suspect: bool,
    /// Whether nothing is promised: for a benchmark that asks what the promise costs.
    plain: bool,
}

/// With this in the environment records are written without transactions, and offsets committed after them.
const WITHOUT_TRANSACTIONS: &str = "TOUCHSTONE_BENCHMARK_WITHOUT_TRANSACTIONS";

/// A thread for calls that may never come back.
struct Caller(mpsc::Sender<Box<dyn FnOnce() + Send>>);

impl Caller {
    fn start() -> Caller {
        let (calls, to_make) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
        thread::spawn(move || to_make.into_iter().for_each(|call| call()));
        Caller(calls)
    }
}

impl Transactional {
    /// Connects and takes the id over from whoever used it before.
    pub fn open(connection: &Connection, config: &LinkConfig) -> Result<Self, LinkError> {
        let (connection, config) = (connection.clone(), config.clone());
        let plain = std::env::var_os(WITHOUT_TRANSACTIONS).is_some();
        if plain {
            tracing::error!("{WITHOUT_TRANSACTIONS} is set: NOTHING IS EXACTLY ONCE; it is for benchmarks alone");
        }
        let mut producer = Self { connection, config, client: None, suspect: false, plain };
        producer.renew()?;
        Ok(producer)
    }

    /// A new client under the same id. `Fatal` where the cluster does not let us.
    pub fn renew(&mut self) -> Result<(), LinkError> {
        self.close();
        let mut settings = clients::writing(&self.connection, &self.config);
        if self.plain {
            for transactional in ["transactional.id", "transaction.timeout.ms"] {
                settings.remove(transactional);
            }
            settings.set("enable.idempotence", "true");
        }
        let client: Client = clients::create(&settings, Deliveries::new(&self.connection))?;
        let deadline = Instant::now() + 3 * self.connection.timings.transaction;
        while !self.plain
            && let Err(error) = client.init_transactions(clients::REACH)
        {
            if step(&error) != Step::Repeat || Instant::now() >= deadline {
                let id = &self.config.transactional_id;
                let refusal = match error.rdkafka_error_code() {
                    Some(code) if is_denied(code) => Some(denied(&format!("the transactional id {id}"))),
                    _ => client.context_of().refusal(),
                };
                let message = format!("transactional id {id}: {error}");
                let_go(client, clients::ASK);
                return Err(refusal.map_or(LinkError::Unavailable(message), LinkError::Fatal));
            }
        }
        self.client = Some((Arc::new(client), Caller::start()));
        self.suspect = false;
        Ok(())
    }

    /// Lets go of the client.
    pub fn close(&mut self) {
        if let Some((client, _)) = self.client.take() {
            let_go(client, clients::ASK);
        }
    }

    /// Whether the caller must commit the offsets itself.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Writes the outputs and the offsets, all or nothing.
    pub fn commit(
        &mut self,
        outputs: impl Iterator<Item = Output>,
        offsets: TopicPartitionList,
        group: Arc<ConsumerGroupMetadata>,
    ) -> Result<(), CommitError> {
        if self.suspect || self.client.is_none() {
            self.renew().map_err(|error| CommitError::Aborted(format!("nothing was sent: {error}")))?;
        }
        let (client, caller) = self.client.as_ref().expect("renewed above where there was none");
        let begun = Instant::now();
        client.context_of().take_trouble();
        let limit = self.connection.timings.transaction;
        let transaction = Transaction { client, caller, limit };
        let result = match self.plain {
            true => transaction.write(outputs, begun + limit),
            false => transaction.make(outputs, offsets, group),
        };
        let troubled = client.context_of().take_trouble();
        let failed = matches!(result, Err(CommitError::Unknown(_) | CommitError::Fenced(_)));
        self.suspect = failed || troubled || begun.elapsed() > SLOW;
        result
    }
}

/// The context behind a producer.
trait ContextOf {
    fn context_of(&self) -> &Deliveries;
}

impl ContextOf for Client {
    fn context_of(&self) -> &Deliveries {
        self.client().context()
    }
}

/// One transaction, to be made within a time.
struct Transaction<'a> {
    client: &'a Arc<Client>,
    caller: &'a Caller,
    limit: Duration,
}

impl Transaction<'_> {
    fn make(
        &self,
        outputs: impl Iterator<Item = Output>,
        offsets: TopicPartitionList,
        group: Arc<ConsumerGroupMetadata>,
    ) -> Result<(), CommitError> {
        let deadline = Instant::now() + self.limit;
        if let Err(error) = self.client.begin_transaction() {
            return Err(match step(&error) {
                Step::Fenced => CommitError::Fenced(error.to_string()),
                _ => CommitError::Unknown(format!("begin: {error}")),
            });
        }
        self.write(outputs, deadline).map_err(|failed| self.abort(failed))?;
        let sent =
            self.repeat(deadline, move |client| client.send_offsets_to_transaction(&offsets, &group, clients::ASK));
        // Never: librdkafka then takes what is left of the transaction's time, and any other value may leave it confused.
        let ended = sent.map_err(|failure| (failure, "offsets")).and_then(|()| {
            self.repeat(deadline, |client| client.commit_transaction(Timeout::Never))
                .map_err(|failure| (failure, "commit"))
        });
        ended.map_err(|((step, error), what)| match step {
            Step::Abort => self.abort(CommitError::Aborted(format!("{what}: {error}"))),
            Step::Fenced => CommitError::Fenced(format!("{what}: {error}")),
            Step::Repeat | Step::Renew => CommitError::Unknown(format!("{what}: {error}")),
        })
    }

    /// Writes the outputs and waits until each is acknowledged.
    fn write(&self, outputs: impl Iterator<Item = Output>, deadline: Instant) -> Result<(), CommitError> {
        self.client.context_of().take_failure();
        for output in outputs {
            send(self.client, &output, deadline).map_err(|error| refused(&error, &output.topic))?;
        }
        while self.client.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                let reason = format!("{} records were not acknowledged in time", self.client.in_flight_count());
                return Err(CommitError::Aborted(reason));
            }
            thread::sleep(LOOK);
        }
        let failure = self.client.context_of().take_failure();
        failure.map_or(Ok(()), |(error, place)| Err(refused(&error, &place)))
    }

    /// Makes a transactional call until it succeeds, its failure is final, or the time is up.
    ///
    /// It is made on another thread: these calls wait for an answer without any bound of their own, and librdkafka
    /// forgets to give one when a coordinator's broker leaves the cluster while it is asked. Such a client is left behind.
    fn repeat(
        &self,
        deadline: Instant,
        call: impl Fn(&Client) -> Result<(), KafkaError> + Send + 'static,
    ) -> Result<(), (Step, String)> {
        let (answer, wait) = mpsc::channel();
        let client = Arc::clone(self.client);
        let call = move || {
            let result = loop {
                let Err(error) = call(&client) else { break Ok(()) };
                match step(&error) {
                    Step::Repeat if Instant::now() < deadline => thread::sleep(LOOK),
                    step => break Err((step, error.to_string())),
                }
            };
            // Nobody listens any more when it took too long.
            let _ = answer.send(result);
        };
        self.caller.0.send(Box::new(call)).expect("the thread ends after its sender");
        let patience = deadline.saturating_duration_since(Instant::now()) + GRACE;
        wait.recv_timeout(patience).unwrap_or_else(|_| Err((Step::Renew, "librdkafka does not answer".to_owned())))
    }

    /// Aborts; `outcome` holds only if that succeeds.
    fn abort(&self, outcome: CommitError) -> CommitError {
        match self.repeat(Instant::now() + self.limit, |client| client.abort_transaction(Timeout::Never)) {
            Ok(()) => outcome,
            Err((Step::Fenced, error)) => CommitError::Fenced(format!("abort: {error}, after {outcome}")),
            Err((_, error)) => CommitError::Unknown(format!("abort: {error}, after {outcome}")),
        }
    }
}

fn send(client: &Client, output: &Output, deadline: Instant) -> Result<(), KafkaError> {
    let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&output.topic);
    record.partition = output.partition;
    record.key = output.key.as_deref();
    record.payload = output.value.as_deref();
    if !output.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(output.headers.len());
        record.headers = Some(
            output
                .headers
                .iter()
                .fold(headers, |headers, (key, value)| headers.insert(Header { key, value: value.as_deref() })),
        );
    }
    loop {
        match client.send(record) {
            Ok(()) => return Ok(()),
            // It empties by being sent.
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), again)) if Instant::now() < deadline => {
                record = again;
                thread::sleep(LOOK);
            }
            Err((error, _)) => return Err(error),
        }
    }
}

fn refused(error: &KafkaError, place: &str) -> CommitError {
    let reason = match error.rdkafka_error_code() {
        Some(code) if is_denied(code) => denied(&format!("{place}, for writing")),
        _ => format!("{place}: {error}"),
    };
    if is_impossible(error) { CommitError::Impossible(reason) } else { CommitError::Aborted(reason) }
}
