//! One room of the fleet: whose turn it is, what waits, what was acknowledged.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use tokio::sync::{mpsc, oneshot};

use crate::fleet::account::{Account, Gauges, Verdict};
use crate::fleet::day::course::Course;
use crate::fleet::script::{PHARMACIST, Script};
use crate::latency::Latency;
use crate::stamp::{Stamp, Stamps};

/// How many commands of one room may be played whose events are still on their way.
const PLAYED: usize = 8;

/// How many events may be on their way to the members of one room.
const ARRIVING: usize = 1024;

/// What the rooms and members of one worker share. A worker is one thread.
#[derive(Debug)]
pub struct Shared {
    base: Instant,
    pub stamps: Stamps,
    phase: Cell<u8>,
    window: Cell<(u64, u64)>,
    pub account: RefCell<Account>,
    pub gauges: Arc<Gauges>,
    outstanding: Cell<u64>,
    last_event: Cell<u64>,
    count: Cell<u32>,
    pub random: RefCell<StdRng>,
    /// How often a command is sent, at most.
    pub copies: u8,
}

/// What a member is told to do.
#[derive(Debug)]
pub enum Do {
    /// Send a command; `copies` times, if it is to be sent more than once.
    Say { id: CommandId, command: Command, copies: u8 },
    /// Send it again, if it has no answer yet.
    Again(CommandId),
    /// Cut the connection now, come back after this time.
    Cut(Duration),
    /// Join the room; only now may this member do so.
    Join,
    /// Leave the connection open without reading or answering, and come back on another one after this time.
    Abandon(Duration),
    /// Stop reading, keep the connection.
    Stall,
    /// Read on.
    ReadOn,
    /// Compare with the hub's head and account for everything.
    Verify(oneshot::Sender<Verdict>),
    /// Close the connection and end.
    Leave,
}

/// Has members compare what they have with the hub, all at once. One that is gone could not.
pub async fn verify(members: impl Iterator<Item = mpsc::UnboundedSender<Do>>) -> Verdict {
    let mut replies = Vec::new();
    for member in members {
        let (reply, verdict) = oneshot::channel();
        if member.send(Do::Verify(reply)).is_ok() {
            replies.push(verdict);
        }
    }
    let mut sum = Verdict::default();
    for verdict in join_all(replies).await {
        sum.merge(&verdict.unwrap_or(Verdict { readers: 1, unreachable: 1, ..Verdict::default() }));
    }
    sum
}

#[derive(Debug)]
pub struct Room {
    pub id: RoomId,
    script: Option<Script>,
    busy: bool,
    waiting: VecDeque<u64>,
    /// First and last event of each acknowledged command, and how many people see them.
    acked: Vec<(u64, u64, usize)>,
    /// The latest commands of a script whose steps are seen by different people, and by how many.
    played: VecDeque<(CommandId, usize)>,
    /// The next step waits for an id that an event has yet to tell.
    held: bool,
    /// One for each device: first one of each person, then the second of each, and so on.
    members: Vec<mpsc::UnboundedSender<Do>>,
    /// How many different people they are.
    people: usize,
    /// The members that may speak: all to whose connections nothing was done.
    speakers: Vec<usize>,
    /// Events that came to some of the members and not yet to all, and to how many.
    arriving: Vec<(u64, usize)>,
    /// Its connections were cut on purpose.
    cut: bool,
}

impl Shared {
    pub fn new(base: Instant, stamps: Stamps, gauges: Arc<Gauges>, random: StdRng, copies: u8, first: u32) -> Self {
        Self {
            base,
            stamps,
            phase: Cell::new(0),
            window: Cell::new((0, 0)),
            account: RefCell::default(),
            gauges,
            outstanding: Cell::new(0),
            last_event: Cell::new(0),
            count: Cell::new(first),
            random: RefCell::new(random),
            copies,
        }
    }

    /// Microseconds since the run began.
    pub fn now(&self) -> u64 {
        self.base.elapsed().as_micros() as u64
    }

