//! Calls at a rate: doctor and patient of a room find each other through the hub, over and over.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rooms::media::Media;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::arrivals::{Arrivals, Spacing};
use crate::client::Client;
use crate::fixture::FixtureRoom;
use crate::latency::{Latency, Summary};
use crate::peer::{Peer, PeerError, Progress, Relayed};
use crate::target::{Target, node_of};

/// How long a call may take to come about.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long before its call a pair connects.
const AHEAD: Duration = Duration::from_secs(3);
/// What counts as media: half a second of sound.
const ENOUGH: u64 = 25;

/// What is played.
#[derive(Debug)]
pub struct Plan {
    /// The nodes; the two of a call are on different ones.
    pub targets: Vec<Target>,
    /// A call at a time in each.
    pub rooms: Vec<FixtureRoom>,
    pub per_minute: f64,
    pub spacing: Spacing,
    pub duration: Duration,
    /// How long a call lasts once media flows.
    pub hold: Duration,
    pub seed: u64,
    pub quiet: bool,
}

/// What came of it. Times in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CallsReport {
    pub calls: usize,
    pub failed: usize,
    /// Why, each once.
    pub reasons: Vec<String>,
    /// From the time the doctor should have rung to media on both sides.
    pub setup: Summary,
    /// From an offer, answer or candidate at one side to its arrival at the other.
    pub signal: Summary,
    /// The greatest number of calls at once.
    pub at_once: usize,
}

#[derive(Default)]
struct Account {
    report: CallsReport,
    setup: Latency,
    now: usize,
}

/// Plays the plan to its end. The two of a call are connected and in their room before it is due.
pub async fn play(plan: Plan) -> anyhow::Result<CallsReport> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut arrivals = Arrivals::new(plan.spacing, plan.per_minute / 60.0);
    let times: Vec<Duration> =
        std::iter::repeat_with(|| arrivals.next(&mut random)).take_while(|at| *at < plan.duration).collect();
    anyhow::ensure!(
        times.len() <= plan.rooms.len(),
        "{} calls need as many rooms, and the fixture has {}: seed more",
        times.len(),
        plan.rooms.len()
    );
    let (account, relayed) = (Arc::new(Mutex::new(Account::default())), Relayed::default());
    let start = Instant::now() + AHEAD;
    let mut calls = JoinSet::new();
    for (number, (at, room)) in times.into_iter().zip(plan.rooms.clone()).enumerate() {
        tokio::time::sleep_until((start + at - AHEAD).into()).await;
        let (of_call, relayed, hold) = (account.clone(), relayed.clone(), plan.hold);
        let nodes = [0, 1].map(|member| plan.targets[node_of(plan.targets.len(), number, member)]);
        calls.spawn(async move {
            let due = start + at;
            let outcome = async {
                let (doctor, patient) = both(nodes, &room).await?;
                tokio::time::sleep_until(due.into()).await;
                with(&of_call, Account::begins);
                let flows = || with(&of_call, |account| account.setup.record(micros(due)));
                let outcome = call(room.room, doctor, patient, &relayed, hold, flows).await;
                with(&of_call, |account| account.now -= 1);
                outcome
            };
            let outcome = outcome.await;
            with(&of_call, |account| account.ends(outcome.err()));
        });
        if !plan.quiet && std::io::stderr().is_terminal() {
            let (done, now) = with(&account, |account| (account.report.calls, account.now));
            eprint!("\r{:>4.0} s  {done} calls over, {now} going on   ", at.as_secs_f64());
        }
    }
    while calls.join_next().await.is_some() {}
    if !plan.quiet && std::io::stderr().is_terminal() {
        eprintln!();
    }
    let signal = relayed.summary();
    Ok(with(&account, |account| CallsReport { setup: account.setup.summary(), signal, ..account.report.clone() }))
}

impl Account {
    fn begins(&mut self) {
        self.now += 1;
        self.report.at_once = self.report.at_once.max(self.now);
    }

    fn ends(&mut self, error: Option<PeerError>) {
        self.report.calls += 1;
        let Some(error) = error else { return };
        self.report.failed += 1;
        let reason = error.to_string();
        if !self.report.reasons.contains(&reason) {
            self.report.reasons.push(reason);
        }
    }
}

/// Doctor and patient of a room, connected and listening.
async fn both([here, there]: [Target; 2], room: &FixtureRoom) -> Result<(Client, Client), PeerError> {
    let [patient, doctor, ..] = room.members.as_slice() else {
        return Err(PeerError::Refused("the room of the fixture has nobody".to_owned()));
    };
    let join = async |target, token| {
        let mut client = Client::new(target, token);
        client.connect().await?;
        client.join(room.room).await?;
        Ok::<_, PeerError>(client)
    };
    Ok((join(there, doctor.token.clone()).await?, join(here, patient.token.clone()).await?))
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn with<T>(account: &Mutex<Account>, change: impl FnOnce(&mut Account) -> T) -> T {
    change(&mut account.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One call, from the ring to the hang-up; `flows` is called when media goes both ways.
async fn call(
    room: rooms::id::RoomId,
    doctor: Client,
    patient: Client,
    relayed: &Relayed,
    hold: Duration,
    flows: impl FnOnce(),
) -> Result<(), PeerError> {
    let (doctor, patient) = tokio::join!(Peer::ring(doctor, room, Media::Audio), Peer::answer(patient, room));
    let (mut doctor, mut patient) = (doctor?.timed(relayed), patient?.timed(relayed));
    let heard = |now: &Progress| now.connected.is_some() && now.packets >= ENOUGH;
    let (one, other) = tokio::join!(doctor.until(PATIENCE, heard), patient.until(PATIENCE, heard));
    one?;
    other?;
    flows();
    let end = Instant::now() + hold;
    let over = |_: &Progress| Instant::now() >= end;
    let (one, other) = tokio::join!(doctor.until(hold * 2, over), patient.until(hold * 2, over));
    one?;
    other?;
    doctor.leave().await
}
