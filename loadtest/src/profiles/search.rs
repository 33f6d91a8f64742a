//! The profile `search`: the highest rate whose p99 of acks stays below a bound.

use anyhow::ensure;
use loadtest::load::plan::Phase;
use loadtest::load::script::LoadKind;
use loadtest::report::{Bound, Report, SearchResult};
use loadtest::search::Search;

use super::bounds::bounds;
use super::single_phase::SinglePhase;
use crate::cli::LoadArgs;

/// Runs the search, then measures half of the rate found.
pub fn run(args: &LoadArgs, kind: LoadKind, below_ms: f64, min_rate: Option<f64>) -> anyhow::Result<Report> {
    ensure!(args.common.faults.is_empty(), "search does not support --fault");
    let (run, mut report) = SinglePhase { kind, ..SinglePhase::new("search", args) }.connect()?;
    let phase = |rate| Phase { rate, ..args.phase(Vec::new()) };
    let mut search = Search::from(args.rate);
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
    let mut found = SearchResult { bound_ms: below_ms, highest_rate, p99_ms: best, ..SearchResult::default() };
    if highest_rate > 0.0 {
        let half = run.measure(&phase(highest_rate / 2.0))?;
        found.half_rate = half.rate;
        found.half_p99_ms = half.ack.p99 as f64 / 1000.0;
        report.phases.push(half);
    }
    report.found = Some(found);
    report.readers = Some(run.fleet.check()?);
    // Steps beyond the limit are expected to be slow and refused. Lost events are never excused.
    report.bounds = bounds(&args.limits, &report).into_iter().filter(|bound| bound.name != "errors").collect();
    report.bounds.retain(|bound| bound.name != "unanswered");
    if let Some(least) = min_rate {
        let kept = highest_rate >= least;
        report.bounds.push(Bound { name: "rate_at_least", limit: least, value: highest_rate, kept });
    }
    Ok(report)
}
