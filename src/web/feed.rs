//! Follows our own output on a thread of its own, and keeps the picture of it.

use super::picture::Picture;
use crate::clock::Clock;
use crate::pipeline::link::{Follower, LinkError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Opens a follower of a topic, from a time (ms since the epoch) on, on the feed's own thread.
pub type OpenFollower = Arc<dyn Fn(&str, i64) -> Result<Box<dyn Follower>, LinkError> + Send + Sync>;

/// How far back the picture reaches, ms.
const REACHES_BACK_MS: i64 = 24 * 3_600_000;

/// How long one look waits for a record.
const WAIT: Duration = Duration::from_millis(200);

/// Between two attempts to follow a topic that cannot be read.
const PAUSE: Duration = Duration::from_secs(2);

/// The running feed.
pub struct Feed {
    pub(super) shared: Arc<Shared>,
}

/// The picture between the feed and the pages. A lock is no queue: whoever lets go of it and takes it again at once keeps it,
/// so the feed waits while a page wants it.
#[derive(Default)]
pub(super) struct Shared {
    picture: Mutex<Picture>,
    wanted: AtomicUsize,
}

impl Shared {
    /// Looks at the picture.
    pub fn look<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        self.wanted.fetch_add(1, Ordering::SeqCst);
        // Whatever panicked had put whole entries into it.
        let picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        look(&picture)
    }

    fn change(&self, change: impl FnOnce(&mut Picture)) {
        while self.wanted.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        change(&mut self.picture.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Feed {
    /// Starts it; it ends when `stop` is set.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        open: OpenFollower,
        aggregates: String,
        clock: Arc<dyn Clock>,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Feed> {
        let shared = Arc::new(Shared::default());
        let keeps = Arc::clone(&shared);
        thread::Builder::new().name("board".into()).spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                // A picture that was begun anew takes the same records again: they change nothing.
                let outcome = open(&aggregates, clock.now() - REACHES_BACK_MS)
                    .and_then(|mut follower| follow(&mut *follower, &keeps, &*clock, &stop));
                if let Err(error) = outcome {
                    tracing::debug!(%error, "the board cannot follow cx.aggregates");
                    keeps.change(|picture| picture.trouble = Some(error.to_string()));
                    thread::sleep(PAUSE);
                }
            }
        })?;
        Ok(Feed { shared })
    }
}

fn follow(follower: &mut dyn Follower, shared: &Shared, clock: &dyn Clock, stop: &AtomicBool) -> Result<(), LinkError> {
    while !stop.load(Ordering::SeqCst) {
        let now = clock.now();
        follower.poll(WAIT, &mut |partition, record| shared.change(|picture| picture.take(partition, &record, now)))?;
        shared.change(|picture| picture.trouble = None);
    }
    Ok(())
}
