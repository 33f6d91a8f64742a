//! The report as a self-contained page: no script, font, or image from elsewhere. Every plot comes with a table of its
//! figures.

mod plot;
mod table;
mod text;
mod time_plots;

use std::fmt::Write as _;

use self::plot::{Axis, Plot, Scale, Series};
use self::table::{folded, table};
use self::text::{escape, ms, number, percent};
use self::time_plots::{plots_over_time, table_over_time, thinned};
use crate::report::{Bound, PhaseReport, Report};

const STYLE: &str = include_str!("style.css");

/// Renders a report.
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let title = format!("loadtest {}", report.profile);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>"
    );
    overview(&mut out, report);
    if let Some(found) = &report.found {
        search(&mut out, report);
        let _ = write!(
            out,
            "<p>Highest rate with a p99 of acks below {} ms: <strong>{}/s</strong> (p99 {} ms); at half of it, {}/s: p99 \
             {} ms.</p>",
            number(found.bound_ms),
            number(found.highest_rate.round()),
            number(found.p99_ms),
            number(found.half_rate.round()),
            number(found.half_p99_ms)
        );
    }
    for (at, phase) in report.phases.iter().enumerate() {
        self::phase(&mut out, phase, at);
    }
    profile_specifics(&mut out, report);
    out.push_str("</main></body></html>\n");
    out
}

/// Renders the outcome first: whether the bounds hold, and the delivery check.
fn overview(out: &mut String, report: &Report) {
    let _ = write!(
        out,
        "<p class=\"dim\">{} rooms × {} members, {} connections.</p>",
        number(report.rooms as f64),
        report.members,
        number(report.connections as f64)
    );
    let broken = report.bounds.iter().filter(|bound| !bound.kept).count();
    let _ = match broken {
        0 => write!(out, "<p class=\"kept\">✓ All {} bounds hold.</p>", report.bounds.len()),
        _ => write!(out, "<p class=\"broken\">✗ {broken} of {} bounds are broken.</p>", report.bounds.len()),
    };
    if let Some(readers) = &report.readers {
        let row = [
            readers.readers,
            readers.delivered,
            readers.lost,
            readers.repeated,
            readers.out_of_order,
            readers.healed,
            readers.unreachable,
        ];
        let heads = ["readers", "events", "lost", "repeated", "out of order", "healed", "unreachable"];
        let rows: Vec<_> =
            heads.iter().zip(row).map(|(head, count)| vec![(*head).to_owned(), number(count as f64)]).collect();
        table(out, "Delivery check", &["", "count"], &rows);
    }
    let bounds: Vec<_> = report.bounds.iter().map(bound).collect();
    table(out, "Bounds", &["bound", "measured", "limit", ""], &bounds);
}

fn bound(bound: &Bound) -> Vec<String> {
    let outcome = if bound.kept { "kept" } else { "broken" };
    let sign = if bound.kept { "✓" } else { "✗" };
    vec![
        bound.name.replace('_', " "),
        number(bound.value),
        number(bound.limit),
        format!("<span class=\"{outcome}\">{sign} {outcome}</span>"),
    ]
}

/// Renders throughput and latency of each search step, by rate.
fn search(out: &mut String, report: &Report) {
    let mut steps: Vec<_> = report.phases.iter().collect();
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let points = |value: fn(&PhaseReport) -> f64| steps.iter().map(|step| (step.rate, value(step))).collect::<Vec<_>>();
    let axis = |label: &str, scale| Axis { label: label.to_owned(), scale };
    let rates = Plot {
        title: "Acks a second, by offered rate".into(),
        description: "Where the line of acks falls below the offered rate, the hub does not keep up. The table \
                      below has the figures."
            .into(),
        x: axis("commands a second", Scale::Linear),
        y: axis("acks a second", Scale::Linear),
        series: vec![
            Series { name: "acks".into(), points: points(|step| step.acks_per_s) },
            Series { name: "offered".into(), points: points(|step| step.rate) },
        ],
        dots: true,
    };
    let latencies = Plot {
        title: "Latency of acks, by rate".into(),
        description:
            "Median and 99th percentile of each step, in milliseconds on a logarithmic axis. The table below has \
                      the figures."
                .into(),
        x: axis("commands a second", Scale::Linear),
        y: axis("ms", Scale::Log),
        series: vec![
            Series { name: "p99".into(), points: points(|step| ms(step.ack.p99)) },
            Series { name: "p50".into(), points: points(|step| ms(step.ack.p50)) },
        ],
        dots: true,
    };
    let _ = write!(
        out,
        "<h2>Steps</h2><div class=\"plots\">{}{}</div>",
        rates.figure("rates"),
        latencies.figure("by-rate")
    );
    let rows: Vec<_> = report
        .phases
        .iter()
        .map(|step| {
            let kept = if step.kept_up() { "yes" } else { "no" };
            let figures = [step.rate, step.acks_per_s, ms(step.ack.p50), ms(step.ack.p99)].map(number);
            [figures.to_vec(), vec![kept.to_owned()]].concat()
        })
        .collect();
    table(out, "Steps, in order", &["commands/s", "acks/s", "p50 ms", "p99 ms", "kept up"], &rows);
}

