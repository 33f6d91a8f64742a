//! The command `loadtest`: runs a profile, prints its report, and ends with 0 when the bounds were kept, 1 when one was
//! broken, 2 when the run could not be made.

mod cli;
mod clinic;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use loadtest::fixture::{Fixture, FixtureRoom};
use loadtest::fleet::account::Account;
use loadtest::fleet::script::Kind;
use loadtest::fleet::{Happening, Phase, Plan};
use loadtest::meter::Meters;
use loadtest::report::{Bound, Found, PhaseReport, Report};
use loadtest::run::Run;
use loadtest::search::Search;
use loadtest::watch::Watch;
use loadtest::{baseline, calls, html};
use rooms::time::Timestamp;

use crate::cli::{Cli, Common, Limits, Profile, Ring, Talk};

/// Connections of one run; beyond it the kernel has no local ports left.
const MOST: usize = 19_000;

/// Rooms of a peer that the load may use: as many as `--rooms` allows.
const PEER_ROOMS: usize = 6_000;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match play(&cli.profile) {
        Ok(report) if report.passes() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn play(profile: &Profile) -> anyhow::Result<Report> {
    let (common, report) = match profile {
        Profile::Chat(talk) => (&talk.common, Once::new("chat", talk).play()?),
        Profile::Fanout { talk, devices } => {
            (&talk.common, Once { devices: *devices as usize, ..Once::new("fanout", talk) }.play()?)
        }
        Profile::Status { talk, cycle } => {
            ensure!(*cycle != Kind::Chat, "--cycle is dispensing or consultation");
            (&talk.common, Once { kind: *cycle, ..Once::new("status", talk) }.play()?)
        }
        Profile::Duplicates { talk, copies } => {
            (&talk.common, Once { copies: *copies, ..Once::new("duplicates", talk) }.play()?)
        }
        Profile::Slow { talk, share } => {
            let end = Duration::from_secs(talk.warmup + talk.duration);
            let happenings = vec![(Duration::ZERO, Happening::Stall), (end, Happening::ReadOn)];
            (&talk.common, Once { slow: *share, happenings, ..Once::new("slow", talk) }.play()?)
        }
        Profile::Storm { talk, share, jitter_ms, cut_after } => {
            let cut = Happening::Cut { share: *share, jitter: Duration::from_millis(*jitter_ms) };
            let happenings = vec![(Duration::from_secs(talk.warmup + cut_after), cut)];
            (&talk.common, Once { happenings, ..Once::new("storm", talk) }.play()?)
        }
        Profile::Idle { common, connections, duration, max_kib_per_connection } => {
            (common, idle(common, *connections as usize, *duration, *max_kib_per_connection)?)
        }
        Profile::Calls(ring) => (&ring.common, call(ring)?),
        Profile::ClinicDay(clinic) => (&clinic.common, clinic::play(clinic)?),
        Profile::Search { talk, kind, below_ms, min_rate } => {
            (&talk.common, search(talk, *kind, *below_ms, *min_rate)?)
        }
    };
    print!("{report}");
    if let Some(path) = &common.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).context("cannot write the report")?;
    }
    if let Some(path) = &common.html {
        std::fs::write(path, html::page(&report)).context("cannot write the page")?;
    }
    Ok(report)
}

/// A profile of one phase.
struct Once<'a> {
    name: &'static str,
    talk: &'a Talk,
    kind: Kind,
    devices: usize,
    copies: u8,
    slow: f64,
    happenings: Vec<(Duration, Happening)>,
}

impl<'a> Once<'a> {
    fn new(name: &'static str, talk: &'a Talk) -> Self {
        Self { name, talk, kind: Kind::Chat, devices: 1, copies: 1, slow: 0.0, happenings: Vec::new() }
    }

    fn start(&self) -> anyhow::Result<(Run, Report)> {
        let talk = self.talk;
        let (rooms, members) = (talk.rooms as usize, talk.members as usize);
        ensure!(self.kind == Kind::Chat || members == 3, "status changes need --members 3");
        let sockets = rooms * members * self.devices;
        ensure!(sockets <= MOST, "{sockets} connections are more than {MOST}: fewer rooms or devices");
        let plan = Plan {
            devices: self.devices,
            copies: self.copies,
            slow: self.slow,
            bytes: talk.bytes as usize,
            ..plan(&talk.common, fixture(&talk.common)?.take(rooms, members)?, Some(self.kind))
        };
        let run = start(plan, &talk.common)?;
        let connections = run.fleet.connected();
        let memory = run.memory();
        Ok((run, Report { profile: self.name, rooms, members, connections, memory, ..Report::default() }))
    }

