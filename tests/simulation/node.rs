//! One process: a worker of each stage, one clock, one board. It starts, dies, sleeps, and comes back.

use std::cell::RefMut;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use touchstone::clock::ManualClock;
use touchstone::config::Settings;
use touchstone::pipeline::board::{Board, Condition};
use touchstone::pipeline::folding::Folding;
use touchstone::pipeline::link::LinkConfig;
use touchstone::pipeline::merging::Merging;
use touchstone::pipeline::stage::Stage;
use touchstone::pipeline::worker::{Worker, WorkerError};

use crate::faults::{Class, Fault, LinkFault, StageName};
use crate::link::FaultyLink;
use crate::scenario::SKEW_MAX;
use crate::world::{HostClock, World};

/// How long a supervisor waits before it starts a process again that gave way.
const RESTART_MS: i64 = 3_000;

/// One process.
pub struct Node {
    pub instance: String,
    pub clock: HostClock,
    pub board: Board,
    /// Rises when the process dies: what an earlier life left behind has no effect any more.
    pub life: u64,
    pub is_up: bool,
    pub starts_at: i64,
    pub sleeps_until: i64,
    /// When it ends for good: a twin.
    pub ends_at: Option<i64>,
    pub fold: Option<Worker<Folding>>,
    pub merge: Option<Worker<Merging>>,
    pub armed: Vec<(StageName, LinkFault)>,
    /// Input partitions whose leader it does not reach, and until when.
    pub unreachable: Vec<(i32, i64)>,
    pub no_proof_until: i64,
    pub outage_until: i64,
}

impl Node {
    /// A process that has not started yet.
    pub fn new(instance: &str, truth: &ManualClock, ahead_ms: i64) -> Node {
        Node {
            instance: instance.into(),
            clock: HostClock { truth: truth.clone(), ahead_ms: Arc::new(AtomicI64::new(ahead_ms)) },
            board: Board::new(),
            life: 0,
            is_up: false,
            starts_at: 0,
            sleeps_until: 0,
            ends_at: None,
            fold: None,
            merge: None,
            armed: Vec::new(),
            unreachable: Vec::new(),
            no_proof_until: 0,
            outage_until: 0,
        }
    }

    /// Nothing more goes wrong with it; if it is down, it comes back.
    pub fn become_calm(&mut self) {
        self.armed.clear();
        self.unreachable.clear();
        (self.starts_at, self.sleeps_until, self.no_proof_until, self.outage_until) = (0, 0, 0, 0);
        if self.ends_at.is_some() {
            self.ends_at = Some(0);
        }
    }

    /// Why tasks are halted here: by stage and partition.
    pub fn halted(&self) -> Vec<(StageName, i32, String)> {
        let posted = self.board.look();
        let folds =
            posted.sources.into_iter().map(|((_, partition), status)| (StageName::Fold, partition, status.condition));
        let merges =
            posted.merges.into_iter().map(|(partition, status)| (StageName::Merge, partition, status.condition));
        let halted = |(stage, partition, condition)| match condition {
            Condition::Halted(halt) => Some((stage, partition, halt.to_string())),
            _ => None,
        };
        folds.chain(merges).filter_map(halted).collect()
    }

    /// The process dies: whatever it had in hand is gone, what it has written stays.
    pub fn die(world: &World, node: usize, class: Class, down_ms: i64) {
        world.note(|| format!("node {node} dies: {}", class.name()));
        let mut nodes = world.nodes.borrow_mut();
        let this = &mut nodes[node];
        this.is_up = false;
        this.life += 1;
        this.starts_at = world.now() + down_ms;
        let workers = (this.fold.take(), this.merge.take());
        this.board = Board::new();
        drop(nodes);
        drop(workers);
        world.happened(class);
    }

    /// Something planned happens to a process.
    pub fn fault(world: &Rc<World>, fault: Fault) {
        match fault {
            Fault::Crash { node, down_ms } => {
                if Node::of(world, node).is_up {
                    Node::die(world, node, Class::CrashBetween, down_ms);
                }
            }
            Fault::Leave { node, down_ms } => Node::leave(world, node, down_ms),
            Fault::Freeze { node, ms } => {
                let until = world.now() + ms;
                let mut this = Node::of(world, node);
                if this.is_up && this.sleeps_until < until {
                    this.sleeps_until = until;
                    world.happened(Class::Frozen);
                }
            }
            Fault::Arm { node, stage, fault } => Node::of(world, node).armed.push((stage, fault)),
            Fault::SetClock { node, ahead_ms } => {
                assert!(ahead_ms.abs() <= SKEW_MAX, "the oracle reckons with this");
                Node::of(world, node).clock.ahead_ms.store(ahead_ms, Ordering::Relaxed);
                world.happened(Class::ClockStep);
            }
            Fault::Unreachable { node, partition, ms } => {
                let until = world.now() + ms;
                Node::of(world, node).unreachable.push((partition, until));
            }
            Fault::NoProof { node, ms } => Node::of(world, node).no_proof_until = world.now() + ms,
            Fault::Outage { node, ms } => Node::of(world, node).outage_until = world.now() + ms,
            other => unreachable!("{other:?} is not a process's"),
        }
    }

