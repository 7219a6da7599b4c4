//! The service: worker threads over one kind of log, HTTP, and an orderly end.
//!
//! `run` gives it Kafka, `demo` the in-memory broker; everything else is the same.

use super::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Settings;
use crate::export::Exporter;
use crate::export::http::{self, Server};
use crate::mapping;
use crate::pipeline::board::Board;
use crate::pipeline::folding::{FoldSettings, Folding};
use crate::pipeline::link::{Link, LinkConfig, LinkError};
use crate::pipeline::merging::Merging;
use crate::pipeline::stage::Stage;
use crate::pipeline::worker::{Worker, WorkerError};
use crate::web::{self, Feed, Following};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Opens a link for a worker, on the worker's own thread.
pub type OpenLink = Arc<dyn Fn(&LinkConfig) -> Result<Box<dyn Link>, LinkError> + Send + Sync>;

/// How long a worker waits for a first record.
const POLL_WAIT: Duration = Duration::from_millis(20);

/// How long the workers are given to end in good order.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// How long a worker that has made its last commit waits for the others of its stage.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);

/// A running service.
pub struct Service {
    /// What the workers post.
    pub board: Board,
    /// The HTTP server.
    pub server: Server,
    stop: Arc<AtomicBool>,
    ended: Receiver<Result<(), WorkerError>>,
    workers: Vec<JoinHandle<()>>,
}

/// Sets a flag at SIGTERM and SIGINT; a second signal ends the process at once.
///
/// # Errors
/// The operating system refuses the handlers.
pub fn stop_at_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        // In this order: the first signal finds the flag unset and sets it, the second one finds it set.
        signal_hook::flag::register_conditional_shutdown(signal, Exit::Failed as i32, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

impl Service {
    /// Takes the port, then starts the workers.
    ///
    /// # Errors
    /// The port is taken.
    pub fn start(
        settings: &Settings,
        open: &OpenLink,
        following: Following,
        clock: Arc<dyn Clock>,
        stop: Arc<AtomicBool>,
    ) -> Result<Service, Failure> {
        let board = Board::new();
        let exporter =
            Exporter::new(Arc::clone(&settings.plan), board.clone(), Arc::clone(&clock), settings.http.series_max);
        let board_pages = if settings.raw.board.enabled {
            let aggregates = settings.layout.names.aggregates.clone();
            let feed = Feed::start(following, aggregates, Arc::clone(&clock), Arc::clone(&stop))?;
            Some(web::Board::new(&feed, exporter.clone()).routes())
        } else {
            None
        };
        let server = http::serve(settings.http.listen, exporter, board_pages)?;
        let (tell, ended) = channel();
        let mut workers = Vec::new();
        let folding = FoldSettings { mapper: Some(mapping::this_program()?), ..settings.folding() };
        let left = Arc::default();
        for index in 0..settings.workers.fold {
            let stage = Folding::new(Arc::clone(&settings.plan), folding.clone(), board.clone());
            let (name, link) = (format!("fold-{index}"), settings.fold_link(index));
            let thread = Thread { name, link, stage, committing: Committing::one_more(&left) };
            workers.push(thread.start(settings, open, &clock, &board, &stop, tell.clone())?);
        }
        let left = Arc::default();
        for index in 0..settings.workers.merge {
            let stage = Merging::new(Arc::clone(&settings.plan), settings.merging(), board.clone());
            let (name, link) = (format!("merge-{index}"), settings.merge_link(index));
            let thread = Thread { name, link, stage, committing: Committing::one_more(&left) };
            workers.push(thread.start(settings, open, &clock, &board, &stop, tell.clone())?);
        }
        Ok(Service { board, server, stop, ended, workers })
    }

    /// Waits until it is told to stop, or a worker ends by itself; then ends all of them in good order.
    ///
    /// # Errors
    /// [`Failure`] of the worker that ended, with its exit code.
    pub fn wait(self) -> Result<(), Failure> {
        let first = loop {
            match self.ended.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Timeout) if !self.stop.load(Ordering::SeqCst) => {}
                Err(_) => break Ok(()),
            }
        };
        self.stop.store(true, Ordering::SeqCst);
        tracing::info!("stopping: committing what is open and leaving the groups");
        let (done, all_done) = channel();
        let workers = self.workers;
        thread::spawn(move || {
            for worker in workers {
                let _ = worker.join();
            }
            let _ = done.send(());
        });
        if all_done.recv_timeout(STOP_WITHIN).is_err() {
            tracing::warn!("a worker did not end in time; what it had open will be read again");
        }
        let rest = self.ended.try_iter().find(Result::is_err).unwrap_or(Ok(()));
        first.and(rest).map_err(|error| {
            let exit = if matches!(error, WorkerError::Twin(_)) { Exit::Twin } else { Exit::Failed };
            Failure::new(exit, error)
        })
    }
}

/// One worker before it runs.
struct Thread<S> {
    name: String,
    link: LinkConfig,
    stage: S,
    committing: Committing,
}

/// A worker of a stage that has not made its last commit yet; together they are counted.
struct Committing(Arc<AtomicUsize>);

impl Committing {
    fn one_more(left: &Arc<AtomicUsize>) -> Committing {
        left.fetch_add(1, Ordering::SeqCst);
        Committing(Arc::clone(left))
    }

    /// This one has; waits for the others.
    fn wait_for_others(self) {
        let (left, patience) = (Arc::clone(&self.0), Instant::now() + OTHERS_WITHIN);
        drop(self);
        while left.load(Ordering::SeqCst) > 0 && Instant::now() < patience {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Also of one that ends without.
impl Drop for Committing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<S: Stage + Send + 'static> Thread<S> {
    fn start(
        self,
        settings: &Settings,
        open: &OpenLink,
        clock: &Arc<dyn Clock>,
        board: &Board,
        stop: &Arc<AtomicBool>,
        tell: Sender<Result<(), WorkerError>>,
    ) -> std::io::Result<JoinHandle<()>> {
        let (open, clock, board, stop) = (Arc::clone(open), Arc::clone(clock), board.clone(), Arc::clone(stop));
        let pace = settings.pace;
        thread::Builder::new().name(self.name.clone()).spawn(move || {
            let outcome = match open(&self.link) {
                Ok(link) => {
                    let mut worker = Worker::new(self.name, link, self.stage, pace, clock, board);
                    turn(&mut worker, &stop, self.committing)
                }
                Err(error) => Err(WorkerError::Fatal(format!("{}: {error}", self.name))),
            };
            // The receiver is gone only when the process ends anyway.
            let _ = tell.send(outcome);
        })
    }
}

fn turn<S: Stage>(worker: &mut Worker<S>, stop: &AtomicBool, committing: Committing) -> Result<(), WorkerError> {
    while !stop.load(Ordering::SeqCst) {
        worker.step(POLL_WAIT)?;
    }
    worker.stop(|| committing.wait_for_others())
}
