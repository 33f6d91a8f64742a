//! One thread of the fleet: a share of the rooms, all their members, and its own part of the schedule.

use std::cell::RefCell;
use std::iter;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rooms::wire::server::ServerFrame;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::arrivals::Arrivals;
use crate::baseline::crowd;
use crate::client::{Answer, Client};
use crate::fixture::FixtureRoom;
use crate::fleet::account::{Account, Verdict};
use crate::fleet::member::{Link, Member, silence};
use crate::fleet::room::{Do, Room, Shared, verify};
use crate::fleet::script::Script;
use crate::fleet::{Happening, Phase, Plan};
use crate::frame::Brief;
use crate::target::{Target, node_of};

/// What the fleet tells a worker. Each order is answered when it is done.
pub enum Order {
    Muster(std_mpsc::Sender<anyhow::Result<()>>),
    Run(Phase, std_mpsc::Sender<Account>),
    Verify(std_mpsc::Sender<Verdict>),
}

pub struct Worker {
    pub plan: Plan,
    /// The number of the worker's first room among those of all workers, and the distance to its next.
    pub numbers: (usize, usize),
    pub shared: Rc<Shared>,
    pub rooms: Vec<Rc<RefCell<Room>>>,
    /// The members' tasks.
    pub members: Vec<JoinHandle<()>>,
}

/// How many rooms are opened at once.
const OPENING: usize = 64;

/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(5);

/// As long as events still come, a phase is not over.
const QUIET: Duration = Duration::from_millis(300);

