//! A clinic's day: consultations that follow an arrival curve, each a whole case from the booking to the medicine.
//!
//! Every case opens its own room over REST, with its own connections for patient, doctor, pharmacist, and courier. Its
//! steps are scheduled in advance, like all load here. A step that the hub delays makes later ones late, and their
//! latencies still count from the scheduled time.

pub mod arrival_curve;
mod booking;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rooms::id::RoomId;
use rooms::text::{Line, Prose};
use rooms::wire::server::ServerFrame;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet, LocalSet};
use tokio::time::{sleep, sleep_until, timeout};

use self::arrival_curve::CaseArrivals;
use self::booking::book;
use crate::client::Client;
use crate::fixture::{FixtureMember, FixtureRoom};
use crate::fleet::member::{Link, Member, silence};
use crate::frame::FrameSummary;
use crate::latency::{Latency, LatencySummary};
use crate::load::case_script::CaseScript;
use crate::load::connection_faults::apply_fault;
use crate::load::members::{DOCTOR, PATIENT, PHARMACIST};
use crate::load::plan::ConnectionFault;
use crate::load::results::{CheckResult, Gauges, PhaseResult};
use crate::load::room::{MemberCommand, Room, RunState, check_all};
use crate::load::script::{Script, filler};
use crate::send_time::SendTimeIds;
use crate::target::{Target, node_of};

/// Time limit for the last steps of a case after they were due.
const CASE_DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the last step's events may take after its ack.
const SETTLE_PERIOD: Duration = Duration::from_millis(500);
/// Interval at which a case checks whether its steps are over.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How many distinct failure reasons a report keeps.
const MAX_REASONS: usize = 10;

/// The participants, and the shape of a case.
#[derive(Clone, Debug)]
pub struct DayPlan {
    pub targets: Vec<Target>,
    /// The people who take part, in turn. Cases open their own rooms and do not use these.
    pub people: Vec<FixtureRoom>,
    /// Threads of the generator.
    pub workers: usize,
    /// How long a case lasts, from the booking to its last step.
    pub length: Duration,
    /// Messages in a case.
    pub messages: usize,
    /// The length of a message, 1 to 4000.
    pub bytes: usize,
    /// Seed of all random choices.
    pub seed: u64,
}

/// The result of the cases. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DayReport {
    pub cases: u64,
    pub done: u64,
    /// Cases that could not be opened, with a refused step, or with steps that did not end in time.
    pub failed: u64,
    /// Distinct failure reasons.
    pub reasons: Vec<String>,
    /// The peak number of simultaneous cases.
    pub at_once: u64,
    /// From the time the patient should have booked to the room's id.
    pub booking: LatencySummary,
    /// Steps of a case with delivery.
    pub steps: usize,
}

/// The result of one part of a day.
#[derive(Debug, Default)]
pub struct DayResult {
    pub phase: PhaseResult,
    pub check: CheckResult,
    pub day: DayReport,
    booking: Latency,
    now: u64,
}

/// A part of a day, and when its cases begin.
#[derive(Clone, Copy, Debug)]
pub enum DayPart {
    /// The hours between two times of the day, by its curve: `cases` in the whole day, `compress` times as fast as the
    /// clock.
    Day { cases: f64, compress: f64, hours: (f64, f64) },
    /// A constant rate a second, for a fixed time. The first case length is warm-up.
    ConstantRate { rate: f64, time: Duration },
}

impl DayPart {
    fn arrivals(self, warmup: Duration, share: f64) -> CaseArrivals {
        match self {
            Self::Day { cases, compress, hours } => CaseArrivals::day(cases * share, compress, hours),
            Self::ConstantRate { rate, time } => {
                CaseArrivals::constant_rate(rate * share, (warmup + time).as_secs_f64())
            }
        }
    }

    /// Returns the warm-up and the measured time for cases of this length.
    pub fn window(self, length: Duration) -> (Duration, Duration) {
        match self {
            Self::Day { .. } => (Duration::ZERO, self.arrivals(Duration::ZERO, 1.0).length() + length),
            Self::ConstantRate { time, .. } => (length, time),
        }
    }
}

