//! The distribution of consultations over a day.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Consultations that begin in each hour, relative to the mean of all hours. This is an assumption, not a measurement:
/// nights are quiet, most people come after breakfast, and a second, lower wave comes after work. The curve is linear
/// between the middles of two hours.
const HOURLY_WEIGHTS: [f64; 24] = [
    0.10, 0.05, 0.05, 0.05, 0.05, 0.10, 0.30, 0.90, 2.10, 2.80, 2.60, 2.00, // midnight to noon
    1.30, 1.20, 1.60, 1.70, 1.60, 1.50, 1.40, 1.10, 0.70, 0.40, 0.25, 0.15,
];

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The maximum of the curve.
const MAX_HOURLY_WEIGHT: f64 = 2.80;

/// Start times of consultations: Poisson arrivals at a rate that follows the time of day.
#[derive(Debug)]
pub enum CaseArrivals {
    /// A compressed part of a day.
    Day {
        /// Mean number of consultations in a second of the day.
        mean: f64,
        compress: f64,
        /// In seconds of the day.
        at: f64,
        from: f64,
        to: f64,
    },
    /// A constant rate for a fixed time.
    ConstantRate { rate: f64, at: f64, seconds: f64 },
}

impl CaseArrivals {
    /// Creates the arrivals of `cases` a day between two hours, `compress` times as fast as the clock.
    pub fn day(cases: f64, compress: f64, hours: (f64, f64)) -> Self {
        let (from, to) = (hours.0 * SECONDS_PER_HOUR, hours.1 * SECONDS_PER_HOUR);
        Self::Day { mean: cases / (24.0 * SECONDS_PER_HOUR), compress, at: from, from, to }
    }

    pub fn constant_rate(rate: f64, seconds: f64) -> Self {
        Self::ConstantRate { rate, at: 0.0, seconds }
    }

    /// Returns the length of the schedule.
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64(match self {
            Self::Day { compress, from, to, .. } => (to - from) / compress,
            Self::ConstantRate { seconds, .. } => *seconds,
        })
    }

    /// Returns the start of the next consultation, measured from the start; `None` at the end.
    pub fn next(&mut self, random: &mut StdRng) -> Option<Duration> {
        match self {
            Self::ConstantRate { rate, at, seconds } => {
                *at += gap(*rate, random);
                (*at < *seconds).then(|| Duration::from_secs_f64(*at))
            }
            Self::Day { mean, compress, at, from, to } => loop {
                // Thinning: draw at the peak rate, and keep as many as the hour's weight allows.
                *at += gap(*mean * MAX_HOURLY_WEIGHT, random);
                if *at >= *to {
                    return None;
                }
                if random.random::<f64>() * MAX_HOURLY_WEIGHT < weight(*at) {
                    return Some(Duration::from_secs_f64((*at - *from) / *compress));
                }
            },
        }
    }
}

fn gap(rate: f64, random: &mut StdRng) -> f64 {
    -(1.0 - random.random::<f64>()).ln() / rate
}

/// Returns the rate at a second of the day, relative to the mean.
fn weight(second: f64) -> f64 {
    let hour = second / SECONDS_PER_HOUR - 0.5;
    let (before, part) = (hour.floor(), hour - hour.floor());
    let of = |hour: f64| HOURLY_WEIGHTS[hour.rem_euclid(24.0) as usize];
    of(before) * (1.0 - part) + of(before + 1.0) * part
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn day_has_its_number_of_cases_and_peaks_in_the_morning() {
        assert!((HOURLY_WEIGHTS.iter().sum::<f64>() - 24.0).abs() < 1e-9, "{}", HOURLY_WEIGHTS.iter().sum::<f64>());
        assert!(HOURLY_WEIGHTS.iter().all(|weight| *weight <= MAX_HOURLY_WEIGHT));
        let mut random = StdRng::seed_from_u64(1);
        let mut day = CaseArrivals::day(100_000.0, 144.0, (0.0, 24.0));
        assert_eq!(day.length(), Duration::from_secs(600));
        let times: Vec<_> = std::iter::from_fn(|| day.next(&mut random)).collect();
        assert!((99_000..101_000).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times[times.len() - 1] < day.length());
        let hour = |hour: u32| times.iter().filter(|at| at.as_secs_f64() as u32 / 25 == hour).count();
        assert!(hour(9) > 20 * hour(2) && hour(9) > hour(14), "{} {} {}", hour(2), hour(9), hour(14));
        let morning = CaseArrivals::day(100_000.0, 144.0, (8.0, 11.0));
        assert_eq!(morning.length(), Duration::from_secs(75));
    }

    #[test]
    fn constant_rate_is_kept() {
        let mut random = StdRng::seed_from_u64(1);
        let mut arrivals = CaseArrivals::constant_rate(100.0, 50.0);
        assert!((4_800..5_200).contains(&std::iter::from_fn(|| arrivals.next(&mut random)).count()));
    }
}
