//! The profile `clinic-day`: the day by its curve, then the peak.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use loadtest::fleet::account::{Gauges, Verdict};
use loadtest::fleet::day::{Plan, When, play as play_part};
use loadtest::report::{Bound, PhaseReport, Report};
use loadtest::watch::Watch;

use crate::cli::Clinic;
use crate::{bounds, fixture, meters};

/// Seconds of a day.
const DAY: f64 = 86_400.0;

pub fn play(clinic: &Clinic) -> anyhow::Result<Report> {
    let common = &clinic.common;
    let half_open = |fault: &loadtest::fault::Fault| fault.kind == loadtest::fault::Kind::HalfOpen;
    ensure!(!common.faults.iter().any(half_open), "in a case everybody is needed: no half-open here");
    ensure!(common.targets.iter().all(|target| target.dialect().is_none()), "a peer has no cases to play");
    let plan = Plan {
        targets: common.targets.clone(),
        people: fixture(common)?.rooms,
        workers: common.workers as usize,
        length: Duration::from_secs_f64(clinic.case_minutes as f64 * 60.0 / clinic.compress),
        messages: clinic.messages as usize,
        bytes: clinic.bytes as usize,
        seed: common.seed,
    };
    let cases = f64::from(clinic.cases);
    let day = When::Day { cases, compress: clinic.compress, hours: clinic.hours };
    let rate = clinic.peak_factor * cases / DAY;
    let peak = When::Held { rate, time: Duration::from_secs(clinic.peak) };
    let mut parts = Vec::new();
    parts.extend((clinic.hours.1 > clinic.hours.0).then_some(("day", day)));
    parts.extend((clinic.peak > 0).then_some(("peak", peak)));
    ensure!(!parts.is_empty(), "neither hours of the day nor a peak to play");
    let watch = Watch::new(Arc::new(Gauges::default()), meters(common)?, common.quiet)?;
    let rooms = plan.people.len();
    let mut report = Report { profile: "clinic-day", rooms, members: 3, ..Report::default() };
    let mut readers = Verdict::default();
    let mut failed = 0;
    for (part, when) in parts {
        let faults = common.faults(true)?;
        let (warmup, measured) = when.window(plan.length);
        let happenings: Vec<_> = faults.happenings(warmup).collect();
        let (played, watched) =
            watch.during((warmup, measured), &faults, || play_part(&plan, when, &happenings, &watch.gauges));
        let played = played?;
        let seconds = measured.as_secs_f64();
        let phase = watched.report(played.account.sent as f64 / seconds, seconds, &played.account);
        readers.merge(&played.verdict);
        failed += played.day.failed;
        report.connections = report.connections.max(watched_most(&phase));
        report.phases.push(PhaseReport { part, day: Some(played.day), ..phase });
    }
    report.readers = Some(readers);
    report.bounds = bounds(&clinic.limits, &report);
    report.bounds.push(Bound::at_most("failed", clinic.max_failed as f64, failed as f64));
    Ok(report)
}

/// The greatest number of connections that was seen.
fn watched_most(phase: &PhaseReport) -> usize {
    phase.samples.iter().filter_map(|sample| usize::try_from(sample.connected).ok()).max().unwrap_or(0)
}