impl DayPlan {
    /// Returns the number of steps of a case.
    pub fn steps(&self) -> anyhow::Result<usize> {
        let room = self.people.first().context("the fixture has no rooms: seed again")?;
        Ok(self.case_script(room, true, Line::parse("-").context("a dash is a line")?)?.len())
    }

    fn case_script(&self, room: &FixtureRoom, delivered: bool, consent: Line) -> anyhow::Result<CaseScript> {
        let body = Prose::parse(&filler(self.bytes)).ok().context("a message has 1 to 4000 bytes")?;
        let courier = room.courier.as_ref().filter(|_| delivered).map(|courier| courier.user);
        Ok(CaseScript::new(room.pharmacy, courier, consent, body, self.messages))
    }
}

/// One worker's share of the day.
struct DayWorker {
    plan: DayPlan,
    nodes: Rc<[Target]>,
    shared: Rc<RunState>,
    /// The rooms of the running cases.
    rooms: RefCell<Vec<Rc<RefCell<Room>>>>,
    result: RefCell<DayResult>,
}

/// Runs a part of a day.
pub fn play(
    plan: &DayPlan,
    part: DayPart,
    connection_faults: &[(Duration, ConnectionFault)],
    gauges: &Arc<Gauges>,
) -> anyhow::Result<DayResult> {
    anyhow::ensure!(!plan.targets.is_empty() && !plan.people.is_empty(), "set --target, and use a fixture with rooms");
    let (base, workers) = (Instant::now(), plan.workers.max(1));
    let ids = SendTimeIds::new(rand::rng().random());
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut threads = Vec::new();
    for worker in 0..workers {
        let (plan, gauges, connection_faults) = (plan.clone(), gauges.clone(), connection_faults.to_vec());
        let own = StdRng::seed_from_u64(random.random());
        let first = (u32::MAX / 4 / workers as u32) * worker as u32;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name(format!("day-{worker}")).spawn(move || {
            let shared = Rc::new(RunState::new(base, ids, gauges, own, 1, first));
            let nodes = plan.targets.clone().into();
            let (rooms, result) = (RefCell::default(), RefCell::default());
            let day = Rc::new(DayWorker { plan, nodes, shared, rooms, result });
            LocalSet::new().block_on(&runtime, work(&day, part, connection_faults, (worker, workers)));
            day.result.take()
        })?;
        threads.push(thread);
    }
    let mut sum = DayResult::default();
    for thread in threads {
        sum.merge(thread.join().ok().context("a worker thread panicked")?);
    }
    sum.day.booking = sum.booking.summary();
    sum.day.steps = plan.steps()?;
    Ok(sum)
}

impl DayResult {
    fn merge(&mut self, other: Self) {
        self.phase.merge(&other.phase);
        self.check.merge(&other.check);
        self.booking.merge(&other.booking);
        let (day, more) = (&mut self.day, other.day);
        day.cases += more.cases;
        day.done += more.done;
        day.failed += more.failed;
        // The workers' peaks need not coincide, so this is an upper bound.
        day.at_once += more.at_once;
        for reason in more.reasons {
            day.add_reason(reason);
        }
    }
}

impl DayReport {
    fn add_reason(&mut self, reason: String) {
        if self.reasons.len() < MAX_REASONS && !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }
}

