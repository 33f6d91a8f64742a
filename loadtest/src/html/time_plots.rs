//! Plots of a phase over time: throughput, connections, processor, and memory.

use super::plot::{Axis, Plot, Scale, Series};
use super::table::folded;
use super::text::number;
use crate::report::Sample;

/// Maximum points of a line over time; more samples are averaged.
const MAX_POINTS: usize = 120;

/// Returns the plots that have data.
pub fn plots_over_time(course: &[Sample]) -> Vec<Plot> {
    let points = |value: &dyn Fn(&Sample) -> Option<f64>| -> Vec<_> {
        course.iter().filter_map(|sample| Some((sample.at_s, value(sample)?))).collect()
    };
    let plot = |title: &str, unit: &str, series: Vec<(&str, Vec<(f64, f64)>)>| {
        let series: Vec<_> = series
            .into_iter()
            .filter(|(_, points)| points.iter().any(|(_, y)| *y != 0.0))
            .map(|(name, points)| Series { name: name.to_owned(), points })
            .collect();
        let most = |series: &Series| series.points.iter().map(|(_, y)| *y).fold(0.0, f64::max);
        let parts: Vec<_> =
            series.iter().map(|series| format!("{}: at most {} {unit}", series.name, number(most(series)))).collect();
        let description = format!("{}. The table below has the figures.", parts.join("; "));
        let x = Axis { label: "seconds, warm-up included".into(), scale: Scale::Linear };
        let y = Axis { label: unit.to_owned(), scale: Scale::Linear };
        Plot { title: title.to_owned(), description, x, y, series, dots: false }
    };
    let plots = vec![
        plot(
            "Throughput over time",
            "a second",
            vec![("delivered", points(&|s| Some(s.delivered_per_s))), ("acks", points(&|s| Some(s.acks_per_s)))],
        ),
        plot("Connections over time", "connections", vec![("connected", points(&|s| Some(s.connected as f64)))]),
        plot(
            "Processor over time",
            "% of a core",
            vec![("hub", points(&|s| s.hub_cpu_percent)), ("generator", points(&|s| s.generator_cpu_percent))],
        ),
        plot("Memory of the hub over time", "MiB", vec![("hub", points(&|s| s.hub_rss_mib))]),
    ];
    plots.into_iter().filter(|plot| !plot.series.is_empty()).collect()
}

/// Renders the data of the plots over time in one table.
pub fn table_over_time(out: &mut String, plots: &[Plot]) {
    let lines: Vec<_> = plots.iter().flat_map(|plot| plot.series.iter().map(move |line| (plot, line))).collect();
    let heads: Vec<_> = lines.iter().map(|(plot, line)| format!("{}, {}", line.name, plot.y.label)).collect();
    let heads: Vec<_> = std::iter::once("s").chain(heads.iter().map(String::as_str)).collect();
    let times = lines.iter().map(|(_, line)| &line.points).max_by_key(|points| points.len());
    let rows: Vec<_> = times
        .into_iter()
        .flatten()
        .map(|(at, _)| {
            let of = |points: &[(f64, f64)]| points.iter().find(|(time, _)| time == at).map(|(_, y)| number(*y));
            let row = lines.iter().map(|(_, line)| of(&line.points).unwrap_or_else(|| "–".to_owned()));
            std::iter::once(number(*at)).chain(row).collect()
        })
        .collect();
    folded(out, "Values over time", &heads, &rows);
}

/// Averages neighbouring samples down to at most [`MAX_POINTS`].
pub fn thinned(samples: &[Sample]) -> Vec<Sample> {
    let step = samples.len().div_ceil(MAX_POINTS).max(1);
    let mean = |group: &[Sample], value: &dyn Fn(&Sample) -> Option<f64>| {
        let values: Vec<_> = group.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let of = |group: &[Sample]| Sample {
        at_s: group.last().map_or(0.0, |sample| sample.at_s),
        connected: mean(group, &|s| Some(s.connected as f64)).unwrap_or(0.0).round() as i64,
        acks_per_s: mean(group, &|s| Some(s.acks_per_s)).unwrap_or(0.0),
        delivered_per_s: mean(group, &|s| Some(s.delivered_per_s)).unwrap_or(0.0),
        hub_cpu_percent: mean(group, &|s| s.hub_cpu_percent),
        hub_rss_mib: mean(group, &|s| s.hub_rss_mib),
        generator_cpu_percent: mean(group, &|s| s.generator_cpu_percent),
    };
    samples.chunks(step).map(of).collect()
}
