//! Searches the highest rate whose p99 stays below a bound.

/// Raises the rate by a factor until it fails, then bisects between the best and the lowest failed rate. A rate fails
/// only on its second miss in a row: the first may be due to the machine or to the previous step.
#[derive(Clone, Debug)]
pub struct Search {
    good: Option<f64>,
    bad: Option<f64>,
    next: f64,
    steps: u32,
    /// The next rate has missed once.
    doubted: bool,
}

/// Growth of the rate until the first failure.
const RATE_STEP_FACTOR: f64 = 1.5;
/// The search ends when the best and the failed rate are within this factor.
const CLOSE_ENOUGH_FACTOR: f64 = 1.06;
/// Limit on the number of steps, whatever the hub does.
const MAX_STEPS: u32 = 32;
/// The lowest rate tried, in commands a second.
const MIN_RATE: f64 = 10.0;

impl Search {
    /// Creates a search that starts at `rate` commands a second.
    pub fn from(rate: f64) -> Self {
        Self { good: None, bad: None, next: rate.max(MIN_RATE), steps: 0, doubted: false }
    }

    /// Returns the next rate to try; `None` at the end of the search.
    pub fn rate(&mut self) -> Option<f64> {
        let over = match (self.good, self.bad) {
            (Some(good), Some(bad)) => bad <= good * CLOSE_ENOUGH_FACTOR,
            (None, Some(bad)) => bad <= MIN_RATE,
            _ => false,
        };
        self.steps += 1;
        (!over && self.steps <= MAX_STEPS).then_some(self.next)
    }

    /// Records whether a rate kept the bound.
    pub fn tried(&mut self, rate: f64, kept: bool) {
        if !kept && !self.doubted {
            self.doubted = true;
            return;
        }
        self.doubted = false;
        if kept {
            self.good = Some(rate);
        } else {
            self.bad = Some(rate);
        }
        self.next = match (self.good, self.bad) {
            (Some(good), Some(bad)) => good.midpoint(bad),
            (Some(good), None) => good * RATE_STEP_FACTOR,
            (None, Some(bad)) => (bad / 2.0).max(MIN_RATE),
            (None, None) => rate,
        };
    }

    /// Returns the highest rate that kept the bound.
    pub fn best(&self) -> Option<f64> {
        self.good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(from: f64, limit: f64) -> (Option<f64>, u32) {
        let mut search = Search::from(from);
        let mut tries = 0;
        while let Some(rate) = search.rate() {
            search.tried(rate, rate <= limit);
            tries += 1;
        }
        (search.best(), tries)
    }

    #[test]
    fn search_finds_the_highest_rate_from_below_and_from_above() {
        for from in [100.0, 5_000.0, 50_000.0] {
            let (best, tries) = search(from, 4_000.0);
            let best = best.unwrap();
            assert!((3_700.0..=4_000.0).contains(&best), "{best}");
            assert!(tries <= 24, "{tries}");
        }
    }

    #[test]
    fn search_retries_a_rate_that_failed_once() {
        let mut search = Search::from(1_000.0);
        let mut asked = Vec::new();
        for kept in [true, false, true, false, false] {
            let rate = search.rate().expect("the search continues");
            asked.push(rate);
            search.tried(rate, kept);
        }
        assert_eq!(asked, [1_000.0, 1_500.0, 1_500.0, 2_250.0, 2_250.0]);
        assert_eq!((search.best(), search.rate()), (Some(1_500.0), Some(1_875.0)));
    }

    #[test]
    fn search_ends_if_no_rate_keeps_the_bound() {
        assert_eq!(search(1000.0, 0.0).0, None);
        assert!(search(1000.0, f64::INFINITY).1 <= MAX_STEPS);
    }
}