async fn work(
    day: &Rc<DayWorker>,
    part: DayPart,
    connection_faults: Vec<(Duration, ConnectionFault)>,
    (worker, workers): (usize, usize),
) {
    let shared = &day.shared;
    let (warmup, measured) = part.window(day.plan.length);
    let start = shared.now();
    let from = start + warmup.as_micros() as u64;
    shared.begin_phase((from, from + measured.as_micros() as u64));
    for (at, fault) in connection_faults {
        let day = day.clone();
        tokio::task::spawn_local(async move {
            sleep(at).await;
            apply_fault(&day.rooms.borrow(), &day.shared, fault);
        });
    }
    let mut random = StdRng::seed_from_u64(shared.random.borrow_mut().random());
    let mut arrivals = part.arrivals(warmup, 1.0 / workers as f64);
    let mut cases = JoinSet::new();
    for number in (worker..).step_by(workers) {
        let Some(at) = arrivals.next(&mut random) else { break };
        let intended = start + at.as_micros() as u64;
        sleep_until(shared.instant(intended).into()).await;
        let day = day.clone();
        cases.spawn_local(async move { day.case(number, intended).await });
        while cases.try_join_next().is_some() {}
    }
    while cases.join_next().await.is_some() {}
    let mut result = day.result.borrow_mut();
    result.phase = shared.result.take();
    result.phase.unanswered = shared.outstanding();
}

impl DayWorker {
    async fn case(&self, number: usize, intended: u64) {
        {
            let mut result = self.result.borrow_mut();
            result.day.cases += 1;
            result.now += 1;
            result.day.at_once = result.day.at_once.max(result.now);
        }
        let outcome = self.play_case(number, intended).await;
        let mut result = self.result.borrow_mut();
        result.now -= 1;
        match outcome {
            Ok(()) => result.day.done += 1,
            Err(reason) => {
                result.day.failed += 1;
                result.day.add_reason(format!("{reason:#}"));
            }
        }
    }

    /// Runs one case from the booking to its last step.
    async fn play_case(&self, number: usize, intended: u64) -> anyhow::Result<()> {
        let shared = &self.shared;
        let people = &self.plan.people[number % self.plan.people.len()];
        let [patient, doctor, pharmacist] = people.members.as_slice() else {
            anyhow::bail!("a room of the fixture has fewer than three members: seed again");
        };
        let first = node_of(self.nodes.len(), number, PATIENT);
        let id = book(&self.nodes, first, &patient.token, doctor.user).await.map_err(anyhow::Error::msg)?;
        self.result.borrow_mut().booking.record(shared.now().saturating_sub(intended));

        let delivered = number.is_multiple_of(2);
        let courier = people.courier.as_ref().filter(|_| delivered);
        let who: Vec<_> = [patient, doctor, pharmacist].into_iter().chain(courier).collect();
        let opened = who.iter().enumerate().map(|(person, member)| self.open(number, person, member));
        let mut clients = Vec::new();
        for opened in join_all(opened).await {
            clients.push(opened?);
        }
        let consent = consent(&mut clients[PATIENT].0, id).await?;
        clients[DOCTOR].0.request_join(id);
        let case_script = self.plan.case_script(people, delivered, consent)?;
        let steps = case_script.len();
        let (senders, receivers): (Vec<_>, Vec<_>) = clients.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let active_members = (0..clients.len()).collect();
        let room = Room::new(id, Some(Script::Case(case_script)), senders.clone(), clients.len(), active_members);
        let room = Rc::new(RefCell::new(room));
        self.rooms.borrow_mut().push(room.clone());
        let ends = senders.iter().cloned().zip(receivers);
        let members: Vec<_> = clients.into_iter().zip(ends).enumerate().collect();
        let members = members
            .into_iter()
            .map(|(person, (client, ends))| Member::spawn(client, &room, (person, person), shared, ends));
        let members: Vec<_> = members.collect();

        let gap = self.plan.length.as_micros() as u64 / (steps as u64 + 1);
        for step in 1..=steps as u64 {
            let due = intended + step * gap;
            sleep_until(shared.instant(due).into()).await;
            if room.borrow().case_script().is_none_or(CaseScript::is_over) {
                break;
            }
            room.borrow_mut().command_due(shared, due);
        }
        let outcome = self.finish(&room, &senders, members).await;
        self.rooms.borrow_mut().retain(|known| !Rc::ptr_eq(known, &room));
        outcome
    }

