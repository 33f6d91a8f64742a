//! The report of a run, as text and as JSON, and its bounds.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::calls::CallsReport;
use crate::fault::FaultOutcome;
use crate::fleet::day::DayReport;
use crate::latency::LatencySummary;
use crate::load::results::{CheckResult, PhaseResult};

/// The report of one run. A field's name ends with its unit; latencies are in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub profile: &'static str,
    pub rooms: usize,
    pub members: usize,
    /// Open connections at the start of the run.
    pub connections: usize,
    /// The phases of the run, in order.
    pub phases: Vec<PhaseReport>,
    /// The result of the delivery check; absent if nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<CheckResult>,
    /// Only for `calls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<CallsReport>,
    /// Absent without `--hub-pid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Only for `search`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<SearchResult>,
    pub bounds: Vec<Bound>,
}

/// The report of one phase.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PhaseReport {
    /// The name of this part; empty if there is only one kind.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub part: &'static str,
    pub rate: f64,
    pub seconds: f64,
    pub acks_per_s: f64,
    pub delivered_per_s: f64,
    pub sent: u64,
    pub unanswered: u64,
    pub doubled: u64,
    pub errors: BTreeMap<&'static str, u64>,
    pub closes: BTreeMap<u16, u64>,
    pub failed_opens: u64,
    pub ack: LatencySummary,
    pub delivery: LatencySummary,
    /// To the first socket of each event, and to the last one.
    pub first: LatencySummary,
    pub last: LatencySummary,
    pub lag: LatencySummary,
    pub resume: LatencySummary,
    /// Resumes on another node than before.
    pub elsewhere: LatencySummary,
    /// Percentile curve of each latency: quantile and microseconds.
    pub curves: BTreeMap<&'static str, Vec<(f64, u64)>>,
    /// One sample a second, from the start of the phase to its end.
    pub samples: Vec<Sample>,
    /// The faults during the phase.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultOutcome>,
    /// Only for `clinic-day`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<DayReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Cost>,
}

/// One sample of the meters. Rates are relative to the previous sample.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Sample {
    /// From the start of the phase, warm-up included.
    pub at_s: f64,
    pub connected: i64,
    pub acks_per_s: f64,
    pub delivered_per_s: f64,
    /// 100 is one core. Absent without `--hub-pid`, as is the memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_cpu_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub_rss_mib: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_cpu_percent: Option<f64>,
}

/// The resources that a process used in the measured time of a phase.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cost {
    /// 100 is one core.
    pub cpu_percent: f64,
    pub cpu_s_per_100k_deliveries: f64,
    pub rss_mib: f64,
}

/// The hub's memory before the first connection, and with all connections idle.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    pub before_mib: f64,
    pub after_mib: f64,
    pub kib_per_connection: f64,
}

/// The result of `search`.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct SearchResult {
    pub bound_ms: f64,
    /// The highest rate at which the p99 of acks stayed below the bound and the hub kept up.
    pub highest_rate: f64,
    pub p99_ms: f64,
    pub half_rate: f64,
    pub half_p99_ms: f64,
}

/// A bound and the measured value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    pub name: &'static str,
    pub limit: f64,
    pub value: f64,
    pub kept: bool,
}

impl Bound {
    pub fn at_most(name: &'static str, limit: f64, value: f64) -> Self {
        Self { name, limit, value, kept: value <= limit }
    }
}

impl PhaseReport {
    /// Creates the report of a phase with a measured time of `seconds`.
    pub fn new(rate: f64, seconds: f64, result: &PhaseResult, hub: Option<Cost>, generator: Option<Cost>) -> Self {
        Self {
            part: "",
            rate,
            seconds,
            acks_per_s: result.acked as f64 / seconds,
            delivered_per_s: result.delivered as f64 / seconds,
            sent: result.sent,
            unanswered: result.unanswered,
            doubled: result.doubled,
            errors: result.errors.iter().map(|(code, count)| (code.as_str(), *count)).collect(),
            closes: result.closes.clone(),
            failed_opens: result.failed_opens,
            ack: result.ack.summary(),
            delivery: result.delivery.summary(),
            first: result.first.summary(),
            last: result.last.summary(),
            lag: result.lag.summary(),
            resume: result.resume.summary(),
            elsewhere: result.elsewhere.summary(),
            curves: result.latencies().map(|(name, latency)| (name, latency.curve())).into(),
            samples: Vec::new(),
            faults: Vec::new(),
            day: None,
            hub,
            generator,
        }
    }