    /// The instant that lies `at` microseconds after the run's begin.
    pub fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_micros(at)
    }

    /// Begins a phase whose measured part is `window`, in microseconds since the run began.
    pub fn begin(&self, window: (u64, u64)) {
        self.phase.set(self.phase.get().wrapping_add(1));
        self.window.set(window);
        *self.account.borrow_mut() = Account::default();
    }

    fn is_measured(&self, at: u64) -> bool {
        let (from, to) = self.window.get();
        (from..to).contains(&at)
    }

    /// The intended time of a command of this phase, if it lies in the measured part.
    fn measured(&self, id: CommandId) -> Option<u64> {
        let stamp = self.stamps.read(id)?;
        (stamp.phase == self.phase.get() && self.is_measured(stamp.intended)).then_some(stamp.intended)
    }

    fn fresh(&self, intended: u64) -> CommandId {
        self.count.set(self.count.get().wrapping_add(1));
        self.stamps.make(Stamp { phase: self.phase.get(), intended }, self.count.get())
    }

    pub fn outstanding(&self) -> u64 {
        self.outstanding.get()
    }

    /// How long no event has come, in microseconds.
    pub fn quiet(&self) -> u64 {
        self.now().saturating_sub(self.last_event.get())
    }

    /// A member got an event that it did not have. Its latency `counts` where nothing was done to the connection.
    pub fn delivered(&self, id: Option<CommandId>, counts: bool) {
        let now = self.now();
        self.last_event.set(now);
        Gauges::count(&self.gauges.delivered);
        let mut account = self.account.borrow_mut();
        account.delivered += u64::from(self.is_measured(now));
        if let Some(intended) = id.filter(|_| counts).and_then(|id| self.measured(id)) {
            account.delivery.record(now.saturating_sub(intended));
        }
    }

    /// Records, in one of the account's histograms, how long ago a command of the measured part was intended.
    fn timed(&self, id: Option<CommandId>, of: impl FnOnce(&mut Account) -> &mut Latency) {
        if let Some(intended) = id.and_then(|id| self.measured(id)) {
            of(&mut self.account.borrow_mut()).record(self.now().saturating_sub(intended));
        }
    }

    fn acked(&self, id: CommandId, counts: bool) {
        let now = self.now();
        Gauges::count(&self.gauges.acked);
        let mut account = self.account.borrow_mut();
        account.acked += u64::from(self.is_measured(now));
        if let Some(stamp) = self.stamps.read(id) {
            let latency = now.saturating_sub(stamp.intended);
            self.gauges.worst.fetch_max(latency, std::sync::atomic::Ordering::Relaxed);
            if counts && self.measured(id).is_some() {
                account.ack.record(latency);
            }
        }
    }
}

impl Room {
    pub fn new(
        id: RoomId,
        script: Option<Script>,
        members: Vec<mpsc::UnboundedSender<Do>>,
        people: usize,
        speakers: Vec<usize>,
    ) -> Self {
        Self {
            id,
            script,
            busy: false,
            waiting: VecDeque::new(),
            acked: Vec::new(),
            played: VecDeque::new(),
            held: false,
            members,
            people,
            speakers,
            arriving: Vec::new(),
            cut: false,
        }
    }

    pub fn members(&self) -> &[mpsc::UnboundedSender<Do>] {
        &self.members
    }

    pub fn speakers(&self) -> &[usize] {
        &self.speakers
    }

    /// A command is due.
    pub fn begin(&mut self, shared: &Shared, intended: u64) {
        shared.outstanding.set(shared.outstanding.get() + 1);
        {
            let mut account = shared.account.borrow_mut();
            if shared.is_measured(intended) {
                account.sent += 1;
                account.lag.record(shared.now().saturating_sub(intended));
            }
        }
        if self.busy {
            self.waiting.push_back(intended);
        } else {
            self.play(shared, intended);
        }
    }

    fn play(&mut self, shared: &Shared, intended: u64) {
        let Some(script) = &self.script else { return };
        let mut random = shared.random.borrow_mut();
        let Some((who, command)) = script.next(self.speakers.len(), &mut random) else {
            // The room has left the loop; what is due in it cannot be done any more.
            shared.outstanding.set(shared.outstanding.get().saturating_sub(1));
            return;
        };
        self.busy = script.is_sequential();
        let member = if self.busy { who } else { self.speakers[who] };
        let copies = if shared.copies > 1 { random.random_range(1..=shared.copies) } else { 1 };
        Gauges::count(&shared.gauges.sent);
        let id = shared.fresh(intended);
        if self.busy {
            self.played.push_back((id, script.audience()));
            if self.played.len() > PLAYED {
                self.played.pop_front();
            }
        }
        // A member that has given up takes nothing more; its commands count as unanswered.
        let _ = self.members[member].send(Do::Say { id, command, copies });
    }