    /// Connects one person, on the first node that answers.
    async fn open(&self, number: usize, person: usize, member: &FixtureMember) -> anyhow::Result<(Client, Link)> {
        let mut node = node_of(self.nodes.len(), number, person);
        let mut client = Client::new(self.nodes[node], member.token.clone());
        let over = Instant::now() + CASE_DRAIN_TIMEOUT;
        loop {
            match client.connect().await {
                Ok(welcome) => {
                    self.shared.gauges.connected.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let nodes = self.nodes.clone();
                    return Ok((client, Link { nodes, node, silence: silence(&welcome), retry_after: None }));
                }
                Err(error) if Instant::now() > over => return Err(error).context("cannot connect a member"),
                Err(_) => {
                    self.shared.result.borrow_mut().failed_opens += 1;
                    sleep(POLL_INTERVAL * 5).await;
                    node = (node + 1) % self.nodes.len();
                    client.retarget(self.nodes[node]);
                }
            }
        }
    }

    /// Waits for the last steps, compares every reader with the hub, and closes the connections.
    async fn finish(
        &self,
        room: &Rc<RefCell<Room>>,
        members: &[mpsc::UnboundedSender<MemberCommand>],
        tasks: Vec<JoinHandle<()>>,
    ) -> anyhow::Result<()> {
        let over = Instant::now() + CASE_DRAIN_TIMEOUT;
        while !room.borrow().is_idle() && Instant::now() < over {
            sleep(POLL_INTERVAL).await;
        }
        sleep(SETTLE_PERIOD).await;
        let done = room.borrow().case_script().is_some_and(CaseScript::is_done);
        // In an aborted case, later members may not be in the room. If a step is in flight, nothing is compared.
        let readers = match (done, room.borrow().is_idle()) {
            (true, _) => members,
            (false, true) => &members[..PHARMACIST],
            (false, false) => &[],
        };
        let sum = check_all(readers.iter().cloned()).await;
        self.result.borrow_mut().check.merge(&sum);
        for member in members {
            let _ = member.send(MemberCommand::Leave);
        }
        let _ = timeout(CASE_DRAIN_TIMEOUT, join_all(tasks)).await;
        let gone = members.len() as i64 - sum.unreachable as i64;
        self.shared.gauges.connected.fetch_sub(gone, std::sync::atomic::Ordering::Relaxed);
        let case_script = room.borrow().case_script().map(|case_script| (case_script.is_failed(), case_script.name()));
        match case_script {
            _ if done => Ok(()),
            Some((true, step)) => anyhow::bail!("the step {step} was refused"),
            Some((false, step)) => anyhow::bail!("the step {step} timed out"),
            None => anyhow::bail!("the room has no case"),
        }
    }
}

/// Joins the room as its patient and returns the consent version that the hub requires.
async fn consent(client: &mut Client, room: RoomId) -> anyhow::Result<Line> {
    client.join(room).await.context("the patient cannot join the room")?;
    while let Ok(Ok(received)) = timeout(Duration::ZERO, client.next()).await {
        if matches!(received.summary, FrameSummary::Joined { .. }) {
            let ServerFrame::Joined { snapshot, .. } = serde_json::from_str(&received.text)? else { break };
            return Ok(snapshot.consultation.context("a patient sees the consultation")?.consent.as_str().parse()?);
        }
    }
    anyhow::bail!("the hub sent no snapshot")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_part_returns_its_warm_up_and_measured_time() {
        let length = Duration::from_secs(50);
        let day = DayPart::Day { cases: 100_000.0, compress: 24.0, hours: (8.0, 10.0) };
        assert_eq!(day.window(length), (Duration::ZERO, Duration::from_secs(350)));
        let peak = DayPart::ConstantRate { rate: 19.3, time: Duration::from_secs(30) };
        assert_eq!(peak.window(length), (length, Duration::from_secs(30)));
        assert_eq!(peak.arrivals(length, 0.5).length(), Duration::from_secs(80));
    }
}