/// Renders one phase.
fn phase(out: &mut String, phase: &PhaseReport, at: usize) {
    let name = if phase.part.is_empty() { String::new() } else { format!("{}: ", phase.part) };
    let _ = write!(
        out,
        "<h2>{name}{}/s for {} s</h2><p>{} acks/s, {} delivered/s; {} sent, {} unanswered.</p>",
        number(phase.rate.round()),
        number(phase.seconds),
        number(phase.acks_per_s.round()),
        number(phase.delivered_per_s.round()),
        number(phase.sent as f64),
        number(phase.unanswered as f64)
    );
    if let Some(day) = &phase.day {
        let _ = write!(
            out,
            "<p>{} cases, {} done, {} failed, at most {} at once.</p>",
            number(day.cases as f64),
            number(day.done as f64),
            number(day.failed as f64),
            number(day.at_once as f64)
        );
    }
    for fault in &phase.faults {
        let outcome = fault.failed.as_ref().map_or_else(|| "done".to_owned(), |why| format!("failed: {}", escape(why)));
        let _ = write!(out, "<p>Fault <code>{}</code>: {outcome}.</p>", escape(&fault.fault));
    }
    out.push_str("<div class=\"plots\">");
    percentiles(out, phase, at);
    let samples = thinned(&phase.samples);
    let mut plots = Vec::new();
    if !samples.is_empty() {
        plots = plots_over_time(&samples);
        for (number, plot) in plots.iter().enumerate() {
            out.push_str(&plot.figure(&format!("time-{at}-{number}")));
        }
    }
    out.push_str("</div>");
    let rows: Vec<_> = phase
        .latencies()
        .iter()
        .filter(|(_, summary)| summary.count > 0)
        .map(|(name, it)| {
            let figures = [it.p50, it.p90, it.p99, it.p999, it.max].map(|micros| number(ms(micros)));
            [vec![(*name).to_owned()], figures.to_vec(), vec![number(it.count as f64)]].concat()
        })
        .collect();
    table(out, "Latencies in milliseconds", &["", "p50", "p90", "p99", "p99.9", "max", "count"], &rows);
    curves(out, phase);
    if !plots.is_empty() {
        table_over_time(out, &plots);
    }
}

fn percentiles(out: &mut String, phase: &PhaseReport, at: usize) {
    let series: Vec<_> = phase
        .latencies()
        .iter()
        .filter(|(_, summary)| summary.count > 0)
        .filter_map(|(name, summary)| {
            let last = 1.0 - 0.5 / summary.count as f64;
            // The maximum is drawn at the quantile that half a value exceeds.
            let place = |(quantile, micros): &(f64, u64)| (quantile.min(last), ms(*micros));
            let points = phase.curves.get(name)?.iter().map(place).collect();
            Some(Series { name: (*name).to_owned(), points })
        })
        .collect();
    if series.is_empty() {
        return;
    }
    let texts: Vec<_> = phase
        .latencies()
        .iter()
        .filter(|(_, summary)| summary.count > 0)
        .map(|(name, summary)| {
            format!("{name}: p50 {} ms, p99 {} ms", number(ms(summary.p50)), number(ms(summary.p99)))
        })
        .collect();
    let plot = Plot {
        title: "Latency by percentile".into(),
        description: format!("{}. The table below has the figures.", texts.join("; ")),
        x: Axis { label: "share of values at most this slow".into(), scale: Scale::Nines },
        y: Axis { label: "ms".into(), scale: Scale::Log },
        series,
        dots: false,
    };
    out.push_str(&plot.figure(&format!("curve-{at}")));
}

/// Renders the points of the percentile curves.
fn curves(out: &mut String, phase: &PhaseReport) {
    let mut rows = Vec::new();
    for (name, _) in phase.latencies().iter().filter(|(_, summary)| summary.count > 0) {
        for (quantile, micros) in phase.curves.get(name).into_iter().flatten() {
            rows.push(vec![(*name).to_owned(), percent(*quantile), number(ms(*micros))]);
        }
    }
    folded(out, "Points of the percentile curves", &["latency", "percentile", "ms"], &rows);
}

