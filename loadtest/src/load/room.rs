//! One room of the fleet: whose turn it is, what waits, what was acknowledged.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::Rng;
use rand::rngs::StdRng;
use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::latency::Latency;
use crate::load::case_script::CaseScript;
use crate::load::members::PHARMACIST;
use crate::load::results::{CheckResult, Gauges, PhaseResult};
use crate::load::script::Script;
use crate::send_time::{SendTime, SendTimeIds};

/// How many commands of one room may be recent whose events are still on their way.
const MAX_TRACKED_COMMANDS: usize = 8;

/// How many events may be on their way to the members of one room.
const MAX_TRACKED_EVENTS: usize = 1024;

/// What the rooms and members of one worker share. A worker is one thread.
#[derive(Debug)]
pub struct RunState {
    base: Instant,
    pub ids: SendTimeIds,
    phase: Cell<u8>,
    window: Cell<(u64, u64)>,
    pub result: RefCell<PhaseResult>,
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
pub enum MemberCommand {
    /// Send a command; `copies` times, if it is to be sent more than once.
    Send { id: CommandId, command: Command, copies: u8 },
    /// Send it again, if it has no answer yet.
    Resend(CommandId),
    /// Cut the connection now, come back after this time.
    Cut(Duration),
    /// Join the room; only now may this member do so.
    Join,
    /// Leave the connection open without reading or answering, and come back on another one after this time.
    GoHalfOpen(Duration),
    /// Stop reading, keep the connection.
    StopReading,
    /// Read on.
    ResumeReading,
    /// Compare with the hub's head and result for everything.
    Check(oneshot::Sender<CheckResult>),
    /// Close the connection and end.
    Leave,
}

/// A room and the tasks of its members.
pub type OpenedRoom = (Rc<RefCell<Room>>, Vec<JoinHandle<()>>);

/// Has members compare what they have with the hub, all at once. One that is gone could not.
pub async fn check_all(members: impl Iterator<Item = mpsc::UnboundedSender<MemberCommand>>) -> CheckResult {
    let mut replies = Vec::new();
    for member in members {
        let (reply, result) = oneshot::channel();
        if member.send(MemberCommand::Check(reply)).is_ok() {
            replies.push(result);
        }
    }
    let mut sum = CheckResult::default();
    for result in join_all(replies).await {
        sum.merge(&result.unwrap_or(CheckResult { readers: 1, unreachable: 1, ..CheckResult::default() }));
    }
    sum
}

#[derive(Debug)]
pub struct Room {
    pub id: RoomId,
    script: Option<Script>,
    in_flight: bool,
    overdue: VecDeque<u64>,
    /// First and last event of each acknowledged command, and how many people see them.
    acked: Vec<(u64, u64, usize)>,
    /// The latest commands of a script whose steps are seen by different people, and by how many.
    recent: VecDeque<(CommandId, usize)>,
    /// The next step waits for an id that an event has yet to tell.
    awaits_id: bool,
    /// One for each device: first one of each person, then the second of each, and so on.
    members: Vec<mpsc::UnboundedSender<MemberCommand>>,
    /// How many different people they are.
    people: usize,
    /// The members that may speak: all to whose connections nothing was done.
    speakers: Vec<usize>,
    /// Events that came to some of the members and not yet to all, and to how many.
    arriving: Vec<(u64, usize)>,
    /// Its connections were cut on purpose.
    cut: bool,
}

impl RunState {
    pub fn new(base: Instant, ids: SendTimeIds, gauges: Arc<Gauges>, random: StdRng, copies: u8, first: u32) -> Self {
        Self {
            base,
            ids,
            phase: Cell::new(0),
            window: Cell::new((0, 0)),
            result: RefCell::default(),
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
    pub fn begin_phase(&self, window: (u64, u64)) {
        self.phase.set(self.phase.get().wrapping_add(1));
        self.window.set(window);
        *self.result.borrow_mut() = PhaseResult::default();
    }

    fn is_measured(&self, at: u64) -> bool {
        let (from, to) = self.window.get();
        (from..to).contains(&at)
    }

    /// The intended time of a command of this phase, if it lies in the measured part.
    fn measured(&self, id: CommandId) -> Option<u64> {
        let send_time = self.ids.decode(id)?;
        (send_time.phase == self.phase.get() && self.is_measured(send_time.intended)).then_some(send_time.intended)
    }

    fn next_id(&self, intended: u64) -> CommandId {
        self.count.set(self.count.get().wrapping_add(1));
        self.ids.encode(SendTime { phase: self.phase.get(), intended }, self.count.get())
    }

    pub fn outstanding(&self) -> u64 {
        self.outstanding.get()
    }

    /// How long no event has come, in microseconds.
    pub fn quiet_micros(&self) -> u64 {
        self.now().saturating_sub(self.last_event.get())
    }

    /// A member got an event that it did not have. Its latency `counts` where nothing was done to the connection.
    pub fn delivered(&self, id: Option<CommandId>, counts: bool) {
        let now = self.now();
        self.last_event.set(now);
        Gauges::count(&self.gauges.delivered);
        let mut result = self.result.borrow_mut();
        result.delivered += u64::from(self.is_measured(now));
        if let Some(intended) = id.filter(|_| counts).and_then(|id| self.measured(id)) {
            result.delivery.record(now.saturating_sub(intended));
        }
    }

    /// Records, in one of the result's histograms, how long ago a command of the measured part was intended.
    fn record_latency(&self, id: Option<CommandId>, of: impl FnOnce(&mut PhaseResult) -> &mut Latency) {
        if let Some(intended) = id.and_then(|id| self.measured(id)) {
            of(&mut self.result.borrow_mut()).record(self.now().saturating_sub(intended));
        }
    }

    fn acked(&self, id: CommandId, counts: bool) {
        let now = self.now();
        Gauges::count(&self.gauges.acked);
        let mut result = self.result.borrow_mut();
        result.acked += u64::from(self.is_measured(now));
        if let Some(send_time) = self.ids.decode(id) {
            let latency = now.saturating_sub(send_time.intended);
            self.gauges.slowest_ack_micros.fetch_max(latency, std::sync::atomic::Ordering::Relaxed);
            if counts && self.measured(id).is_some() {
                result.ack.record(latency);
            }
        }
    }
}

impl Room {
    pub fn new(
        id: RoomId,
        script: Option<Script>,
        members: Vec<mpsc::UnboundedSender<MemberCommand>>,
        people: usize,
        speakers: Vec<usize>,
    ) -> Self {
        Self {
            id,
            script,
            in_flight: false,
            overdue: VecDeque::new(),
            acked: Vec::new(),
            recent: VecDeque::new(),
            awaits_id: false,
            members,
            people,
            speakers,
            arriving: Vec::new(),
            cut: false,
        }
    }

    pub fn members(&self) -> &[mpsc::UnboundedSender<MemberCommand>] {
        &self.members
    }

    pub fn speakers(&self) -> &[usize] {
        &self.speakers
    }

    /// A command is due.
    pub fn command_due(&mut self, shared: &RunState, intended: u64) {
        shared.outstanding.set(shared.outstanding.get() + 1);
        {
            let mut result = shared.result.borrow_mut();
            if shared.is_measured(intended) {
                result.sent += 1;
                result.lag.record(shared.now().saturating_sub(intended));
            }
        }
        if self.in_flight {
            self.overdue.push_back(intended);
        } else {
            self.send_next(shared, intended);
        }
    }

    fn send_next(&mut self, shared: &RunState, intended: u64) {
        let Some(script) = &self.script else { return };
        let mut random = shared.random.borrow_mut();
        let Some((who, command)) = script.next(self.speakers.len(), &mut random) else {
            // The room has left the loop; what is due in it cannot be done any more.
            shared.outstanding.set(shared.outstanding.get().saturating_sub(1));
            return;
        };
        self.in_flight = script.is_sequential();
        let member = if self.in_flight { who } else { self.speakers[who] };
        let copies = if shared.copies > 1 { random.random_range(1..=shared.copies) } else { 1 };
        Gauges::count(&shared.gauges.sent);
        let id = shared.next_id(intended);
        if self.in_flight {
            self.recent.push_back((id, script.audience()));
            if self.recent.len() > MAX_TRACKED_COMMANDS {
                self.recent.pop_front();
            }
        }
        // A member that has given up takes nothing more; its commands count as unanswered.
        let _ = self.members[member].send(MemberCommand::Send { id, command, copies });
    }

    /// A command's first ack.
    pub fn acked(&mut self, shared: &RunState, id: CommandId, first: u64, last: u64) {
        shared.acked(id, !self.cut);
        self.acked.push((first, last, self.audience(Some(id))));
        let Some(script) = &mut self.script else { return };
        if let Some(member) = script.step_done().and_then(|who| self.members.get(who)) {
            let _ = member.send(MemberCommand::Join);
        }
        self.awaits_id = matches!(script, Script::Case(case) if case.awaits_id());
        if !self.awaits_id {
            self.settle(shared);
        }
    }

    /// An event that may tell an id that later steps need.
    pub fn read_ids(&mut self, shared: &RunState, text: &str) {
        let Some(Script::Case(case)) = &mut self.script else { return };
        case.read_ids(text);
        if self.awaits_id && !case.awaits_id() {
            self.awaits_id = false;
            self.settle(shared);
        }
    }

    /// Whether every step that was due is over.
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.overdue.is_empty()
    }

    /// The case that is recent here, if it is one.
    pub fn case_script(&self) -> Option<&CaseScript> {
        match &self.script {
            Some(Script::Case(case)) => Some(case),
            _ => None,
        }
    }

    /// How many of the people, patient and doctor first, see what came of a command.
    fn audience(&self, id: Option<CommandId>) -> usize {
        let known = self.recent.iter().find(|(known, _)| Some(*known) == id);
        known.map_or_else(|| self.script.as_ref().map_or(0, Script::audience), |(_, audience)| *audience)
    }

    /// A command was refused for good.
    pub fn refused(&mut self, shared: &RunState, state: Option<&str>) {
        if let Some(script) = &mut self.script {
            script.step_refused(state);
        }
        self.settle(shared);
    }

    fn settle(&mut self, shared: &RunState) {
        shared.outstanding.set(shared.outstanding.get().saturating_sub(1));
        self.in_flight = false;
        while !self.in_flight
            && let Some(intended) = self.overdue.pop_front()
        {
            self.send_next(shared, intended);
        }
    }

    /// An event is new to a member to whose connection nothing was done: the first and the last of these are timed.
    pub fn event_arrived(&mut self, shared: &RunState, index: usize, seq: u64, id: Option<CommandId>) {
        let people = self.audience(id);
        if index % self.people >= people {
            return;
        }
        let audience = self.speakers.iter().filter(|speaker| *speaker % self.people < people).count();
        let at = self.arriving.iter().position(|(known, _)| *known == seq).unwrap_or_else(|| {
            shared.record_latency(id, |result| &mut result.first);
            // What some never get stays in the list, and must not fill it.
            if self.arriving.len() >= MAX_TRACKED_EVENTS {
                self.arriving.remove(0);
            }
            self.arriving.push((seq, 0));
            self.arriving.len() - 1
        });
        self.arriving[at].1 += 1;
        if self.arriving[at].1 >= audience {
            self.arriving.swap_remove(at);
            shared.record_latency(id, |result| &mut result.last);
        }
    }

    /// Takes a member out of those who speak and whose latencies count, if the others can go on without it. False
    /// otherwise.
    pub fn exclude(&mut self, index: usize) -> bool {
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
    pub fn acked_events_for(&self, member: usize) -> impl Iterator<Item = u64> {
        // Of several events from one command, a filtered view may rightly lack some.
        let certain = move |(first, last, audience): &(u64, u64, usize)| {
            member < *audience && (first == last || member < PHARMACIST)
        };
        self.acked.iter().copied().filter(certain).flat_map(|(first, last, _)| first..=last)
    }
}