    /// A command's first ack.
    pub fn acked(&mut self, shared: &Shared, id: CommandId, first: u64, last: u64) {
        shared.acked(id, !self.cut);
        self.acked.push((first, last, self.audience(Some(id))));
        let Some(script) = &mut self.script else { return };
        if let Some(member) = script.done().and_then(|who| self.members.get(who)) {
            let _ = member.send(Do::Join);
        }
        self.held = matches!(script, Script::Case(course) if course.lacks());
        if !self.held {
            self.settle(shared);
        }
    }

    /// An event that may tell an id that later steps need.
    pub fn learn(&mut self, shared: &Shared, text: &str) {
        let Some(Script::Case(course)) = &mut self.script else { return };
        course.learn(text);
        if self.held && !course.lacks() {
            self.held = false;
            self.settle(shared);
        }
    }

    /// Whether every step that was due is over.
    pub fn is_idle(&self) -> bool {
        !self.busy && self.waiting.is_empty()
    }

    /// The case that is played here, if it is one.
    pub fn course(&self) -> Option<&Course> {
        match &self.script {
            Some(Script::Case(course)) => Some(course),
            _ => None,
        }
    }

    /// How many of the people, patient and doctor first, see what came of a command.
    fn audience(&self, id: Option<CommandId>) -> usize {
        let known = self.played.iter().find(|(known, _)| Some(*known) == id);
        known.map_or_else(|| self.script.as_ref().map_or(0, Script::audience), |(_, audience)| *audience)
    }

    /// A command was refused for good.
    pub fn refused(&mut self, shared: &Shared, state: Option<&str>) {
        if let Some(script) = &mut self.script {
            script.refused(state);
        }
        self.settle(shared);
    }

    fn settle(&mut self, shared: &Shared) {
        shared.outstanding.set(shared.outstanding.get().saturating_sub(1));
        self.busy = false;
        while !self.busy
            && let Some(intended) = self.waiting.pop_front()
        {
            self.play(shared, intended);
        }
    }

    /// An event is new to a member to whose connection nothing was done: the first and the last of these are timed.
    pub fn reached(&mut self, shared: &Shared, index: usize, seq: u64, id: Option<CommandId>) {
        let people = self.audience(id);
        if index % self.people >= people {
            return;
        }
        let audience = self.speakers.iter().filter(|speaker| *speaker % self.people < people).count();
        let at = self.arriving.iter().position(|(known, _)| *known == seq).unwrap_or_else(|| {
            shared.timed(id, |account| &mut account.first);
            // What some never get stays in the list, and must not fill it.
            if self.arriving.len() >= ARRIVING {
                self.arriving.remove(0);
            }
            self.arriving.push((seq, 0));
            self.arriving.len() - 1
        });
        self.arriving[at].1 += 1;
        if self.arriving[at].1 >= audience {
            self.arriving.swap_remove(at);
            shared.timed(id, |account| &mut account.last);
        }
    }

    /// Takes a member out of those who speak and whose latencies count, if the others can go on without it. False
    /// otherwise.
    pub fn spare(&mut self, index: usize) -> bool {
        let needed = self.script.as_ref().is_some_and(|script| script.needs(index));
        let spared = !needed && self.speakers.len() > 1 && self.speakers.contains(&index);
        if spared {
            self.speakers.retain(|speaker| *speaker != index);
        }
        spared
    }

    /// The room's connections are cut: from now on its latencies say nothing about the others.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Whether nothing was done to the connection of this member.
    pub fn is_undisturbed(&self, index: usize) -> bool {
        !self.cut && self.speakers.contains(&index)
    }

    /// The `seq` of every acknowledged event that the member at this place must have seen.
    pub fn owed_to(&self, member: usize) -> impl Iterator<Item = u64> {
        // Of several events from one command, a filtered view may rightly lack some.
        let certain = move |(first, last, audience): &(u64, u64, usize)| {
            member < *audience && (first == last || member < PHARMACIST)
        };
        self.acked.iter().copied().filter(certain).flat_map(|(first, last, _)| first..=last)
    }
}