    fn play(self) -> anyhow::Result<Report> {
        let faults = self.talk.common.faults(true)?;
        let (run, mut report) = self.start()?;
        report.phases.push(run.measure_under(&self.talk.phase(self.happenings), &faults)?);
        report.readers = Some(run.fleet.verify()?);
        report.bounds = bounds(&self.talk.limits, &report);
        Ok(report)
    }
}

fn search(talk: &Talk, kind: Kind, below_ms: f64, min_rate: Option<f64>) -> anyhow::Result<Report> {
    ensure!(talk.common.faults.is_empty(), "a search has no faults");
    let (run, mut report) = Once { kind, ..Once::new("search", talk) }.start()?;
    let phase = |rate| Phase { rate, ..talk.phase(Vec::new()) };
    let mut search = Search::from(talk.rate);
    let mut best = 0.0;
    while let Some(rate) = search.rate() {
        let step = run.measure(&phase(rate))?;
        let p99 = step.ack.p99 as f64 / 1000.0;
        let kept = p99 < below_ms && step.kept_up();
        if kept {
            best = p99;
        }
        let word = if kept { "kept" } else { "not kept" };
        eprintln!("{rate:.0}/s: p99 {p99:.2} ms, {:.0} acks/s, {word}", step.acks_per_s);
        search.tried(rate, kept);
        report.phases.push(step);
    }
    let highest_rate = search.best().unwrap_or(0.0);
    let mut found = Found { bound_ms: below_ms, highest_rate, p99_ms: best, ..Found::default() };
    if highest_rate > 0.0 {
        let half = run.measure(&phase(highest_rate / 2.0))?;
        found.half_rate = half.rate;
        found.half_p99_ms = half.ack.p99 as f64 / 1000.0;
        report.phases.push(half);
    }
    report.found = Some(found);
    report.readers = Some(run.fleet.verify()?);
    // The steps beyond the limit are meant to be slow and to be refused; what is never excused is a loss.
    report.bounds = bounds(&talk.limits, &report).into_iter().filter(|bound| bound.name != "errors").collect();
    report.bounds.retain(|bound| bound.name != "unanswered");
    if let Some(least) = min_rate {
        let kept = highest_rate >= least;
        report.bounds.push(Bound { name: "rate_at_least", limit: least, value: highest_rate, kept });
    }
    Ok(report)
}

fn call(ring: &Ring) -> anyhow::Result<Report> {
    let common = &ring.common;
    let plan = calls::Plan {
        targets: common.targets.clone(),
        rooms: fixture(common)?.rooms,
        per_minute: ring.per_minute,
        spacing: ring.arrivals,
        duration: Duration::from_secs(ring.duration),
        hold: Duration::from_secs(ring.hold),
        seed: common.seed,
        quiet: common.quiet,
    };
    let workers = common.workers as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("the generator cannot start")?;
    // The calls show their own progress.
    let watch = Watch::new(Arc::default(), meters(common)?, true)?;
    let time = Duration::from_secs(ring.duration);
    let (played, watched) =
        watch.during((Duration::ZERO, time), &common.faults(false)?, || runtime.block_on(calls::play(plan)));
    let played = played?;
    let phase = watched.report(ring.per_minute / 60.0, time.as_secs_f64(), &Account::default());
    let phase = PhaseReport { part: "calls", ..phase };
    let ms = |micros: u64| micros as f64 / 1000.0;
    let mut bounds = vec![Bound::at_most("failed", ring.max_failed as f64, played.failed as f64)];
    bounds.extend(ring.max_setup_p99_ms.map(|limit| Bound::at_most("setup_p99_ms", limit, ms(played.setup.p99))));
    bounds.extend(ring.max_signal_p99_ms.map(|limit| Bound::at_most("signal_p99_ms", limit, ms(played.signal.p99))));
    let (rooms, connections) = (played.calls, played.calls * 2);
    bounds.push(undone(std::slice::from_ref(&phase)));
    Ok(Report {
        profile: "calls",
        rooms,
        members: 2,
        connections,
        phases: vec![phase],
        calls: Some(played),
        bounds,
        ..Report::default()
    })
}