    fn of(world: &World, node: usize) -> RefMut<'_, Node> {
        RefMut::map(world.nodes.borrow_mut(), |nodes| &mut nodes[node])
    }

    /// Commits what is open and leaves its groups, then ends.
    fn leave(world: &Rc<World>, node: usize, down_ms: i64) {
        let mut this = Node::of(world, node);
        let life = this.life;
        // One whose call is going on somewhere else cannot be asked to end.
        let is_awake = this.fold.is_some() && this.merge.is_some() && this.sleeps_until <= world.now();
        if !is_awake {
            return;
        }
        let (Some(mut fold), Some(mut merge)) = (this.fold.take(), this.merge.take()) else { return };
        drop(this);
        let (fold_stopped, merge_stopped) = (fold.stop(|| ()), merge.stop(|| ()));
        world.note(|| format!("node {node} stopped: {} {}", fold_stopped.is_ok(), merge_stopped.is_ok()));
        if Node::of(world, node).life == life {
            Node::die(world, node, Class::Left, down_ms);
        }
    }

    /// A step of one of its workers, if it is awake; it starts where it is time to.
    pub fn step(world: &Rc<World>, node: usize, stage: StageName) {
        let now = world.now();
        let this = Node::of(world, node);
        if let Some(end) = this.ends_at.filter(|end| *end <= now) {
            if this.is_up {
                drop(this);
                return Node::die(world, node, Class::CrashBetween, i64::MAX / 2 - end);
            }
            return;
        }
        if this.sleeps_until > now {
            return;
        }
        if !this.is_up {
            if this.starts_at > now {
                return;
            }
            drop(this);
            Node::start(world, node);
        } else {
            drop(this);
        }
        match stage {
            StageName::Fold => Node::turn(world, node, |node| &mut node.fold),
            StageName::Merge => Node::turn(world, node, |node| &mut node.merge),
        }
    }

    fn start(world: &Rc<World>, node: usize) {
        world.note(|| format!("node {node} starts"));
        let mut this = Node::of(world, node);
        let settings = Settings { instance: this.instance.clone(), ..(*world.settings()).clone() };
        let (life, clock, board) = (this.life, Arc::new(this.clock.clone()), this.board.clone());
        this.is_up = true;
        drop(this);
        let open = |config: &LinkConfig, stage| {
            let link = world.broker.link(config).expect("the topics are there");
            Box::new(FaultyLink::new(link, Rc::clone(world), node, stage, life))
        };
        let (plan, pace) = (Arc::clone(&settings.plan), settings.pace);
        let folding = Folding::new(Arc::clone(&plan), settings.folding(), board.clone());
        let link = open(&settings.fold_link(0), StageName::Fold);
        let fold = Worker::new("fold", link, folding, pace, clock.clone(), board.clone());
        let merging = Merging::new(plan, settings.merging(), board.clone());
        let link = open(&settings.merge_link(0), StageName::Merge);
        let merge = Worker::new("merge", link, merging, pace, clock, board);
        let mut this = Node::of(world, node);
        (this.fold, this.merge) = (Some(fold), Some(merge));
    }

    fn turn<S: Stage>(world: &Rc<World>, node: usize, seat: fn(&mut Node) -> &mut Option<Worker<S>>) {
        let mut this = Node::of(world, node);
        let life = this.life;
        // It is away where it sleeps in the middle of a call.
        let Some(mut worker) = seat(&mut this).take() else { return };
        drop(this);
        let stepped = worker.step(Duration::ZERO);
        let mut this = Node::of(world, node);
        if this.life != life {
            drop(this);
            return drop(worker); // it died in this step
        }
        *seat(&mut this) = Some(worker);
        drop(this);
        match stepped {
            Ok(_) => {}
            Err(WorkerError::Twin(_)) => Node::die(world, node, Class::TwinExit, RESTART_MS),
            Err(WorkerError::Fatal(reason)) => panic!("node {node}: {reason}"),
        }
    }
}
