//! All members of all rooms, divided among a few threads so that they share no locks.
//!
//! The fleet stays connected from [`Fleet::connect`] on and runs one or more phases, each at its own rate. At the end,
//! [`Fleet::check`] compares every reader's events with the hub's heads and with the acknowledged commands.

pub mod day;
mod hub_room;
mod member;
mod worker;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::fleet::worker::{Worker, WorkerCommand};
use crate::load::plan::{LoadPlan, Phase};
use crate::load::results::{CheckResult, Gauges, PhaseResult};
use crate::load::room::RunState;
use crate::send_time::SendTimeIds;

/// The connected members.
pub struct Fleet {
    workers: Vec<(mpsc::UnboundedSender<WorkerCommand>, JoinHandle<()>)>,
    shares: Vec<f64>,
    gauges: Arc<Gauges>,
}

impl Fleet {
    /// Connects all members and brings every room to the start of its script.
    pub fn connect(plan: LoadPlan, gauges: Arc<Gauges>) -> anyhow::Result<Self> {
        anyhow::ensure!(!plan.targets.is_empty(), "no target");
        let base = Instant::now();
        let mut random = StdRng::seed_from_u64(plan.seed);
        // Not derived from the seed: ids must differ between runs on the same hub.
        let ids = SendTimeIds::new(rand::rng().random());
        let count = plan.workers.clamp(1, plan.rooms.len().max(1));
        let mut workers = Vec::new();
        let mut shares = Vec::new();
        for at in 0..count {
            let rooms: Vec<_> = plan.rooms.iter().skip(at).step_by(count).cloned().collect();
            shares.push(rooms.len() as f64 / plan.rooms.len().max(1) as f64);
            let plan = LoadPlan { rooms, ..plan.clone() };
            let own = StdRng::seed_from_u64(random.random());
            let first = (u32::MAX / 4 / count as u32) * at as u32;
            let gauges = gauges.clone();
            let (commands, receiver) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new().name(format!("worker-{at}")).spawn(move || {
                let shared = Rc::new(RunState::new(base, ids, gauges, own, plan.copies, first));
                let worker = Worker { plan, numbers: (at, count), shared, rooms: Vec::new(), members: Vec::new() };
                LocalSet::new().block_on(&runtime, worker.work(receiver));
            })?;
            workers.push((commands, thread));
        }
        let fleet = Self { workers, shares, gauges };
        for result in fleet.send_all(|_, reply| WorkerCommand::Connect(reply))? {
            result?;
        }
        Ok(fleet)
    }

    /// Runs a phase and waits for its answers.
    pub fn run(&self, phase: &Phase) -> anyhow::Result<PhaseResult> {
        let results = self.send_all(|at, reply| {
            WorkerCommand::Run(Phase { rate: phase.rate * self.shares[at], ..phase.clone() }, reply)
        })?;
        let mut sum = PhaseResult::default();
        results.iter().for_each(|result| sum.merge(result));
        Ok(sum)
    }

    /// Compares every reader with the hub. No command may be in flight.
    pub fn check(&self) -> anyhow::Result<CheckResult> {
        let mut sum = CheckResult::default();
        self.send_all(|_, reply| WorkerCommand::Check(reply))?.iter().for_each(|result| sum.merge(result));
        Ok(sum)
    }

    /// Returns the number of open connections.
    pub fn connected(&self) -> usize {
        usize::try_from(self.gauges.connected.load(std::sync::atomic::Ordering::Relaxed)).unwrap_or(0)
    }

    fn send_all<T>(&self, command: impl Fn(usize, std_mpsc::Sender<T>) -> WorkerCommand) -> anyhow::Result<Vec<T>> {
        let mut replies = Vec::new();
        for (at, (worker, _)) in self.workers.iter().enumerate() {
            let (reply, answer) = std_mpsc::channel();
            worker.send(command(at, reply)).ok().context("a worker thread panicked")?;
            replies.push(answer);
        }
        replies.into_iter().map(|answer| answer.recv().context("a worker thread panicked")).collect()
    }
}

impl Drop for Fleet {
    /// Closes every connection.
    fn drop(&mut self) {
        for (commands, thread) in self.workers.drain(..) {
            drop(commands);
            let _ = thread.join();
        }
    }
}