    /// Returns the latencies by name, in the order of the report.
    pub fn latencies(&self) -> [(&'static str, &LatencySummary); 7] {
        [
            ("ack", &self.ack),
            ("delivery", &self.delivery),
            ("first", &self.first),
            ("last", &self.last),
            ("resume", &self.resume),
            ("elsewhere", &self.elsewhere),
            ("lag", &self.lag),
        ]
    }

    /// Returns whether the hub kept up: it refused nothing, answered everything, and acknowledged at the rate sent.
    pub fn kept_up(&self) -> bool {
        self.errors.is_empty() && self.unanswered == 0 && self.acks_per_s >= 0.97 * self.sent as f64 / self.seconds
    }
}

impl Report {
    /// Returns whether every bound holds.
    pub fn passes(&self) -> bool {
        self.bounds.iter().all(|bound| bound.kept)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} rooms × {} members, {} connections",
            self.profile, self.rooms, self.members, self.connections
        )?;
        for phase in &self.phases {
            phase.fmt(f)?;
        }
        if let Some(calls) = &self.calls {
            calls.fmt(f)?;
        }
        if let Some(found) = &self.found {
            writeln!(
                f,
                "\nhighest rate with p99 < {} ms: {:.0}/s (p99 {:.2} ms); at half of it, {:.0}/s: p99 {:.2} ms",
                found.bound_ms, found.highest_rate, found.p99_ms, found.half_rate, found.half_p99_ms
            )?;
        }
        if let Some(v) = &self.readers {
            writeln!(
                f,
                "\n{} readers, {} events: lost {}, repeated {}, out of order {}, healed {}, unreachable {}",
                v.readers, v.delivered, v.lost, v.repeated, v.out_of_order, v.healed, v.unreachable
            )?;
        }
        if let Some(m) = &self.memory {
            writeln!(
                f,
                "hub memory: {:.1} MiB before, {:.1} MiB with all connected and idle, {:.2} KiB per connection",
                m.before_mib, m.after_mib, m.kib_per_connection
            )?;
        }
        for bound in &self.bounds {
            let word = if bound.kept { "kept" } else { "BROKEN" };
            writeln!(f, "bound {word}: {} {:.2}, at most {}", bound.name, bound.value, bound.limit)?;
        }
        Ok(())
    }
}

impl fmt::Display for CallsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{} calls, {} failed, at most {} at once", self.calls, self.failed, self.at_once)?;
        for reason in &self.reasons {
            writeln!(f, "  failed: {reason}")?;
        }
        rows(f, &[("set-up", &self.setup), ("signal", &self.signal)])
    }
}

impl fmt::Display for DayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {} cases, {} done, {} failed, at most {} at once; booked in {:.2} ms (p50), {:.2} ms (p99)",
            self.cases,
            self.done,
            self.failed,
            self.at_once,
            self.booking.p50 as f64 / 1000.0,
            self.booking.p99 as f64 / 1000.0
        )?;
        for reason in &self.reasons {
            writeln!(f, "  failed: {reason}")?;
        }
        Ok(())
    }
}

/// Writes the latencies that have values, in milliseconds.
fn rows(f: &mut fmt::Formatter<'_>, rows: &[(&str, &LatencySummary)]) -> fmt::Result {
    if rows.iter().any(|(_, row)| row.count > 0) {
        writeln!(f, "  ms              p50       p90       p99     p99.9       max     count")?;
    }
    for (name, row) in rows.iter().filter(|(_, row)| row.count > 0) {
        let ms = |micros: u64| micros as f64 / 1000.0;
        writeln!(
            f,
            "  {name:<9} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9.2} {:>9}",
            ms(row.p50),
            ms(row.p90),
            ms(row.p99),
            ms(row.p999),
            ms(row.max),
            row.count
        )?;
    }
    Ok(())
}

impl fmt::Display for PhaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{}{:.0}/s for {:.0} s: {:.0} acks/s, {:.0} delivered/s, {} unanswered",
            if self.part.is_empty() { String::new() } else { format!("{}: ", self.part) },
            self.rate,
            self.seconds,
            self.acks_per_s,
            self.delivered_per_s,
            self.unanswered
        )?;
        if self.doubled > 0 {
            writeln!(f, "  {} commands with two effects or two answers", self.doubled)?;
        }
        if !self.errors.is_empty() || !self.closes.is_empty() || self.failed_opens > 0 {
            let mut line = format!("  errors {:?}, closes {:?}", self.errors, self.closes);
            let _ = write!(line, ", failed to open {}", self.failed_opens);
            writeln!(f, "{line}")?;
        }
        if let Some(day) = &self.day {
            day.fmt(f)?;
        }
        for fault in &self.faults {
            match &fault.failed {
                None => writeln!(f, "  fault {}", fault.fault)?,
                Some(why) => writeln!(f, "  fault {} failed: {why}", fault.fault)?,
            }
        }
        rows(f, &self.latencies())?;
        for (name, cost) in [("hub", &self.hub), ("generator", &self.generator)] {
            if let Some(cost) = cost {
                writeln!(
                    f,
                    "  {name}: {:.0} % of a core, {:.2} CPU s per 100,000 deliveries, {:.1} MiB",
                    cost.cpu_percent, cost.cpu_s_per_100k_deliveries, cost.rss_mib
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rooms::wire::code::Code;

    #[test]
    fn broken_bound_fails_the_run_and_is_named() {
        let bounds = vec![Bound::at_most("lost", 0.0, 0.0), Bound::at_most("p99_ms", 100.0, 120.5)];
        let report = Report { profile: "chat", bounds, ..Report::default() };
        assert!(!report.passes());
        assert!(report.to_string().contains("bound BROKEN: p99_ms 120.50, at most 100"));
        assert!(serde_json::to_string(&report).unwrap().contains(r#""profile":"chat""#));
    }

    #[test]
    fn hub_that_refuses_or_falls_behind_has_not_kept_up() {
        let result = |sent, acked| PhaseResult { sent, acked, ..PhaseResult::default() };
        assert!(PhaseReport::new(100.0, 10.0, &result(1000, 990), None, None).kept_up());
        assert!(!PhaseReport::new(100.0, 10.0, &result(1000, 900), None, None).kept_up());
        let mut refused = result(1000, 1000);
        refused.errors.insert(Code::Unavailable, 1);
        let report = PhaseReport::new(100.0, 10.0, &refused, None, None);
        assert!(!report.kept_up());
        assert!(report.to_string().contains("unavailable"));
    }
}
