//! Remembered ids: which events were accepted, for as long as a copy of one would not be late.
//!
//! Whether an id is known depends on the watermark and the log alone, never on when a commit happened: an
//! entry older than the horizon counts as absent, and is removed from memory some time after. What was
//! learned since the last commit can be taken back, exactly (I-6).

mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::time::MINUTE;
use table::Table;

/// Many small tables instead of one, so that growing one does not copy all.
const SHARDS: usize = 64;

/// Into how many equal parts ids are cut before they are dealt out to shards.
const PARTS: usize = 4096;

/// Which shard each part belongs to. The last shards hold twice as many ids as the first, and all sizes between occur:
/// so they do not grow at once, and memory follows the number of ids.
static SHARD_OF: LazyLock<[u8; PARTS]> = LazyLock::new(|| {
    std::array::from_fn(|part| {
        let share = (part as f64 / PARTS as f64 + 1.0).log2();
        (share * SHARDS as f64) as u8
    })
});

/// How many remembered ids are looked at for each one that is learned, to let those go that are too old: about a
/// quarter more are then in memory than count, and no commit has more to do than another.
const SWEEP: usize = 4;

/// What a remembered id takes in memory, in bytes: its entry in a table of which two fifths are taken at the worst. (Its way
/// back until the next commit is counted with what is open.)
pub const ID_BYTES: usize = 60;

/// What is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing: it is the first.
    New,
    /// It was accepted before.
    Same,
    /// It was accepted before, with other content.
    Conflicting,
}

/// One remembered event: 24 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Remembered {
    high: u64,
    low: u64,
    /// Event time in ms in the upper 48 bits, 16 bits of the content's hash below.
    time_and_content: i64,
}

impl Remembered {
    /// What stands in a slot that holds nothing: a time that no event has.
    const VACANT: Remembered = Remembered { high: 0, low: 0, time_and_content: i64::MIN };

    fn is_vacant(&self) -> bool {
        self.time_and_content == i64::MIN
    }

    fn new(id: u128, time: i64, content: u64) -> Remembered {
        let bound = (1i64 << 47) - 1;
        let time = time.clamp(-bound, bound);
        let content = i64::from((content >> 48) as u16);
        Remembered { high: (id >> 64) as u64, low: id as u64, time_and_content: (time << 16) | content }
    }

    fn time(&self) -> i64 {
        self.time_and_content >> 16
    }

    fn is(&self, id: u128) -> bool {
        self.high == (id >> 64) as u64 && self.low == id as u64
    }

    fn same_content(&self, content: u64) -> bool {
        self.time_and_content as u16 == (content >> 48) as u16
    }

    fn shard(id: u128) -> usize {
        usize::from(SHARD_OF[(id >> 116) as usize])
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    ids: usize,
    first_offset: i64,
}

/// The ids of one source.
#[derive(Debug)]
pub struct Ids {
    shards: Vec<Table>,
    /// Per minute of event time; only where ids can leave again.
    buckets: BTreeMap<i64, Bucket>,
    /// What each change since the last commit replaced, with the first offset of its minute.
    journal: Vec<(u128, Option<(Remembered, i64)>)>,
    /// Minutes that the bound pushed out since the last commit.
    pushed: Vec<(i64, Bucket)>,
    forgets: bool,
    ids_max: usize,
    /// Ids before this time were pushed out by the bound.
    floor: i64,
    committed_floor: i64,
    /// How many ids the bound pushed out.
    pushed_out: i64,
    live: usize,
    /// Which shard is swept next, and how many ids may be looked at for that.
    sweep: (usize, usize),
}

impl Ids {
    /// An empty set that holds at most `ids_max` ids; `forgets: false` never lets one go.
    pub fn new(ids_max: usize, forgets: bool) -> Ids {
        Ids {
            shards: (0..SHARDS).map(|_| Table::default()).collect(),
            buckets: BTreeMap::new(),
            journal: Vec::new(),
            pushed: Vec::new(),
            forgets,
            ids_max,
            floor: i64::MIN,
            committed_floor: i64::MIN,
            pushed_out: 0,
            live: 0,
            sweep: (0, 0),
        }
    }

    /// Says whether `id` is known, and remembers it if not. `horizon` is the oldest time that is not late.
    pub fn check(&mut self, id: u128, time: i64, content: u64, offset: i64, horizon: i64) -> Seen {
        let oldest = horizon.max(self.floor);
        let new = Remembered::new(id, time, content);
        let shard = &mut self.shards[Remembered::shard(id)];
        match shard.find(id) {
            Ok(slot) => {
                let have = *shard.get_mut(slot);
                if !self.forgets || have.time() >= oldest {
                    return if have.same_content(content) { Seen::Same } else { Seen::Conflicting };
                }
                let first_offset = self.buckets.get(&minute(have.time())).map(|bucket| bucket.first_offset);
                // Without a minute the committed horizon had passed it: no abort can bring it back to life.
                self.journal.push((id, Some((have, first_offset.unwrap_or(i64::MAX)))));
                *shard.get_mut(slot) = new;
                if first_offset.is_some() {
                    leave(&mut self.buckets, &mut self.live, have.time());
                }
            }
            Err(vacant) => {
                shard.insert(vacant, new);
                self.journal.push((id, None));
            }
        }
        if self.forgets {
            self.enter(time, offset);
            self.bound();
        }
        Seen::New
    }

