//! All members of all rooms: a few threads, each with its own share, so that nothing is locked between them.
//!
//! The fleet stays connected from [`Fleet::muster`] on; it plays one or more phases at a rate each, and at the end
//! [`Fleet::verify`] compares what every reader has with the hub's heads and with what was acknowledged.

pub mod account;
pub mod day;
mod member;
pub(crate) mod room;
pub mod script;
pub(crate) mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::arrivals::Spacing;
use crate::fixture::FixtureRoom;
use crate::fleet::account::{Account, Gauges, Verdict};
use crate::fleet::room::Shared;
use crate::fleet::script::Kind;
use crate::fleet::worker::{Order, Worker};
use crate::stamp::Stamps;
use crate::target::Target;

/// Who takes part, and what they do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The nodes: members of a room begin on different ones.
    pub targets: Vec<Target>,
    pub rooms: Vec<FixtureRoom>,
    /// How many connections each member of a room has: its devices. Each is a session, and each gets every event.
    pub devices: usize,
    /// Threads of the generator.
    pub workers: usize,
    /// Nothing: members are there and say nothing.
    pub kind: Option<Kind>,
    /// The length of a chat message, 1 to 4000.
    pub bytes: usize,
    /// How often a command is sent at most; above 1 each is sent 1 to that many times, and once more after its ack.
    pub copies: u8,
    /// The share of rooms with a member that can be told to stop reading, 0 to 1.
    pub slow: f64,
    /// Where random choices begin.
    pub seed: u64,
}

/// A time at one rate.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Commands a second, over all rooms.
    pub rate: f64,
    pub spacing: Spacing,
    /// Played, not measured.
    pub warmup: Duration,
    /// Measured.
    pub duration: Duration,
    /// How long answers may take after the end.
    pub drain: Duration,
    /// What happens to connections meanwhile, and when.
    pub happenings: Vec<(Duration, Happening)>,
}

/// Something that happens to connections.
#[derive(Clone, Copy, Debug)]
pub enum Happening {
    /// In this share of the rooms every connection is cut; each comes back after a random time up to `jitter`.
    Cut { share: f64, jitter: Duration },
    /// This share of the members, in all rooms, stops reading and answering on an open connection for `time`, and comes
    /// back on another one. Who alone can take a script's steps is spared, and somebody is left to speak.
    HalfOpen { share: f64, time: Duration },
    /// The slow members stop reading.
    Stall,
    /// The slow members read on.
    ReadOn,
}

/// The connected members.
pub struct Fleet {
    workers: Vec<(mpsc::UnboundedSender<Order>, JoinHandle<()>)>,
    shares: Vec<f64>,
    gauges: Arc<Gauges>,
}

impl Fleet {
    /// Connects everybody and leads every room to where its script begins.
    pub fn muster(plan: Plan, gauges: Arc<Gauges>) -> anyhow::Result<Self> {
        anyhow::ensure!(!plan.targets.is_empty(), "no target");
        let base = Instant::now();
        let mut random = StdRng::seed_from_u64(plan.seed);
        // Not from the seed: ids must differ between runs on one hub.
        let stamps = Stamps::new(rand::rng().random());
        let count = plan.workers.clamp(1, plan.rooms.len().max(1));
        let mut workers = Vec::new();
        let mut shares = Vec::new();
        for at in 0..count {
            let rooms: Vec<_> = plan.rooms.iter().skip(at).step_by(count).cloned().collect();
            shares.push(rooms.len() as f64 / plan.rooms.len().max(1) as f64);
            let plan = Plan { rooms, ..plan.clone() };
            let own = StdRng::seed_from_u64(random.random());
            let first = (u32::MAX / 4 / count as u32) * at as u32;
            let gauges = gauges.clone();
            let (orders, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
                let shared = Rc::new(Shared::new(base, stamps, gauges, own, plan.copies, first));
                let worker = Worker { plan, numbers: (at, count), shared, rooms: Vec::new(), members: Vec::new() };
                LocalSet::new().block_on(&runtime, worker.work(receiver));
            })?;
            workers.push((orders, thread));
        }
        let fleet = Self { workers, shares, gauges };
        for result in fleet.ask(|_, reply| Order::Muster(reply))? {
            result?;
        }
        Ok(fleet)
    }

    /// Plays a phase and waits for what it asked for.
    pub fn run(&self, phase: &Phase) -> anyhow::Result<Account> {
        let accounts =
            self.ask(|at, reply| Order::Run(Phase { rate: phase.rate * self.shares[at], ..phase.clone() }, reply))?;
        let mut sum = Account::default();
        accounts.iter().for_each(|account| sum.merge(account));
        Ok(sum)
    }

    /// Compares every reader with the hub. Nothing must be under way.
    pub fn verify(&self) -> anyhow::Result<Verdict> {
        let mut sum = Verdict::default();
        self.ask(|_, reply| Order::Verify(reply))?.iter().for_each(|verdict| sum.merge(verdict));
        Ok(sum)
    }

    /// Connections that are open now.
    pub fn connected(&self) -> usize {
        usize::try_from(self.gauges.connected.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or(0)
    }

    fn ask<T>(&self, order: impl Fn(usize, std_mpsc::Sender<T>) -> Order) -> anyhow::Result<Vec<T>> {
        let mut replies = Vec::new();
        for (at, (worker, _)) in self.workers.iter().enumerate() {
            let (reply, answer) = std_mpsc::channel();
            worker.send(order(at, reply)).ok().context("a worker of the load test has died")?;
            replies.push(answer);
        }
        replies.into_iter().map(|answer| answer.recv().context("a worker of the load test has died")).collect()
    }
}

impl Drop for Fleet {
    /// Says goodbye on every connection.
    fn drop(&mut self) {
        for (orders, thread) in self.workers.drain(..) {
            drop(orders);
            let _ = thread.join();
        }
    }
}