/// Renders the parts that only some profiles have.
fn profile_specifics(out: &mut String, report: &Report) {
    if let Some(calls) = &report.calls {
        let _ = write!(
            out,
            "<h2>Calls</h2><p>{} calls, {} failed, at most {} at once.</p>",
            calls.calls, calls.failed, calls.at_once
        );
        let rows: Vec<_> = [("set-up", calls.setup), ("signal", calls.signal)]
            .map(|(name, it)| {
                let figures = [it.p50, it.p90, it.p99, it.max].map(|micros| number(ms(micros)));
                [vec![name.to_owned()], figures.to_vec(), vec![number(it.count as f64)]].concat()
            })
            .to_vec();
        table(out, "Latencies in milliseconds", &["", "p50", "p90", "p99", "max", "count"], &rows);
    }
    let days = report.phases.iter().filter_map(|phase| phase.day.as_ref()).flat_map(|day| &day.reasons);
    for reason in report.calls.iter().flat_map(|calls| &calls.reasons).chain(days) {
        let _ = write!(out, "<p>Failed: {}</p>", escape(reason));
    }
    if let Some(memory) = &report.memory {
        let row = [memory.before_mib, memory.after_mib, memory.kib_per_connection].map(number).to_vec();
        table(
            out,
            "Memory of the hub",
            &["MiB before", "MiB with all connected and idle", "KiB per connection"],
            &[row],
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fault::FaultOutcome;
    use crate::fleet::day::DayReport;
    use crate::load::results::{CheckResult, PhaseResult};
    use crate::report::{Sample, SearchResult};

    fn report() -> Report {
        let mut result = PhaseResult { sent: 2_000, acked: 2_000, ..PhaseResult::default() };
        for micros in 1..=2_000 {
            result.ack.record(micros * 10);
            result.last.record(micros * 20);
        }
        let sample = |at: u32| Sample {
            at_s: Duration::from_secs(at.into()).as_secs_f64(),
            connected: 30,
            acks_per_s: 200.0,
            delivered_per_s: 600.0,
            hub_cpu_percent: Some(12.5),
            hub_rss_mib: Some(100.0 + f64::from(at)),
            generator_cpu_percent: None,
        };
        let why = "the process 7 has ended <script>".to_owned();
        let phase = PhaseReport {
            samples: (1..=300).map(sample).collect(),
            faults: vec![FaultOutcome { fault: "kill@5".into(), pid: Some(7), failed: Some(why) }],
            day: Some(DayReport { reasons: vec!["<img src=x>".into()], ..DayReport::default() }),
            ..PhaseReport::new(200.0, 10.0, &result, None, None)
        };
        let bounds = vec![Bound::at_most("lost", 0.0, 3.0), Bound::at_most("p99_ms", 100.0, 19.8)];
        let readers = Some(CheckResult { readers: 30, lost: 3, ..CheckResult::default() });
        Report {
            profile: "search",
            phases: vec![phase],
            readers,
            bounds,
            found: Some(SearchResult::default()),
            ..Report::default()
        }
    }

    #[test]
    fn page_is_self_contained_and_escapes_all_text() {
        let page = page(&report());
        for foreign in ["<script", "<img", "http:", "https:", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains("the process 7 has ended &lt;script&gt;") && page.contains("&lt;img src=x&gt;"));
        for tag in ["svg", "figure", "table", "details", "div", "tr", "td", "p", "ul", "title"] {
            let count = |open: &str| page.matches(open).count();
            let open = count(&format!("<{tag}>")) + count(&format!("<{tag} "));
            assert_eq!(open, count(&format!("</{tag}>")), "{tag}");
        }
    }

    #[test]
    fn every_plot_has_a_title_and_a_table_of_its_figures() {
        let page = page(&report());
        let drawings = page.matches("<svg class=\"plot\"").count();
        // Throughput and latency by rate, percentiles, throughput, connections, processor, memory.
        assert_eq!(drawings, 7);
        for id in ["rates", "by-rate", "curve-0", "time-0-0", "time-0-3"] {
            assert_eq!(page.matches(&format!("id=\"{id}-t\"")).count(), 1, "{id}");
            assert_eq!(page.matches(&format!("id=\"{id}-d\"")).count(), 1, "{id}");
        }
        // p50 and p99 of acks, and the broken bound.
        assert!(page.contains("<td>10</td>") && page.contains("<td>19.8</td>"), "{page}");
        assert!(page.contains("1 of 2 bounds are broken") && page.contains("✗ broken"));
        // Each row averages three of the 300 samples.
        assert!(page.contains("Values over time: 100 rows"));
    }

    #[test]
    fn numbers_are_rounded_and_grouped() {
        let texts = [0.0, 0.1234, 1.5, 12.34, 123.4, 1234.0, 1_234_567.0, f64::NAN].map(number);
        assert_eq!(texts, ["0", "0.123", "1.5", "12.3", "123", "1,234", "1,234,567", "–"]);
        assert_eq!([0.5, 0.99, 0.9995, 0.99999].map(percent), ["50 %", "99 %", "99.95 %", "99.999 %"]);
    }
}
