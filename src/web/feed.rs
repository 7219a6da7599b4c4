//! Follows our own output on a thread of its own, while somebody looks, and keeps the picture of it.

use super::picture::Picture;
use crate::clock::Clock;
use crate::pipeline::link::{Follower, LinkError};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Opens a follower of a topic, from a time (ms since the epoch) on, on the feed's own thread.
pub type OpenFollower = Arc<dyn Fn(&str, i64) -> Result<Box<dyn Follower>, LinkError> + Send + Sync>;

/// How our own output is followed.
pub struct Following {
    /// Opens the follower.
    pub open: OpenFollower,
    /// Whether the topic still holds a day when somebody looks; else it is followed from the start on, and always.
    pub is_kept: bool,
}

/// How far back the picture reaches, ms.
const REACHES_BACK_MS: i64 = 24 * 3_600_000;

/// How long one look waits for a record.
const WAIT: Duration = Duration::from_millis(200);

/// When nothing comes for so long, everything has been read that there was.
const NOTHING_MORE: Duration = Duration::from_secs(1);

/// Between two attempts to follow a topic that cannot be read.
const PAUSE: Duration = Duration::from_secs(2);

/// How long nobody looks until the picture is let go.
const LOOKED_AT_WITHIN: Duration = Duration::from_secs(15 * 60);

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
    /// When somebody looked last.
    looked_at: Mutex<Option<Instant>>,
    looked: Condvar,
}

impl Shared {
    /// Looks at the picture; the first look begins it.
    pub fn look<T>(&self, look: impl FnOnce(&Picture) -> T) -> T {
        let mut picture = self.picture();
        picture.settle();
        look(&picture)
    }

    /// Whether the picture holds what was published before it was begun; asking begins it too.
    pub fn is_caught_up(&self) -> bool {
        self.picture().is_caught_up
    }

    fn picture(&self) -> MutexGuard<'_, Picture> {
        self.notice();
        self.wanted.fetch_add(1, Ordering::SeqCst);
        let picture = locked(&self.picture);
        self.wanted.fetch_sub(1, Ordering::SeqCst);
        picture
    }

    fn notice(&self) {
        if locked(&self.looked_at).replace(Instant::now()).is_none() {
            self.looked.notify_one();
        }
    }

    fn change(&self, change: impl FnOnce(&mut Picture)) {
        while self.wanted.load(Ordering::SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        change(&mut locked(&self.picture));
    }

    /// Waits until somebody looks, or it is told to stop.
    fn wait(&self, stop: &AtomicBool) {
        let mut looked_at = locked(&self.looked_at);
        while looked_at.is_none() && !stop.load(Ordering::SeqCst) {
            let waited = self.looked.wait_timeout(looked_at, Duration::from_millis(100));
            looked_at = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets the picture go where nobody has looked for long, and says so.
    fn let_go(&self) -> bool {
        let mut looked_at = locked(&self.looked_at);
        let unseen = looked_at.is_none_or(|looked| looked.elapsed() > LOOKED_AT_WITHIN);
        if unseen {
            *looked_at = None;
            *locked(&self.picture) = Picture::default();
        }
        unseen
    }
}

/// Whatever panicked had put whole entries into it.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    /// Starts it; it ends when `stop` is set. It begins with the first look, and rests when nobody looks any more: a
    /// process that nobody looks at reads nothing.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start(
        following: Following,
        aggregates: String,
        clock: Arc<dyn Clock>,
        stop: Arc<AtomicBool>,
    ) -> std::io::Result<Feed> {
        let shared = Arc::new(Shared::default());
        let keeps = Arc::clone(&shared);
        thread::Builder::new().name("board".into()).spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                if following.is_kept {
                    keeps.wait(&stop);
                }
                // A picture that was begun anew takes the same records again: they change nothing.
                let outcome = (following.open)(&aggregates, clock.now() - REACHES_BACK_MS)
                    .and_then(|mut follower| follow(&mut *follower, &keeps, &*clock, following.is_kept, &stop));
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

/// Follows until it is told to stop or, where what it reads is kept, until nobody looks any more.
fn follow(
    follower: &mut dyn Follower,
    shared: &Shared,
    clock: &dyn Clock,
    is_kept: bool,
    stop: &AtomicBool,
) -> Result<(), LinkError> {
    let begun = clock.now();
    let mut came_at = Instant::now();
    // Also where it was followed before: the day is read again, and time goes back with it.
    shared.change(|picture| picture.is_caught_up = false);
    while !(stop.load(Ordering::SeqCst) || is_kept && shared.let_go()) {
        let mut is_new = false;
        follower.poll(WAIT, &mut |partition, record| {
            came_at = Instant::now();
            is_new |= record.timestamp.is_some_and(|timestamp| timestamp >= begun);
            shared.change(|picture| picture.take(partition, &record));
        })?;
        shared.change(|picture| {
            picture.time_passes();
            picture.trouble = None;
            picture.is_caught_up |= is_new || came_at.elapsed() >= NOTHING_MORE;
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    struct Nothing;

    impl Follower for Nothing {
        fn poll(&mut self, _: Duration, _: &mut dyn FnMut(i32, crate::record::Record<'_>)) -> Result<(), LinkError> {
            thread::sleep(Duration::from_millis(1));
            Ok(())
        }
    }

    fn opened(is_kept: bool) -> (Feed, Arc<AtomicUsize>, Arc<AtomicBool>) {
        let (opened, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let counts = Arc::clone(&opened);
        let open: OpenFollower = Arc::new(move |_, _| {
            counts.fetch_add(1, Ordering::SeqCst);
            Ok(Box::new(Nothing))
        });
        let following = Following { open, is_kept };
        let feed = Feed::start(following, "a".into(), Arc::new(SystemClock::new()), Arc::clone(&stop)).unwrap();
        thread::sleep(Duration::from_millis(50));
        (feed, opened, stop)
    }

    fn comes(what: impl Fn() -> bool) -> bool {
        (0..1_000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            what()
        })
    }

    #[test]
    fn it_begins_with_the_first_look_and_rests_when_nobody_looks() {
        let (feed, opened, stop) = opened(true);
        assert_eq!(opened.load(Ordering::SeqCst), 0);
        assert!(!feed.shared.is_caught_up());
        assert!(comes(|| opened.load(Ordering::SeqCst) == 1));
        assert!(comes(|| feed.shared.is_caught_up()), "there is nothing to read");
        let long_ago = Instant::now().checked_sub(LOOKED_AT_WITHIN + Duration::from_secs(1)).unwrap();
        *feed.shared.looked_at.lock().unwrap() = Some(long_ago);
        assert!(comes(|| feed.shared.looked_at.lock().unwrap().is_none()), "it rests");
        feed.shared.look(|_| ());
        assert!(comes(|| opened.load(Ordering::SeqCst) == 2));
        stop.store(true, Ordering::SeqCst);
    }

    #[test]
    fn what_is_deleted_behind_it_is_followed_at_once() {
        let (_feed, opened, stop) = opened(false);
        assert!(comes(|| opened.load(Ordering::SeqCst) == 1));
        stop.store(true, Ordering::SeqCst);
    }
}