fn idle(common: &Common, connections: usize, seconds: u64, limit: Option<f64>) -> anyhow::Result<Report> {
    let fixture = fixture(common)?;
    ensure!(fixture.rooms.iter().any(|room| !room.members.is_empty()), "the fixture is empty");
    let mut rooms: Vec<FixtureRoom> = Vec::new();
    let mut left = connections;
    for room in fixture.rooms.iter().cycle() {
        if left == 0 {
            break;
        }
        let members: Vec<_> = room.members.iter().take(left).cloned().collect();
        left -= members.len();
        rooms.push(FixtureRoom { members, ..room.clone() });
    }
    let faults = common.faults(false)?;
    let count = rooms.len().min(fixture.rooms.len());
    let run = start(plan(common, rooms, None), common)?;
    let stay = Duration::from_secs(seconds);
    let ((), watched) = run.watch.during((Duration::ZERO, stay), &faults, || std::thread::sleep(stay));
    let phase = PhaseReport { part: "idle", ..watched.report(0.0, seconds as f64, &Account::default()) };
    let memory = run.memory();
    let mut bounds = vec![
        Bound::at_most("disconnected", 0.0, connections.saturating_sub(run.fleet.connected()) as f64),
        undone(std::slice::from_ref(&phase)),
    ];
    if let (Some(limit), Some(memory)) = (limit, memory) {
        bounds.push(Bound::at_most("kib_per_connection", limit, memory.kib_per_connection));
    }
    let connected = run.fleet.connected();
    Ok(Report {
        profile: "idle",
        rooms: count,
        members: 3,
        connections: connected,
        phases: vec![phase],
        memory,
        bounds,
        ..Report::default()
    })
}

fn start(plan: Plan, common: &Common) -> anyhow::Result<Run> {
    Run::start(plan, meters(common)?, common.quiet)
}

fn meters(common: &Common) -> anyhow::Result<Meters> {
    Meters::of(&common.hub_pids).context("no process has the id that --hub-pid names")
}

fn fixture(common: &Common) -> anyhow::Result<Fixture> {
    if common.targets.iter().any(|target| target.dialect().is_some()) {
        return Ok(baseline::rooms(PEER_ROOMS));
    }
    let path = common.fixture.as_ref().context("--fixture is missing: what `wardroom seed` wrote")?;
    Ok(Fixture::read(path, Timestamp::new(std::time::SystemTime::now().into()))?)
}

fn plan(common: &Common, rooms: Vec<FixtureRoom>, kind: Option<Kind>) -> Plan {
    let workers = common.workers as usize;
    Plan {
        targets: common.targets.clone(),
        rooms,
        devices: 1,
        workers,
        kind,
        bytes: 1,
        copies: 1,
        slow: 0.0,
        seed: common.seed,
    }
}

fn worst(report: &Report, micros: impl Fn(&loadtest::report::PhaseReport) -> u64) -> f64 {
    report.phases.iter().map(micros).max().unwrap_or(0) as f64 / 1000.0
}

/// Faults that could not be done: a run without them proves nothing.
fn undone(phases: &[PhaseReport]) -> Bound {
    let undone = phases.iter().flat_map(|phase| &phase.faults).filter(|fault| fault.failed.is_some()).count();
    Bound::at_most("faults_not_done", 0.0, undone as f64)
}

fn bounds(limits: &Limits, report: &Report) -> Vec<Bound> {
    let readers = report.readers.unwrap_or_default();
    let errors = report.phases.iter().flat_map(|phase| phase.errors.values()).sum::<u64>();
    let unanswered = report.phases.iter().map(|phase| phase.unanswered).sum::<u64>();
    let doubled = report.phases.iter().map(|phase| phase.doubled).sum::<u64>();
    let mut bounds = vec![
        Bound::at_most("lost", limits.max_lost as f64, readers.lost as f64),
        Bound::at_most("repeated", limits.max_repeated as f64, readers.repeated as f64),
        Bound::at_most("out_of_order", limits.max_out_of_order as f64, readers.out_of_order as f64),
        Bound::at_most("unreachable", 0.0, readers.unreachable as f64),
        Bound::at_most("doubled", 0.0, doubled as f64),
        undone(&report.phases),
        Bound::at_most("errors", limits.max_errors as f64, errors as f64),
        Bound::at_most("unanswered", limits.max_unanswered as f64, unanswered as f64),
    ];
    let ack = limits.max_p99_ms.map(|limit| Bound::at_most("p99_ms", limit, worst(report, |phase| phase.ack.p99)));
    let delivery = limits
        .max_delivery_p99_ms
        .map(|limit| Bound::at_most("delivery_p99_ms", limit, worst(report, |phase| phase.delivery.p99)));
    let last =
        limits.max_last_p99_ms.map(|limit| Bound::at_most("last_p99_ms", limit, worst(report, |phase| phase.last.p99)));
    let resume = limits
        .max_resume_p99_ms
        .map(|limit| Bound::at_most("resume_p99_ms", limit, worst(report, |phase| phase.resume.p99)));
    bounds.extend([ack, delivery, last, resume].into_iter().flatten());
    bounds
}
