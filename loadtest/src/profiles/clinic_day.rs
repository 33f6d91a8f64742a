//! The profile `clinic-day`: the day by its curve, then its peak.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use loadtest::fleet::day::{self, DayPart, DayPlan};
use loadtest::load::results::{CheckResult, Gauges};
use loadtest::report::{Bound, PhaseReport, Report};
use loadtest::watch::Watch;

use super::bounds::bounds;
use super::setup::{fixture, meters};
use crate::cli::ClinicDayArgs;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// Runs the parts of the day that the command line selects.
pub fn run(args: &ClinicDayArgs) -> anyhow::Result<Report> {
    let common = &args.common;
    let half_open = |fault: &loadtest::fault::Fault| fault.kind == loadtest::fault::FaultKind::HalfOpen;
    ensure!(
        !common.faults.iter().any(half_open),
        "clinic-day does not support half-open: a case needs all its members"
    );
    ensure!(common.targets.iter().all(|target| target.competitor().is_none()), "clinic-day needs a hub as its target");
    let plan = DayPlan {
        targets: common.targets.clone(),
        people: fixture(common)?.rooms,
        workers: common.workers as usize,
        length: Duration::from_secs_f64(args.case_minutes as f64 * 60.0 / args.compress),
        messages: args.messages as usize,
        bytes: args.bytes as usize,
        seed: common.seed,
    };
    let cases = f64::from(args.cases);
    let whole_day = DayPart::Day { cases, compress: args.compress, hours: args.hours };
    let rate = args.peak_factor * cases / SECONDS_PER_DAY;
    let peak = DayPart::ConstantRate { rate, time: Duration::from_secs(args.peak) };
    let mut parts = Vec::new();
    parts.extend((args.hours.1 > args.hours.0).then_some(("day", whole_day)));
    parts.extend((args.peak > 0).then_some(("peak", peak)));
    ensure!(!parts.is_empty(), "set --hours or --peak: there is nothing to run");
    let watch = Watch::new(Arc::new(Gauges::default()), meters(common)?, common.quiet)?;
    let rooms = plan.people.len();
    let mut report = Report { profile: "clinic-day", rooms, members: 3, ..Report::default() };
    let mut readers = CheckResult::default();
    let mut failed = 0;
    for (part, when) in parts {
        let faults = common.faults(true)?;
        let (warmup, measured) = when.window(plan.length);
        let connection_faults: Vec<_> = faults.connection_faults(warmup).collect();
        let (result, watched) =
            watch.during((warmup, measured), &faults, || day::play(&plan, when, &connection_faults, &watch.gauges));
        let result = result?;
        let seconds = measured.as_secs_f64();
        let phase = watched.report(result.phase.sent as f64 / seconds, seconds, &result.phase);
        readers.merge(&result.check);
        failed += result.day.failed;
        report.connections = report.connections.max(max_connected(&phase));
        report.phases.push(PhaseReport { part, day: Some(result.day), ..phase });
    }
    report.readers = Some(readers);
    report.bounds = bounds(&args.limits, &report);
    report.bounds.push(Bound::at_most("failed", args.max_failed as f64, failed as f64));
    Ok(report)
}

/// Returns the peak number of connections.
fn max_connected(phase: &PhaseReport) -> usize {
    phase.samples.iter().filter_map(|sample| usize::try_from(sample.connected).ok()).max().unwrap_or(0)
}