    fn enter(&mut self, time: i64, offset: i64) {
        let bucket = self.buckets.entry(minute(time)).or_insert(Bucket { ids: 0, first_offset: offset });
        bucket.ids += 1;
        bucket.first_offset = bucket.first_offset.min(offset);
        self.live += 1;
    }

    /// Pushes the oldest minute out while there are too many.
    fn bound(&mut self) {
        while self.live > self.ids_max {
            let Some((start, bucket)) = self.buckets.pop_first() else { return };
            self.floor = self.floor.max(start.saturating_add(MINUTE));
            self.live -= bucket.ids;
            self.pushed_out += i64::try_from(bucket.ids).expect("a count of ids");
            self.pushed.push((start, bucket));
        }
    }

    /// What was learned is certain. Lets ids go that lie before `horizon`, the committed one.
    pub fn committed(&mut self, horizon: i64) {
        let learned = self.journal.len();
        self.journal.clear();
        self.pushed.clear();
        self.committed_floor = self.floor;
        if !self.forgets {
            return;
        }
        let oldest = horizon.max(self.floor);
        while let Some(entry) = self.buckets.first_entry() {
            if entry.key().saturating_add(MINUTE) > oldest {
                break;
            }
            self.live -= entry.remove().ids;
        }
        self.sweep(learned, oldest);
    }

    /// Lets old ids go, a shard at a time: what it may look at is earned by learning.
    fn sweep(&mut self, learned: usize, oldest: i64) {
        let (mut next, mut earned) = self.sweep;
        earned += SWEEP * learned;
        // Where nothing is learned any more one shard is looked at all the same.
        for _ in 0..if learned == 0 { 1 } else { SHARDS } {
            let shard = &mut self.shards[next];
            if learned > 0 && shard.len() > earned {
                break;
            }
            earned = earned.saturating_sub(shard.len());
            shard.forget(oldest);
            next = (next + 1) % SHARDS;
        }
        // What is earned while there is little to look at is not saved up for a long look later.
        let largest = self.shards.iter().map(Table::len).max().unwrap_or(0);
        self.sweep = (next, earned.min(largest + SWEEP * learned));
    }

    /// Forgets what was learned since the last commit.
    pub fn aborted(&mut self) {
        for (start, bucket) in std::mem::take(&mut self.pushed) {
            self.live += bucket.ids;
            self.pushed_out -= i64::try_from(bucket.ids).expect("a count of ids");
            let back = self.buckets.entry(start).or_insert(Bucket { ids: 0, first_offset: bucket.first_offset });
            back.ids += bucket.ids;
            back.first_offset = back.first_offset.min(bucket.first_offset);
        }
        while let Some((id, before)) = self.journal.pop() {
            let shard = &mut self.shards[Remembered::shard(id)];
            let Ok(slot) = shard.find(id) else { continue };
            let time = shard.get_mut(slot).time();
            match before {
                Some((before, _)) => *shard.get_mut(slot) = before,
                None => shard.remove(slot),
            }
            if self.forgets {
                leave(&mut self.buckets, &mut self.live, time);
            }
            if let Some((before, first_offset)) = before.filter(|(_, first)| self.forgets && *first != i64::MAX) {
                self.enter(before.time(), first_offset);
            }
        }
        self.floor = self.committed_floor;
    }

    /// The offset from which a restart must read to learn again every id at or after `horizon`; `next` if none.
    pub fn replay_from(&self, horizon: i64, next: i64) -> i64 {
        let kept = self.buckets.range(minute(horizon.max(self.floor))..);
        kept.map(|(_, bucket)| bucket.first_offset).min().unwrap_or(next).min(next)
    }

    /// Ids before this time were pushed out by the bound.
    pub fn floor(&self) -> i64 {
        self.floor
    }

    /// Takes over the floor that a former run had reached.
    pub fn set_floor(&mut self, floor: i64) {
        self.floor = floor;
        self.committed_floor = floor;
    }

    /// How many ids the bound has pushed out.
    pub fn pushed_out(&self) -> i64 {
        self.pushed_out
    }

    /// How many ids are in memory.
    pub fn len(&self) -> usize {
        self.shards.iter().map(Table::len).sum()
    }

