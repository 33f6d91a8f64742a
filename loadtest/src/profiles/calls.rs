//! The profile `calls`: calls with media on both sides, at a rate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use loadtest::calls::{self, CallsPlan};
use loadtest::load::results::PhaseResult;
use loadtest::report::{Bound, PhaseReport, Report};
use loadtest::watch::Watch;

use super::bounds::faults_not_done;
use super::setup::{fixture, meters};
use crate::cli::Ring;

/// Plays the calls while it measures the hub.
pub fn run(ring: &Ring) -> anyhow::Result<Report> {
    let common = &ring.common;
    let plan = CallsPlan {
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
    let phase = watched.report(ring.per_minute / 60.0, time.as_secs_f64(), &PhaseResult::default());
    let phase = PhaseReport { part: "calls", ..phase };
    let ms = |micros: u64| micros as f64 / 1000.0;
    let mut bounds = vec![Bound::at_most("failed", ring.max_failed as f64, played.failed as f64)];
    bounds.extend(ring.max_setup_p99_ms.map(|limit| Bound::at_most("setup_p99_ms", limit, ms(played.setup.p99))));
    bounds.extend(ring.max_signal_p99_ms.map(|limit| Bound::at_most("signal_p99_ms", limit, ms(played.signal.p99))));
    let (rooms, connections) = (played.calls, played.calls * 2);
    bounds.push(faults_not_done(std::slice::from_ref(&phase)));
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
