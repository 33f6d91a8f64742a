//! The profile `clinic-day`: the day by its curve, then the peak.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use loadtest::fleet::day::{self, DayPart, DayPlan};
use loadtest::load::results::{CheckResult, Gauges};
use loadtest::report::{Bound, PhaseReport, Report};
use loadtest::watch::Watch;

use super::bounds::bounds;
use super::setup::{fixture, meters};
use crate::cli::Clinic;

/// Seconds of a day.
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Plays the parts of the day that the command line asks for.
pub fn run(clinic: &Clinic) -> anyhow::Result<Report> {
    let common = &clinic.common;
    let half_open = |fault: &loadtest::fault::Fault| fault.kind == loadtest::fault::FaultKind::HalfOpen;
    ensure!(!common.faults.iter().any(half_open), "in a case everybody is needed: no half-open here");
    ensure!(common.targets.iter().all(|target| target.competitor().is_none()), "a peer has no cases to play");
    let plan = DayPlan {
        targets: common.targets.clone(),
        people: fixture(common)?.rooms,
        workers: common.workers as usize,
        length: Duration::from_secs_f64(clinic.case_minutes as f64 * 60.0 / clinic.compress),
        messages: clinic.messages as usize,
        bytes: clinic.bytes as usize,
        seed: common.seed,
    };
    let cases = f64::from(clinic.cases);
    let whole_day = DayPart::Day { cases, compress: clinic.compress, hours: clinic.hours };
    let rate = clinic.peak_factor * cases / SECONDS_PER_DAY;
    let peak = DayPart::Held { rate, time: Duration::from_secs(clinic.peak) };
    let mut parts = Vec::new();
    parts.extend((clinic.hours.1 > clinic.hours.0).then_some(("day", whole_day)));
    parts.extend((clinic.peak > 0).then_some(("peak", peak)));
    ensure!(!parts.is_empty(), "neither hours of the day nor a peak to play");
    let watch = Watch::new(Arc::new(Gauges::default()), meters(common)?, common.quiet)?;
    let rooms = plan.people.len();
    let mut report = Report { profile: "clinic-day", rooms, members: 3, ..Report::default() };
    let mut readers = CheckResult::default();
    let mut failed = 0;
    for (part, when) in parts {
        let faults = common.faults(true)?;
        let (warmup, measured) = when.window(plan.length);
        let connection_faults: Vec<_> = faults.connection_faults(warmup).collect();
        let (played, watched) =
            watch.during((warmup, measured), &faults, || day::play(&plan, when, &connection_faults, &watch.gauges));
        let played = played?;
        let seconds = measured.as_secs_f64();
        let phase = watched.report(played.phase.sent as f64 / seconds, seconds, &played.phase);
        readers.merge(&played.check);
        failed += played.day.failed;
        report.connections = report.connections.max(max_connected(&phase));
        report.phases.push(PhaseReport { part, day: Some(played.day), ..phase });
    }
    report.readers = Some(readers);
    report.bounds = bounds(&clinic.limits, &report);
    report.bounds.push(Bound::at_most("failed", clinic.max_failed as f64, failed as f64));
    Ok(report)
}

/// The greatest number of connections that was seen.
fn max_connected(phase: &PhaseReport) -> usize {
    phase.samples.iter().filter_map(|sample| usize::try_from(sample.connected).ok()).max().unwrap_or(0)
}
