//! One thread of the fleet: its share of the rooms, all their members, and its own part of the schedule.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::arrivals::Arrivals;
use crate::competitors::driver_room;
use crate::fixture::FixtureRoom;
use crate::fleet::hub_room;
use crate::load::connection_faults::apply_fault;
use crate::load::plan::{LoadPlan, Phase};
use crate::load::results::{CheckResult, PhaseResult};
use crate::load::room::{MemberCommand, OpenedRoom, Room, RunState, check_all};

/// A command from the fleet to a worker, with a channel for the reply.
pub enum WorkerCommand {
    Connect(std_mpsc::Sender<anyhow::Result<()>>),
    Run(Phase, std_mpsc::Sender<PhaseResult>),
    Check(std_mpsc::Sender<CheckResult>),
}

pub struct Worker {
    pub plan: LoadPlan,
    /// The number of the worker's first room among all rooms, and the distance to its next one.
    pub numbers: (usize, usize),
    pub shared: Rc<RunState>,
    pub rooms: Vec<Rc<RefCell<Room>>>,
    /// The members' tasks.
    pub members: Vec<JoinHandle<()>>,
}

/// How many rooms a worker opens at once.
const MAX_CONCURRENT_ROOM_OPENS: usize = 64;

/// Time limit for closing all connections.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A phase ends only after this long without an event.
const QUIET_PERIOD: Duration = Duration::from_millis(300);

impl Worker {
    pub async fn work(mut self, mut commands: mpsc::UnboundedReceiver<WorkerCommand>) {
        while let Some(command) = commands.recv().await {
            match command {
                WorkerCommand::Connect(reply) => drop(reply.send(self.connect().await)),
                WorkerCommand::Run(phase, reply) => drop(reply.send(self.run(&phase).await)),
                WorkerCommand::Check(reply) => drop(reply.send(self.check().await)),
            }
        }
        for room in &self.rooms {
            for member in room.borrow().members() {
                let _ = member.send(MemberCommand::Leave);
            }
        }
        let _ = timeout(CLOSE_TIMEOUT, join_all(self.members)).await;
    }

    /// Connects all members, joins them, and brings every room to the start of its script.
    async fn connect(&mut self) -> anyhow::Result<()> {
        let rooms = std::mem::take(&mut self.plan.rooms);
        let numbers = (self.numbers.0..).step_by(self.numbers.1);
        let opened = stream::iter(numbers.zip(rooms))
            .map(|(number, room)| open_room(&self.plan, &self.shared, number, room))
            .buffer_unordered(MAX_CONCURRENT_ROOM_OPENS);
        let opened: Vec<_> = opened.collect().await;
        for room in opened {
            let (room, members) = room?;
            self.rooms.push(room);
            self.members.extend(members);
        }
        Ok(())
    }

    async fn run(&self, phase: &Phase) -> PhaseResult {
        let start = self.shared.now() + 20_000;
        let measured = start + phase.warmup.as_micros() as u64;
        let end = measured + phase.duration.as_micros() as u64;
        self.shared.begin_phase((measured, end));
        let rooms: Rc<[_]> = self.rooms.clone().into();
        for (at, fault) in phase.connection_faults.clone() {
            let (rooms, shared) = (rooms.clone(), self.shared.clone());
            tokio::task::spawn_local(async move {
                sleep(at + Duration::from_millis(20)).await;
                apply_fault(&rooms, &shared, fault);
            });
        }
        let (due, mut dues) = mpsc::unbounded_channel();
        let pacer = Pacer {
            arrivals: Arrivals::new(phase.spacing, phase.rate),
            random: StdRng::seed_from_u64(self.shared.random.borrow_mut().random()),
            start: self.shared.instant(start),
            length: phase.warmup + phase.duration,
            rooms: self.rooms.len(),
        };
        let thread = std::thread::spawn(move || pacer.pace(&due));
        while let Some((at, room)) = dues.recv().await {
            self.rooms[room].borrow_mut().command_due(&self.shared, start + at);
        }
        let _ = thread.join();
        let over = Instant::now() + phase.drain;
        while Instant::now() < over {
            if self.shared.outstanding() == 0 && self.shared.quiet_micros() > QUIET_PERIOD.as_micros() as u64 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mut result = self.shared.result.take();
        result.unanswered = self.shared.outstanding();
        result
    }

    async fn check(&self) -> CheckResult {
        check_all(self.rooms.iter().flat_map(|room| room.borrow().members().to_vec())).await
    }
}

/// Opens a room of the hub, or of the competitor that the targets name.
async fn open_room(
    plan: &LoadPlan,
    shared: &Rc<RunState>,
    number: usize,
    fixture: FixtureRoom,
) -> anyhow::Result<OpenedRoom> {
    if plan.targets.iter().any(|target| target.competitor().is_some()) {
        driver_room::open(plan, shared, number, fixture).await
    } else {
        hub_room::open(plan, shared, number, fixture).await
    }
}

/// Sleeps on its own thread, because the runtime's timers have a resolution of a millisecond.
struct Pacer {
    arrivals: Arrivals,
    random: StdRng,
    start: Instant,
    length: Duration,
    rooms: usize,
}

impl Pacer {
    /// Sends the time of each command, in microseconds from the start, and its room. Ends with the schedule.
    fn pace(mut self, due: &mpsc::UnboundedSender<(u64, usize)>) {
        if self.rooms == 0 {
            return;
        }
        loop {
            let at = self.arrivals.next(&mut self.random);
            if at >= self.length {
                return;
            }
            if let Some(wait) = (self.start + at).checked_duration_since(Instant::now()) {
                std::thread::sleep(wait);
            }
            let room = self.random.random_range(0..self.rooms);
            if due.send((at.as_micros() as u64, room)).is_err() {
                return;
            }
        }
    }
}