impl Worker {
    pub async fn work(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Muster(reply) => drop(reply.send(self.muster().await)),
                Order::Run(phase, reply) => drop(reply.send(self.run(&phase).await)),
                Order::Verify(reply) => drop(reply.send(self.verify().await)),
            }
        }
        for room in &self.rooms {
            for member in room.borrow().members() {
                let _ = member.send(Do::Leave);
            }
        }
        let _ = timeout(GOODBYE, join_all(self.members)).await;
    }

    /// Connects all members, joins, and leads every room to where its script begins.
    async fn muster(&mut self) -> anyhow::Result<()> {
        let rooms = std::mem::take(&mut self.plan.rooms);
        let numbers = (self.numbers.0..).step_by(self.numbers.1);
        let opened = stream::iter(numbers.zip(rooms))
            .map(|(number, room)| open_room(&self.plan, &self.shared, number, room))
            .buffer_unordered(OPENING);
        let opened: Vec<_> = opened.collect().await;
        for room in opened {
            let (room, members) = room?;
            self.rooms.push(room);
            self.members.extend(members);
        }
        Ok(())
    }

    async fn run(&self, phase: &Phase) -> Account {
        let start = self.shared.now() + 20_000;
        let measured = start + phase.warmup.as_micros() as u64;
        let end = measured + phase.duration.as_micros() as u64;
        self.shared.begin((measured, end));
        let rooms: Rc<[_]> = self.rooms.clone().into();
        for (at, happening) in phase.happenings.clone() {
            let (rooms, shared) = (rooms.clone(), self.shared.clone());
            tokio::task::spawn_local(async move {
                sleep(at + Duration::from_millis(20)).await;
                happen(&rooms, &shared, happening);
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
            self.rooms[room].borrow_mut().begin(&self.shared, start + at);
        }
        let _ = thread.join();
        let over = Instant::now() + phase.drain;
        while Instant::now() < over {
            if self.shared.outstanding() == 0 && self.shared.quiet() > QUIET.as_micros() as u64 {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mut account = self.shared.account.take();
        account.unanswered = self.shared.outstanding();
        account
    }

    async fn verify(&self) -> Verdict {
        verify(self.rooms.iter().flat_map(|room| room.borrow().members().to_vec())).await
    }
}

/// A room and its members' tasks.
pub(crate) type Opened = (Rc<RefCell<Room>>, Vec<JoinHandle<()>>);

async fn open_room(plan: &Plan, shared: &Rc<Shared>, number: usize, fixture: FixtureRoom) -> anyhow::Result<Opened> {
    if plan.targets.iter().any(|target| target.dialect().is_some()) {
        return crowd::open_room(plan, shared, number, fixture).await;
    }
    let reader = plan.kind.map(Script::reader);
    let mut snapshot = None;
    let nodes: Rc<[Target]> = plan.targets.clone().into();
    let mut clients = Vec::new();
    let mut links = Vec::new();
    let mut speakers = Vec::new();
    let people = fixture.members.len();
    for (index, member) in iter::repeat_n(&fixture.members, plan.devices.max(1)).flatten().enumerate() {
        let node = node_of(plan.targets.len(), number, index);
        let mut client = Client::new(plan.targets[node], member.token.clone());
        // One of the members at most, so that somebody is left to speak.
        if index == 0 && shared.random.borrow_mut().random::<f64>() < plan.slow {
            client.narrow();
        } else {
            speakers.push(index);
        }
        let welcome = client.connect().await.context("a member cannot connect")?;
        client.join(fixture.room).await.context("a member cannot join its room")?;
        shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        while let Ok(Ok(heard)) = timeout(Duration::ZERO, client.next()).await {
            if reader == Some(index) && matches!(heard.brief, Brief::Joined { .. }) {
                snapshot = Some(heard.text);
            }
        }
        links.push(Link { nodes: nodes.clone(), node, silence: silence(&welcome), told: None });
        clients.push(client);
    }
    let mut script = None;
    if let Some(kind) = plan.kind {
        let text = snapshot.context("the room has no member from whom its script could begin")?;
        let ServerFrame::Joined { snapshot, .. } = serde_json::from_str(&text)? else { bail!("not a joined frame") };
        let mut begun = Script::new(kind, fixture.pharmacy, &snapshot, plan.bytes)?;
        while let Some((who, command)) = begun.prepare()? {
            match clients[who].command(fixture.room, command).await? {
                Answer::Done { .. } => drop(begun.done()),
                Answer::Refused(error) => bail!("a room cannot be prepared: {}", error.message),
            }
        }
        script = Some(begun);
    }
    let (senders, receivers): (Vec<_>, Vec<_>) = clients.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let room = Rc::new(RefCell::new(Room::new(fixture.room, script, senders.clone(), people, speakers)));
    let ends = senders.into_iter().zip(receivers);
    let members = clients.into_iter().zip(links).zip(ends).enumerate();
    let members = members
        .map(|(index, (client, ends))| Member::spawn(client, &room, (index, index % people), shared, ends))
        .collect();
    Ok((room, members))
}

pub(super) fn happen(rooms: &[Rc<RefCell<Room>>], shared: &Shared, happening: Happening) {
    for room in rooms {
        let mut room = room.borrow_mut();
        match happening {
            Happening::Cut { share, jitter } => {
                if shared.random.borrow_mut().random::<f64>() >= share {
                    continue;
                }
                room.cut();
                for member in room.members() {
                    let delay = shared.random.borrow_mut().random_range(Duration::ZERO..=jitter);
                    let _ = member.send(Do::Cut(delay));
                }
            }
            Happening::HalfOpen { share, time } => {
                for index in 0..room.members().len() {
                    if shared.random.borrow_mut().random::<f64>() < share && room.spare(index) {
                        let _ = room.members()[index].send(Do::Abandon(time));
                    }
                }
            }
            Happening::Stall | Happening::ReadOn => {
                for (index, member) in room.members().iter().enumerate() {
                    if !room.speakers().contains(&index) {
                        let stall = matches!(happening, Happening::Stall);
                        let _ = member.send(if stall { Do::Stall } else { Do::ReadOn });
                    }
                }
            }
        }
    }
}

/// Sleeps on a thread of its own: the runtime's timers have a grain of a millisecond.
struct Pacer {
    arrivals: Arrivals,
    random: StdRng,
    start: Instant,
    length: Duration,
    rooms: usize,
}

impl Pacer {
    /// Tells when each command is due, in microseconds from the start, and in which room. Ends with the schedule.
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
