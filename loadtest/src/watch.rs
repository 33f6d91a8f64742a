//! Observes a load while it runs: meters of both sides, progress line, and faults.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::fault::{FaultOutcome, Faults};
use crate::load::results::{Gauges, PhaseResult};
use crate::meter::{Meters, Reading, Readings, between};
use crate::report::{Cost, PhaseReport, Sample};

pub const MIB: f64 = 1024.0 * 1024.0;

/// Observes a load.
pub struct Watch {
    pub gauges: Arc<Gauges>,
    /// The hub's processes.
    pub hub: Meters,
    own: Meters,
    quiet: bool,
}

/// What a watch observed.
#[derive(Debug, Default)]
pub struct Watched {
    /// Resources used by the hub and by the generator in the measured time.
    used: [Option<Reading>; 2],
    samples: Vec<Sample>,
    faults: Vec<FaultOutcome>,
}

impl Watch {
    /// Observes `gauges` and the resources of `hub`. A `quiet` watch shows nothing.
    pub fn new(gauges: Arc<Gauges>, hub: Meters, quiet: bool) -> anyhow::Result<Self> {
        Ok(Self { gauges, hub, own: Meters::of(&[std::process::id()])?, quiet })
    }

    /// Runs `work` with the faults. The first of the two times is the warm-up, from whose end faults count; the second
    /// is measured.
    pub fn during<T>(
        &self,
        (warmup, measured): (Duration, Duration),
        faults: &Faults,
        work: impl FnOnce() -> T,
    ) -> (T, Watched) {
        let (over, ended) = mpsc::channel::<()>();
        let (calm, load) = mpsc::channel::<()>();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || self.observe(start, warmup, measured, &ended));
            let fault_thread = scope.spawn(move || faults.play(start + warmup, &load, &self.hub));
            let result = work();
            drop((over, calm));
            let faults = fault_thread.join().unwrap_or_default();
            (result, Watched { faults, ..watch.join().unwrap_or_default() })
        })
    }

    /// Reads the meters at both ends of the measured time and shows progress, until the load ends.
    fn observe(&self, start: Instant, warmup: Duration, measured: Duration, ended: &mpsc::Receiver<()>) -> Watched {
        let read = || [&self.hub, &self.own].map(Meters::read);
        let (mut from, mut to) = (None, None);
        let mut line = ProgressLine::new(&self.gauges, read());
        let mut samples = Vec::new();
        let mut shown = start;
        loop {
            let now = Instant::now();
            if from.is_none() && now >= start + warmup {
                from = Some(read());
            }
            if to.is_none() && now >= start + warmup + measured {
                to = Some(read());
            }
            if now >= shown + Duration::from_secs(1) {
                let sample = line.sample(now.duration_since(start), now.duration_since(shown), read());
                if !self.quiet {
                    line.show(&sample);
                }
                samples.push(sample);
                shown = now;
            }
            match ended.recv_timeout(Duration::from_millis(20)) {
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
        if !self.quiet {
            line.end();
        }
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_else(read));
        let used = std::array::from_fn(|side| between(&from[side], &to[side]));
        Watched { used, samples, faults: Vec::new() }
    }
}

impl Watched {
    /// Creates the report of a phase at this rate with a measured time of `seconds`.
    pub fn report(self, rate: f64, seconds: f64, result: &PhaseResult) -> PhaseReport {
        let [hub, own] = self.used.map(|used| used.map(|used| cost(used, seconds, result.delivered)));
        let report = PhaseReport::new(rate, seconds, result, hub, own);
        PhaseReport { samples: self.samples, faults: self.faults, ..report }
    }
}

fn cost(used: Reading, seconds: f64, delivered: u64) -> Cost {
    Cost {
        cpu_percent: 100.0 * used.cpu_s / seconds,
        cpu_s_per_100k_deliveries: if delivered == 0 { 0.0 } else { used.cpu_s * 100_000.0 / delivered as f64 },
        rss_mib: used.rss as f64 / MIB,
    }
}

/// The progress line, with the rates of the last second.
struct ProgressLine<'a> {
    gauges: &'a Gauges,
    last: [u64; 4],
    readings: [Readings; 2],
    terminal: bool,
}

impl<'a> ProgressLine<'a> {
    fn new(gauges: &'a Gauges, readings: [Readings; 2]) -> Self {
        let mut line = Self { gauges, last: [0; 4], readings, terminal: std::io::stderr().is_terminal() };
        line.last = line.read();
        line
    }

    fn read(&self) -> [u64; 4] {
        [&self.gauges.sent, &self.gauges.acked, &self.gauges.delivered, &self.gauges.errors].map(Gauges::read)
    }

    /// Takes a sample; `since` is the time since the previous one.
    fn sample(&mut self, at: Duration, since: Duration, readings: [Readings; 2]) -> Sample {
        let now = self.read();
        let rate = |i: usize| (now[i] - self.last[i]) as f64 / since.as_secs_f64();
        let [hub, own] = std::array::from_fn(|side| between(&self.readings[side], &readings[side]));
        let percent = |used: Reading| 100.0 * used.cpu_s / since.as_secs_f64();
        let sample = Sample {
            at_s: at.as_secs_f64(),
            connected: self.gauges.connected.load(Ordering::Relaxed),
            acks_per_s: rate(1),
            delivered_per_s: rate(2),
            hub_cpu_percent: hub.map(percent),
            hub_rss_mib: hub.map(|used| used.rss as f64 / MIB),
            generator_cpu_percent: own.map(percent),
        };
        (self.last, self.readings) = (now, readings);
        sample
    }

    fn show(&self, sample: &Sample) {
        let slowest_ms = self.gauges.slowest_ack_micros.swap(0, Ordering::Relaxed) as f64 / 1000.0;
        let text = format!(
            "{:>4.0} s: {} connected, {:.0} acks/s, {:.0} delivered/s, slowest ack {slowest_ms:.1} ms, {} errors{}",
            sample.at_s,
            sample.connected,
            sample.acks_per_s,
            sample.delivered_per_s,
            self.last[3],
            sample.hub_rss_mib.map(|mib| format!(", hub {mib:.0} MiB")).unwrap_or_default(),
        );
        let mut stderr = std::io::stderr();
        let _ = if self.terminal { write!(stderr, "\r\x1b[2K{text}") } else { writeln!(stderr, "{text}") };
        let _ = stderr.flush();
    }

    fn end(&self) {
        if self.terminal {
            eprintln!();
        }
    }
}
