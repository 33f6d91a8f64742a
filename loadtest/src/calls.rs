//! Calls at a given rate: the doctor and the patient of a room connect through the hub.

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
use crate::latency::{Latency, LatencySummary};
use crate::target::{Target, node_of};
use crate::webrtc::{CallProgress, RelayTimes, WebRtcError, WebRtcPeer};

/// Time limit for media to flow in both directions.
const SETUP_TIMEOUT: Duration = Duration::from_secs(20);
/// A pair connects this long before its call is due.
const CONNECT_LEAD_TIME: Duration = Duration::from_secs(3);
/// Packets that prove media: half a second of audio.
const MIN_MEDIA_PACKETS: u64 = 25;

/// The calls to make.
#[derive(Debug)]
pub struct CallsPlan {
    /// The nodes. The two members of a call connect to different ones.
    pub targets: Vec<Target>,
    /// Each room has at most one call.
    pub rooms: Vec<FixtureRoom>,
    pub per_minute: f64,
    pub spacing: Spacing,
    pub duration: Duration,
    /// How long a call lasts once media flows.
    pub hold: Duration,
    pub seed: u64,
    pub quiet: bool,
}

/// The result of the calls. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CallsReport {
    pub calls: usize,
    pub failed: usize,
    /// Distinct failure reasons.
    pub reasons: Vec<String>,
    /// From the time the doctor should have started the call to media on both sides.
    pub setup: LatencySummary,
    /// From an offer, answer, or candidate sent by one side to its arrival at the other.
    pub signal: LatencySummary,
    /// The peak number of simultaneous calls.
    pub at_once: usize,
}

#[derive(Default)]
struct CallsProgress {
    report: CallsReport,
    setup: Latency,
    now: usize,
}

/// Runs all calls of the plan. Both members are connected and in their room before their call is due.
pub async fn play(plan: CallsPlan) -> anyhow::Result<CallsReport> {
    let mut random = StdRng::seed_from_u64(plan.seed);
    let mut arrivals = Arrivals::new(plan.spacing, plan.per_minute / 60.0);
    let times: Vec<Duration> =
        std::iter::repeat_with(|| arrivals.next(&mut random)).take_while(|at| *at < plan.duration).collect();
    anyhow::ensure!(
        times.len() <= plan.rooms.len(),
        "{} calls need as many rooms, but the fixture has {}: seed more",
        times.len(),
        plan.rooms.len()
    );
    let (progress, relay_times) = (Arc::new(Mutex::new(CallsProgress::default())), RelayTimes::default());
    let begin = Instant::now();
    let start = begin + CONNECT_LEAD_TIME;
    let mut calls = JoinSet::new();
    for (number, (at, room)) in times.into_iter().zip(plan.rooms.clone()).enumerate() {
        tokio::time::sleep_until((begin + at).into()).await;
        let (of_call, relay_times, hold) = (progress.clone(), relay_times.clone(), plan.hold);
        let nodes = [0, 1].map(|member| plan.targets[node_of(plan.targets.len(), number, member)]);
        calls.spawn(async move {
            let due = start + at;
            let outcome = async {
                let (doctor, patient) = connect_both(nodes, &room).await?;
                tokio::time::sleep_until(due.into()).await;
                update(&of_call, CallsProgress::call_started);
                let flows = || update(&of_call, |progress| progress.setup.record(micros(due)));
                let outcome = run_call(room.room, doctor, patient, &relay_times, hold, flows).await;
                update(&of_call, |progress| progress.now -= 1);
                outcome
            };
            let outcome = outcome.await;
            update(&of_call, |progress| progress.call_ended(outcome.err()));
        });
        if !plan.quiet && std::io::stderr().is_terminal() {
            let (done, now) = update(&progress, |progress| (progress.report.calls, progress.now));
            eprint!("\r{:>4.0} s  {done} calls finished, {now} active   ", at.as_secs_f64());
        }
    }
    while calls.join_next().await.is_some() {}
    if !plan.quiet && std::io::stderr().is_terminal() {
        eprintln!();
    }
    let signal = relay_times.summary();
    Ok(update(&progress, |progress| CallsReport { setup: progress.setup.summary(), signal, ..progress.report.clone() }))
}

impl CallsProgress {
    fn call_started(&mut self) {
        self.now += 1;
        self.report.at_once = self.report.at_once.max(self.now);
    }

    fn call_ended(&mut self, error: Option<WebRtcError>) {
        self.report.calls += 1;
        let Some(error) = error else { return };
        self.report.failed += 1;
        let reason = error.to_string();
        if !self.report.reasons.contains(&reason) {
            self.report.reasons.push(reason);
        }
    }
}

/// Connects the doctor and the patient of a room and joins both to it.
async fn connect_both([here, there]: [Target; 2], room: &FixtureRoom) -> Result<(Client, Client), WebRtcError> {
    let [patient, doctor, ..] = room.members.as_slice() else {
        return Err(WebRtcError::Refused("a room of the fixture has no doctor and patient: seed again".to_owned()));
    };
    let join = async |target, token| {
        let mut client = Client::new(target, token);
        client.connect().await?;
        client.join(room.room).await?;
        Ok::<_, WebRtcError>(client)
    };
    Ok((join(there, doctor.token.clone()).await?, join(here, patient.token.clone()).await?))
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

fn update<T>(progress: &Mutex<CallsProgress>, change: impl FnOnce(&mut CallsProgress) -> T) -> T {
    change(&mut progress.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Runs one call from its start to the hang-up. Calls `flows` once media flows in both directions.
async fn run_call(
    room: rooms::id::RoomId,
    doctor: Client,
    patient: Client,
    relay_times: &RelayTimes,
    hold: Duration,
    flows: impl FnOnce(),
) -> Result<(), WebRtcError> {
    let (doctor, patient) =
        tokio::join!(WebRtcPeer::ring(doctor, room, Media::Audio), WebRtcPeer::answer(patient, room));
    let (mut doctor, mut patient) = (doctor?.with_relay_times(relay_times), patient?.with_relay_times(relay_times));
    let media_flows = |now: &CallProgress| now.connected.is_some() && now.packets >= MIN_MEDIA_PACKETS;
    let (one, other) =
        tokio::join!(doctor.run_until(SETUP_TIMEOUT, media_flows), patient.run_until(SETUP_TIMEOUT, media_flows));
    one?;
    other?;
    flows();
    let end = Instant::now() + hold;
    let over = |_: &CallProgress| Instant::now() >= end;
    let (one, other) = tokio::join!(doctor.run_until(hold * 2, over), patient.run_until(hold * 2, over));
    one?;
    other?;
    doctor.leave().await
}
