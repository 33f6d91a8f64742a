//! When commands should be sent: a schedule that does not wait for answers.
//!
//! A generator that sends the next command only after the last answer slows down with the hub and then reports good
//! latencies for a bad hub (coordinated omission). Here the schedule stands before the first command is sent.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// How the commands lie in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Independent people: exponential gaps.
    #[default]
    Poisson,
    /// Equal gaps.
    Uniform,
}

/// An endless schedule.
#[derive(Debug)]
pub struct Arrivals {
    spacing: Spacing,
    /// Mean gap in microseconds.
    gap: f64,
    at: f64,
}

impl Arrivals {
    /// `rate` commands a second; at least one in an hour.
    pub fn new(spacing: Spacing, rate: f64) -> Self {
        Self { spacing, gap: 1e6 / rate.max(1.0 / 3600.0), at: 0.0 }
    }

    /// When the next command should be sent, from the start of the schedule.
    pub fn next(&mut self, random: &mut StdRng) -> Duration {
        self.at += match self.spacing {
            Spacing::Uniform => self.gap,
            Spacing::Poisson => -(1.0 - random.random::<f64>()).ln() * self.gap,
        };
        Duration::from_micros(self.at as u64)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_schedule_has_its_rate_and_never_goes_back() {
        for spacing in [Spacing::Poisson, Spacing::Uniform] {
            let mut random = StdRng::seed_from_u64(1);
            let mut arrivals = Arrivals::new(spacing, 1000.0);
            let times: Vec<_> = (0..100_000).map(|_| arrivals.next(&mut random)).collect();
            assert!(times.is_sorted());
            let seconds = times[times.len() - 1].as_secs_f64();
            assert!((98.0..102.0).contains(&seconds), "{spacing:?}: {seconds}");
        }
    }
}
