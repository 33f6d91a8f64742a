//! Latency histograms, in microseconds from the intended time.

use hdrhistogram::Histogram;
use serde::Serialize;

/// The longest latency that the histogram resolves: 60 seconds.
const MAX_LATENCY_MICROS: u64 = 60_000_000;

/// The quantiles of a curve's points.
const QUANTILES: [f64; 15] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 0.999_999];

/// A histogram up to 60 s with three significant digits.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

/// A histogram in brief. All fields but `count` are in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LatencySummary {
    pub count: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, MAX_LATENCY_MICROS, 3).expect("the bounds are constant and valid"))
    }
}

impl Latency {
    pub fn record(&mut self, micros: u64) {
        self.0.saturating_record(micros);
    }

    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }

    /// Returns the percentile curve, as far as the number of values supports it: quantile and microseconds, both
    /// ascending.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let count = self.0.len() as f64;
        let known = QUANTILES.into_iter().filter(|quantile| count * (1.0 - quantile) >= 1.0);
        let mut curve: Vec<_> = known.map(|quantile| (quantile, self.0.value_at_quantile(quantile))).collect();
        if count > 0.0 {
            curve.push((1.0, self.0.max()));
        }
        curve
    }

    pub fn summary(&self) -> LatencySummary {
        if self.0.is_empty() {
            return LatencySummary::default();
        }
        let at = |quantile| self.0.value_at_quantile(quantile);
        LatencySummary {
            count: self.0.len(),
            mean: self.0.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_merges_and_saturates() {
        let mut one = Latency::default();
        let mut two = Latency::default();
        for micros in 1..=500 {
            one.record(micros);
            two.record(micros + 500);
        }
        one.merge(&two);
        let summary = one.summary();
        assert_eq!((summary.count, summary.p50, summary.p99, summary.max), (1000, 500, 990, 1000));
        let curve = one.curve();
        assert_eq!(curve.iter().map(|(quantile, _)| *quantile).next_back(), Some(1.0));
        assert!(curve.contains(&(0.5, 500)) && curve.contains(&(0.999, 999)) && curve.contains(&(1.0, 1000)));
        assert!(curve.iter().all(|(quantile, _)| *quantile <= 0.999 || *quantile == 1.0), "{curve:?}");
        assert!(curve.is_sorted());
        assert!(Latency::default().curve().is_empty());
        one.record(u64::MAX);
        assert!(one.summary().max >= MAX_LATENCY_MICROS);
        assert_eq!(Latency::default().summary(), LatencySummary::default());
    }
}
