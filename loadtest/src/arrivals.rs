//! Arrival times of commands: a schedule that does not wait for answers.
//!
//! A generator that sends the next command only after the last answer slows down with the hub and then reports good
//! latencies for a bad hub (coordinated omission). Here the schedule is fixed before the first command is sent.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// The distribution of gaps between commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Exponential gaps, as independent people produce them.
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
    /// Creates a schedule of `rate` commands a second; at least one an hour.
    pub fn new(spacing: Spacing, rate: f64) -> Self {
        Self { spacing, gap: 1e6 / rate.max(1.0 / 3600.0), at: 0.0 }
    }

    /// Returns the time of the next command, measured from the start of the schedule.
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
    fn schedule_keeps_its_rate_in_ascending_order() {
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
