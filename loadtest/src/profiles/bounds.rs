//! Compares a report with the limits of the command line.

use loadtest::report::{Bound, PhaseReport, Report};

use crate::cli::Limits;

fn worst(report: &Report, micros: impl Fn(&PhaseReport) -> u64) -> f64 {
    report.phases.iter().map(micros).max().unwrap_or(0) as f64 / 1000.0
}

/// Counts faults that could not be injected: a run without them proves nothing.
pub fn faults_not_done(phases: &[PhaseReport]) -> Bound {
    let undone = phases.iter().flat_map(|phase| &phase.faults).filter(|fault| fault.failed.is_some()).count();
    Bound::at_most("faults_not_done", 0.0, undone as f64)
}

pub fn bounds(limits: &Limits, report: &Report) -> Vec<Bound> {
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
        faults_not_done(&report.phases),
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
