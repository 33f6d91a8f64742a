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
use crate::cli::CallsArgs;

/// Runs the calls, and measures the hub during them.
pub fn run(args: &CallsArgs) -> anyhow::Result<Report> {
    let common = &args.common;
    let plan = CallsPlan {
        targets: common.targets.clone(),
        rooms: fixture(common)?.rooms,
        per_minute: args.per_minute,
        spacing: args.arrivals,
        duration: Duration::from_secs(args.duration),
        hold: Duration::from_secs(args.hold),
        seed: common.seed,
        quiet: common.quiet,
    };
    let workers = common.workers as usize;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let runtime = runtime.context("the generator cannot start")?;
    // `calls::play` shows its own progress.
    let watch = Watch::new(Arc::default(), meters(common)?, true)?;
    let time = Duration::from_secs(args.duration);
    let (calls_report, watched) =
        watch.during((Duration::ZERO, time), &common.faults(false)?, || runtime.block_on(calls::play(plan)));
    let calls_report = calls_report?;
    let phase = watched.report(args.per_minute / 60.0, time.as_secs_f64(), &PhaseResult::default());
    let phase = PhaseReport { part: "calls", ..phase };
    let ms = |micros: u64| micros as f64 / 1000.0;
    let mut bounds = vec![Bound::at_most("failed", args.max_failed as f64, calls_report.failed as f64)];
    bounds.extend(args.max_setup_p99_ms.map(|limit| Bound::at_most("setup_p99_ms", limit, ms(calls_report.setup.p99))));
    bounds.extend(
        args.max_signal_p99_ms.map(|limit| Bound::at_most("signal_p99_ms", limit, ms(calls_report.signal.p99))),
    );
    let (rooms, connections) = (calls_report.calls, calls_report.calls * 2);
    bounds.push(faults_not_done(std::slice::from_ref(&phase)));
    Ok(Report {
        profile: "calls",
        rooms,
        members: 2,
        connections,
        phases: vec![phase],
        calls: Some(calls_report),
        bounds,
        ..Report::default()
    })
}
