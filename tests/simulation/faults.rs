//! What can go wrong, and how often it really did.
//!
//! A [`Fault`] is planned by the scenario; a [`Class`] is counted where something has really happened: an armed fault
//! that met no commit counts nothing. A class that never happened in a whole run of seeds fails that run.

use std::collections::BTreeMap;

macro_rules! classes {
    ($($variant:ident $name:literal,)*) => {
        /// A kind of fault that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Class { $($variant,)* }

        impl Class {
            /// All of them, in the order of the table.
            pub const ALL: &[Class] = &[$(Class::$variant,)*];

            /// The name in the table.
            pub fn name(self) -> &'static str {
                match self { $(Class::$variant => $name,)* }
            }
        }
    };
}

classes! {
    CrashBetween "crash between two steps",
    CrashBefore "crash before a commit",
    CrashOpen "crash inside a transaction",
    CrashAfter "crash after a commit, before its answer",
    CrashRestoring "crash while restoring",
    RestoreInterrupted "restore interrupted and gone on with",
    Left "process stopped in good order",
    Aborted "commit refused",
    UnknownBefore "answer lost, commit not made",
    UnknownAfter "answer lost, commit made",
    TornFold "torn transaction of fold",
    TornMerge "torn transaction of merge",
    PendingOffsets "pending offset outlives its writer's step",
    Fenced "fenced",
    RebalanceInBatch "partition lost with records open",
    Zombie "commit after the group went on, refused",
    TransactionTimeout "pause longer than the transaction's time",
    Frozen "process paused",
    Twin "two processes with one id",
    TwinExit "process gave way to its twin",
    Unreachable "partition unreachable for one reader",
    NoProof "end of a log not answered",
    Outage "broker unreachable for one process",
    ClockSkew "process with a wrong clock",
    ClockStep "clock set, also back",
    Duplicate "event sent again",
    Conflicting "event sent again with other content",
    Reordered "event older than its predecessor",
    Late "late event",
    Poison "bytes that are no event",
    Idle "partition idle beyond its time-out",
    InputCommitted "open transaction on the input, committed",
    InputAborted "open transaction on the input, aborted",
    SlowPartition "catch-up of days with a slow partition",
    PartitionAdded "partition added under load",
    OffsetsExpiredFold "offsets of the fold group expired",
    Recreated "input topic re-created",
    EpochRaised "input taken in anew under a new epoch",
    Redefined "definitions changed between two runs",
    Reformatted "format changed between two runs",
    OffsetsExpiredMerge "offsets of the merge group expired",
    DeltasRetention "retention passed deltas not yet taken",
}

/// How often each class happened.
pub type Counts = BTreeMap<Class, u64>;

/// A stage, where it matters which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageName {
    Fold,
    Merge,
}

/// What the client of a torn transaction is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Committed,
    Aborted,
    Lost,
}

/// What shall happen at the next call of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFault {
    /// The commit is refused.
    Abort,
    /// The commit's answer is lost; it was made or not.
    Unknown { made: bool },
    /// The process dies at the commit.
    Crash(Moment),
    /// The process sleeps at the commit.
    Pause(Moment, i64),
    /// Part of the commit becomes true: bit `p` of `lost` says that what it wrote to partition `p` of the deltas, or of
    /// the aggregates, does not; bit 4 + `p` of the changelog.
    Torn { lost: u8, offsets: bool, answer: Answer },
    /// The process dies while it restores.
    CrashRestoring,
    /// The process sleeps while it restores.
    PauseRestoring(i64),
    /// The process sleeps between two polls.
    PausePolling(i64),
}

/// Where in a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Before,
    /// Everything is written, nothing is decided.
    Open,
    After,
}

/// What a scenario plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A process dies and comes back later.
    Crash { node: usize, down_ms: i64 },
    /// A process ends in good order and comes back later.
    Leave { node: usize, down_ms: i64 },
    /// A process sleeps between its steps.
    Freeze { node: usize, ms: i64 },
    /// A fault that waits for its occasion.
    Arm { node: usize, stage: StageName, fault: LinkFault },
    /// A process's clock is set to be so much ahead of the true time.
    SetClock { node: usize, ahead_ms: i64 },
    /// One process does not reach the leader of one input partition.
    Unreachable { node: usize, partition: i32, ms: i64 },
    /// One process gets no answer about ends of logs.
    NoProof { node: usize, ms: i64 },
    /// One process reaches nothing.
    Outage { node: usize, ms: i64 },
    /// A second process runs with the identity of one.
    Twin { node: usize, ms: i64 },
    /// A transaction stays open on an input partition.
    InputTransaction { partition: i32, ms: i64, committed: bool },
    /// The input gets one more partition.
    AddPartition,
    /// Every process dies, and something is gone when they come back.
    Blackout(Loss),
    /// Every process ends, and is started again with another configuration.
    Redeploy(Change),
}

/// What a blackout takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The merge group's offset of a deltas partition.
    MergeOffset(i32),
    /// What is in a deltas partition, taken in or not.
    Deltas(i32),
    /// The fold group's offsets.
    FoldOffsets,
    /// The input: it is there again, and empty.
    Input,
}

/// What is different in a new deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The input's epoch.
    Epoch,
    /// A threshold that shapes what is counted.
    Threshold,
    /// One more group-by.
    GroupBy,
    /// The format in which state is written.
    Format,
}