    /// Whether no id is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn minute(time: i64) -> i64 {
    time.div_euclid(MINUTE).saturating_mul(MINUTE)
}

/// Takes one id out of its minute.
fn leave(buckets: &mut BTreeMap<i64, Bucket>, live: &mut usize, time: i64) {
    let start = minute(time);
    if let Some(bucket) = buckets.get_mut(&start) {
        bucket.ids -= 1;
        *live -= 1;
        if bucket.ids == 0 {
            buckets.remove(&start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> u128 {
        xxhash_rust::xxh3::xxh3_128(&n.to_le_bytes())
    }

    #[test]
    fn an_id_is_known_until_a_copy_would_be_late() {
        let mut ids = Ids::new(100, true);
        assert_eq!(ids.check(id(1), 60_000, 0, 1, 0), Seen::New);
        assert_eq!(ids.check(id(1), 60_000, 0, 2, 60_000), Seen::Same);
        assert_eq!(ids.check(id(1), 60_000, u64::MAX, 2, 60_000), Seen::Conflicting);
        assert_eq!(ids.check(id(1), 90_000, 0, 3, 60_001), Seen::New, "what is late is not remembered");
        assert_eq!(ids.check(id(1), 90_000, 0, 4, 90_000), Seen::Same);
    }

    #[test]
    fn an_abort_takes_back_what_was_learned_and_nothing_else() {
        let mut ids = Ids::new(100, true);
        ids.check(id(1), 1_000, 0, 1, 0);
        ids.committed(0);
        ids.check(id(1), 70_000, 0, 2, 2_000);
        ids.check(id(2), 70_000, 0, 3, 2_000);
        ids.aborted();
        assert_eq!(ids.check(id(1), 1_000, 0, 2, 0), Seen::Same, "it was in before");
        assert_eq!(ids.check(id(2), 70_000, 0, 3, 0), Seen::New);
        assert_eq!(ids.len(), 2);
    }

    #[test]
    fn ids_leave_memory_only_after_the_watermark_is_committed() {
        let mut ids = Ids::new(1_000_000, true);
        for n in 0..10_000 {
            ids.check(id(n), n as i64 * 1_000, 0, n as i64, n as i64 * 1_000 - 60_000);
        }
        assert_eq!(ids.len(), 10_000);
        ids.committed(9_940_000);
        assert!(ids.len() <= 200, "{}", ids.len());
        assert_eq!(ids.check(id(9_950), 9_950_000, 0, 0, 9_940_000), Seen::Same);
        assert_eq!(ids.replay_from(9_960_000, 10_000), 9_960);
        assert_eq!(ids.replay_from(9_999_999_999, 10_000), 10_000);
    }

    #[test]
    fn beyond_the_bound_the_oldest_leave_first_and_are_counted() {
        let mut ids = Ids::new(10, true);
        for n in 0..12 {
            ids.check(id(n), n as i64 * MINUTE, 0, n as i64, i64::MIN);
        }
        assert_eq!((ids.pushed_out(), ids.floor()), (2, 2 * MINUTE));
        assert_eq!(ids.check(id(0), 0, 0, 99, i64::MIN), Seen::New);
        assert_eq!(ids.check(id(2), 2 * MINUTE, 0, 99, i64::MIN), Seen::Same);
    }

    #[test]
    fn shards_are_of_every_size_between_one_and_two() {
        let mut sizes = [0usize; SHARDS];
        (0..PARTS).for_each(|part| sizes[Remembered::shard((part as u128) << 116)] += 1);
        assert!(sizes.is_sorted_by(|one, next| *next + 2 >= *one), "{sizes:?}");
        let ratio = sizes[SHARDS - 1] as f64 / sizes[0] as f64;
        assert!((1.8..2.2).contains(&ratio), "{sizes:?}");
    }

    #[test]
    fn memory_follows_the_number_of_ids() {
        // A steady stream whose ids count for ten minutes: a quarter more are held than count, and tables do not creep.
        let mut ids = Ids::new(usize::MAX, true);
        let mut capacity = Vec::new();
        for minute in 0..60 {
            for part in 0..60 {
                let now = minute * MINUTE + part * 1_000;
                (0..50).for_each(|n| {
                    let number = ((minute * 60 + part) * 50 + n) as u64;
                    ids.check(id(number), now, 0, now, now - 10 * MINUTE);
                });
                ids.committed(now - 10 * MINUTE);
            }
            assert!(minute < 12 || ids.len() < 50 * 60 * 11 * 3 / 2, "{}", ids.len());
            capacity.push(ids.shards.iter().map(Table::slots).sum::<usize>());
        }
        let (early, late) = (capacity[20..40].iter().max(), capacity[40..].iter().max());
        assert!(late <= early.map(|early| early + early / 10).as_ref(), "{capacity:?}");
    }

    #[test]
    fn a_bounded_set_never_forgets() {
        let mut ids = Ids::new(1, false);
        for n in 0..5_000 {
            ids.check(id(n), n as i64 * 100_000, 0, n as i64, i64::MIN);
            ids.committed(i64::MAX);
        }
        assert!((0..5_000).all(|n| ids.check(id(n), 0, 0, 0, i64::MAX) == Seen::Same));
    }
}
