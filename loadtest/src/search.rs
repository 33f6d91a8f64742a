//! The highest rate whose p99 stays below a bound.

/// Walks up by a factor until a rate fails, then halves the interval between the best and the first bad one. A rate fails
/// when it fails twice running: the first time it may have been the machine, or what the step before left behind.
#[derive(Clone, Debug)]
pub struct Search {
    good: Option<f64>,
    bad: Option<f64>,
    next: f64,
    steps: u32,
    /// The next rate has failed once.
    doubted: bool,
}

/// The factor of the walk up.
const RATE_STEP_FACTOR: f64 = 1.5;
/// When the best and the bad rate are this close, the search is over.
const CLOSE_ENOUGH_FACTOR: f64 = 1.06;
/// More steps than this are not taken, whatever the hub does.
const MAX_STEPS: u32 = 32;
/// Nobody asks for less.
const MIN_RATE: f64 = 10.0;

impl Search {
    /// A search that begins at `rate` commands a second.
    pub fn from(rate: f64) -> Self {
        Self { good: None, bad: None, next: rate.max(MIN_RATE), steps: 0, doubted: false }
    }

    /// The rate to try next; nothing when the search is over.
    pub fn rate(&mut self) -> Option<f64> {
        let over = match (self.good, self.bad) {
            (Some(good), Some(bad)) => bad <= good * CLOSE_ENOUGH_FACTOR,
            (None, Some(bad)) => bad <= MIN_RATE,
            _ => false,
        };
        self.steps += 1;
        (!over && self.steps <= MAX_STEPS).then_some(self.next)
    }

    /// Whether the rate that was tried kept the bound.
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

    /// The highest rate that kept the bound.
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
    fn the_highest_rate_is_found_from_below_and_from_above() {
        for from in [100.0, 5_000.0, 50_000.0] {
            let (best, tries) = search(from, 4_000.0);
            let best = best.unwrap();
            assert!((3_700.0..=4_000.0).contains(&best), "{best}");
            assert!(tries <= 24, "{tries}");
        }
    }

    #[test]
    fn a_rate_that_fails_once_is_tried_again() {
        let mut search = Search::from(1_000.0);
        let mut asked = Vec::new();
        for kept in [true, false, true, false, false] {
            let rate = search.rate().expect("it goes on");
            asked.push(rate);
            search.tried(rate, kept);
        }
        assert_eq!(asked, [1_000.0, 1_500.0, 1_500.0, 2_250.0, 2_250.0]);
        assert_eq!((search.best(), search.rate()), (Some(1_500.0), Some(1_875.0)));
    }

    #[test]
    fn a_hub_that_keeps_nothing_ends_the_search() {
        assert_eq!(search(1000.0, 0.0).0, None);
        assert!(search(1000.0, f64::INFINITY).1 <= MAX_STEPS);
    }
}
