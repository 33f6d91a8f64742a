//! One room under load: the command in flight, the commands that wait, and the acknowledged events.

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

/// How many sent commands a room remembers with their audience until their events arrive.
const MAX_TRACKED_COMMANDS: usize = 8;

/// How many events of a room may be in flight to its members.
const MAX_TRACKED_EVENTS: usize = 1024;

/// State shared by the rooms and members of one worker, which is one thread.
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
    /// The most copies of a command.
    pub copies: u8,
}

/// A command from the room to a member's task.
#[derive(Debug)]
pub enum MemberCommand {
    /// Sends a command, `copies` times.
    Send { id: CommandId, command: Command, copies: u8 },
    /// Sends it again, unless it has been answered.
    Resend(CommandId),
    /// Cuts the connection and reconnects after this time.
    Cut(Duration),
    /// Joins the room; before this, the member has no access.
    Join,
    /// Keeps the connection open without reading or answering, and reconnects on another one after this time.
    GoHalfOpen(Duration),
    /// Stops reading but keeps the connection.
    StopReading,
    /// Resumes reading.
    ResumeReading,
    /// Compares the received events with the hub's head and returns the result.
    Check(oneshot::Sender<CheckResult>),
    /// Closes the connection and ends the task.
    Leave,
}

/// A room and the tasks of its members.
pub type OpenedRoom = (Rc<RefCell<Room>>, Vec<JoinHandle<()>>);

