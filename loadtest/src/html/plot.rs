//! A line plot as inline SVG, with a title and a description for screen readers.

use std::fmt::Write as _;

use super::text::{escape, number, percent};

/// The size in SVG units; narrow, so that text stays readable on a phone.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;

/// Number of line styles in the style sheet.
const COLOURS: usize = 7;

/// How an axis maps values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Starts at 0.
    Linear,
    /// Decades. Values must be above 0.
    Log,
    /// Quantiles by number of nines: each step to the right keeps a tenth of the values above.
    Nines,
}

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
}

/// A line. Its index determines its colour and dashes.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Whether to draw dots at the points; for short series.
    pub dots: bool,
}

/// An axis and its visible range, in the scale's units.
struct Ruler {
    scale: Scale,
    from: f64,
    to: f64,
}

impl Scale {
    fn measure(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Log => value.max(1e-6).log10(),
            Self::Nines => -(1.0 - value).max(1e-9).log10(),
        }
    }
}

impl Ruler {
    fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(|value| scale.measure(value)).filter(|value| value.is_finite()) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            (from, to) = (0.0, 1.0);
        }
        match scale {
            Scale::Linear => (from, to) = (from.min(0.0), if to > 0.0 { to * 1.05 } else { 1.0 }),
            // Rounded to half decades, at least one decade long.
            Scale::Log => {
                from = (from * 2.0).floor() / 2.0;
                to = ((to * 2.0).ceil() / 2.0).max(from + 1.0);
            }
            Scale::Nines => (from, to) = (0.0, to.max(1.0)),
        }
        Self { scale, from, to }
    }

    /// Returns the position of a value, 0 to 1.
    fn at(&self, value: f64) -> f64 {
        ((self.scale.measure(value) - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// Returns the values that get a grid line, with their labels.
    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / 5.0;
                let decade = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * decade).into_iter().find(|step| *step >= rough);
                let step = step.unwrap_or(rough);
                let first = (self.from / step).ceil() as i64;
                let last = (self.to / step).floor() as i64;
                (first..=last).map(|n| n as f64 * step).map(|value| (value, number(value))).collect()
            }
            Scale::Log => {
                let within = if self.to - self.from <= 2.0 { [1.0, 2.0, 5.0].as_slice() } else { &[1.0] };
                let decades = self.from.floor() as i32..=self.to.ceil() as i32;
                let values = decades.flat_map(|decade| within.iter().map(move |n| n * 10f64.powi(decade)));
                let shown = values.filter(|value| (self.from - 1e-9..=self.to + 1e-9).contains(&value.log10()));
                shown.map(|value| (value, number(value))).collect()
            }
            Scale::Nines => (0..=self.to.floor() as i32)
                .map(|nines| {
                    let quantile = 1.0 - 10f64.powi(-nines);
                    (quantile, percent(quantile))
                })
                .collect(),
        }
    }
}

impl Plot {
    /// Renders the figure: plot, caption, and legend. `id` must be unique on the page.
    pub fn figure(&self, id: &str) -> String {
        let mut out = String::new();
        let _ = write!(out, "<figure><figcaption>{}</figcaption>{}", escape(&self.title), self.svg(id));
        out.push_str("<ul class=\"legend\">");
        for (at, series) in self.series.iter().enumerate() {
            let _ = write!(
                out,
                "<li><svg class=\"swatch\" viewBox=\"0 0 28 8\" aria-hidden=\"true\">\
                 <path class=\"line s{}\" d=\"M0 4H28\"/></svg> {}</li>",
                at % COLOURS,
                escape(&series.name)
            );
        }
        out.push_str("</ul></figure>");
        out
    }

    fn svg(&self, id: &str) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x = Ruler::over(self.x.scale, points().map(|(x, _)| *x));
        let y = Ruler::over(self.y.scale, points().map(|(_, y)| *y));
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let across = |value| LEFT + x.at(value) * (right - LEFT);
        let up = |value| bottom - y.at(value) * (bottom - TOP);
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>",
            escape(&self.title),
            escape(&self.description)
        );
        for (value, label) in y.ticks() {
            let (at, text) = (up(value), LEFT - 6.0);
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/>");
            let _ = write!(out, "<text class=\"end\" x=\"{text}\" y=\"{:.1}\">{label}</text>", at + 4.0);
        }
        for (value, label) in x.ticks() {
            let at = across(value);
            let _ = write!(out, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
            let _ = write!(out, "<text class=\"mid\" x=\"{at:.1}\" y=\"{}\">{label}</text>", bottom + 16.0);
        }
        let middle = f64::midpoint(LEFT, right);
        let _ =
            write!(out, "<text class=\"mid\" x=\"{middle}\" y=\"{}\">{}</text>", HEIGHT - 8.0, escape(&self.x.label));
        let _ = write!(
            out,
            "<text class=\"mid\" transform=\"translate(12 {}) rotate(-90)\">{}</text>",
            f64::midpoint(TOP, bottom),
            escape(&self.y.label)
        );
        for (at, series) in self.series.iter().enumerate() {
            let class = at % COLOURS;
            let path: Vec<_> = series.points.iter().map(|(x, y)| format!("{:.1} {:.1}", across(*x), up(*y))).collect();
            let _ = write!(out, "<path class=\"line s{class}\" d=\"M{}\"/>", path.join("L"));
            for (x, y) in series.points.iter().filter(|_| self.dots) {
                let _ = write!(
                    out,
                    "<circle class=\"dot s{class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                    across(*x),
                    up(*y)
                );
            }
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        let labels = |scale, values: &[f64]| {
            let ruler = Ruler::over(scale, values.iter().copied());
            let ticks = ruler.ticks();
            assert!(ticks.iter().all(|(value, _)| (-1e-9..=1.0 + 1e-9).contains(&ruler.at(*value))), "{ticks:?}");
            ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>()
        };
        assert_eq!(labels(Scale::Linear, &[0.0, 95.0]), ["0", "20", "40", "60", "80"]);
        assert_eq!(labels(Scale::Log, &[0.2, 900.0]), ["0.1", "1", "10", "100", "1,000"]);
        assert_eq!(labels(Scale::Nines, &[0.0, 0.9995]), ["0 %", "90 %", "99 %", "99.9 %"]);
        for scale in [Scale::Linear, Scale::Log, Scale::Nines] {
            labels(scale, &[]);
            labels(scale, &[0.0, 0.0]);
        }
    }
}