/// Runs the delivery check of all members concurrently. A member whose task has ended counts as unreachable.
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
    /// The first and last event of each acknowledged command, and how many people see them.
    acked: Vec<(u64, u64, usize)>,
    /// The latest commands of a script whose audience varies, with that audience.
    recent: VecDeque<(CommandId, usize)>,
    /// The next step needs an id that no event has contained yet.
    awaits_id: bool,
    /// One sender for each device: the first device of each person, then the second of each, and so on.
    members: Vec<mpsc::UnboundedSender<MemberCommand>>,
    /// How many people the devices belong to.
    people: usize,
    /// The members that may send and whose latencies count: those without a connection fault.
    active_members: Vec<usize>,
    /// Events received by some of the members, and by how many.
    arriving: Vec<(u64, usize)>,
    /// Whether a fault has cut the room's connections.
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

    /// Returns the microseconds since the start of the run.
    pub fn now(&self) -> u64 {
        self.base.elapsed().as_micros() as u64
    }

    /// Returns the instant `at` microseconds after the start of the run.
    pub fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_micros(at)
    }

    /// Starts a phase whose measured time is `window`, in microseconds since the start of the run.
    pub fn begin_phase(&self, window: (u64, u64)) {
        self.phase.set(self.phase.get().wrapping_add(1));
        self.window.set(window);
        *self.result.borrow_mut() = PhaseResult::default();
    }

    fn is_measured(&self, at: u64) -> bool {
        let (from, to) = self.window.get();
        (from..to).contains(&at)
    }

    /// Returns the intended time of a command of this phase, if it lies within the measured time.
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

    /// Returns the microseconds since the last event.
    pub fn quiet_micros(&self) -> u64 {
        self.now().saturating_sub(self.last_event.get())
    }

    /// Records a new event at a member. Its latency `counts` unless a fault hit the connection.
    pub fn delivered(&self, id: Option<CommandId>, counts: bool) {
        let now = self.now();
        self.last_event.set(now);
        Gauges::increment(&self.gauges.delivered);
        let mut result = self.result.borrow_mut();
        result.delivered += u64::from(self.is_measured(now));
        if let Some(intended) = id.filter(|_| counts).and_then(|id| self.measured(id)) {
            result.delivery.record(now.saturating_sub(intended));
        }
    }

    /// Records the latency of a command that was intended within the measured time, in one of the histograms.
    fn record_latency(&self, id: Option<CommandId>, of: impl FnOnce(&mut PhaseResult) -> &mut Latency) {
        if let Some(intended) = id.and_then(|id| self.measured(id)) {
            of(&mut self.result.borrow_mut()).record(self.now().saturating_sub(intended));
        }
    }

    fn acked(&self, id: CommandId, counts: bool) {
        let now = self.now();
        Gauges::increment(&self.gauges.acked);
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
        active_members: Vec<usize>,
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
            active_members,
            arriving: Vec::new(),
            cut: false,
        }
    }

    pub fn members(&self) -> &[mpsc::UnboundedSender<MemberCommand>] {
        &self.members
    }

    pub fn active_members(&self) -> &[usize] {
        &self.active_members
    }

    /// Sends a command that is due, or queues it behind the one in flight.
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
        let Some((who, command)) = script.next(self.active_members.len(), &mut random) else {
            // The script has left its loop, so commands that are due cannot be sent any more.
            shared.outstanding.set(shared.outstanding.get().saturating_sub(1));
            return;
        };
        self.in_flight = script.is_sequential();
        let member = if self.in_flight { who } else { self.active_members[who] };
        let copies = if shared.copies > 1 { random.random_range(1..=shared.copies) } else { 1 };
        Gauges::increment(&shared.gauges.sent);
        let id = shared.next_id(intended);
        if self.in_flight {
            self.recent.push_back((id, script.audience()));
            if self.recent.len() > MAX_TRACKED_COMMANDS {
                self.recent.pop_front();
            }
        }
        // A member that gave up ignores the command, which then counts as unanswered.
        let _ = self.members[member].send(MemberCommand::Send { id, command, copies });
    }

    /// Records a command's first ack.
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

    /// Reads from an event the ids that later steps need.
    pub fn read_ids(&mut self, shared: &RunState, text: &str) {
        let Some(Script::Case(case)) = &mut self.script else { return };
        case.read_ids(text);
        if self.awaits_id && !case.awaits_id() {
            self.awaits_id = false;
            self.settle(shared);
        }
    }

    /// Returns whether all due commands have been answered.
    pub fn is_idle(&self) -> bool {
        !self.in_flight && self.overdue.is_empty()
    }

    /// Returns the case that this room plays, if it plays one.
    pub fn case_script(&self) -> Option<&CaseScript> {
        match &self.script {
            Some(Script::Case(case)) => Some(case),
            _ => None,
        }
    }

    /// Returns how many people, patient and doctor first, see the events of a command.
    fn audience(&self, id: Option<CommandId>) -> usize {
        let known = self.recent.iter().find(|(known, _)| Some(*known) == id);
        known.map_or_else(|| self.script.as_ref().map_or(0, Script::audience), |(_, audience)| *audience)
    }

    /// Records that a command was refused for good.
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

    /// Records the arrival of a new event at an active member. Times the first and the last arrival.
    pub fn event_arrived(&mut self, shared: &RunState, index: usize, seq: u64, id: Option<CommandId>) {
        let people = self.audience(id);
        if index % self.people >= people {
            return;
        }
        let audience = self.active_members.iter().filter(|member| *member % self.people < people).count();
        let at = self.arriving.iter().position(|(known, _)| *known == seq).unwrap_or_else(|| {
            shared.record_latency(id, |result| &mut result.first);
            // Events that some members never receive stay in the list, so it needs a bound.
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

    /// Excludes a member from sending and from the latencies, if the others can continue without it. Returns whether it
    /// did.
    pub fn exclude(&mut self, index: usize) -> bool {
        let needed = self.script.as_ref().is_some_and(|script| script.needs(index));
        let spared = !needed && self.active_members.len() > 1 && self.active_members.contains(&index);
        if spared {
            self.active_members.retain(|member| *member != index);
        }
        spared
    }

    /// Records that a fault cut the room's connections, which excludes its latencies.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Returns whether no fault hit this member's connection.
    pub fn is_undisturbed(&self, index: usize) -> bool {
        !self.cut && self.active_members.contains(&index)
    }

    /// Returns the `seq` of every acknowledged event that the member with this index must have received.
    pub fn acked_events_for(&self, member: usize) -> impl Iterator<Item = u64> {
        // A filtered view may rightly omit some of several events from one command.
        let certain = move |(first, last, audience): &(u64, u64, usize)| {
            member < *audience && (first == last || member < PHARMACIST)
        };
        self.acked.iter().copied().filter(certain).flat_map(|(first, last, _)| first..=last)
    }
}
