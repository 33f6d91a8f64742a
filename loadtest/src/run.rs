//! A fleet under observation: progress while it works, costs of both sides, and the parts of the report.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use crate::fault::Faults;
use crate::fleet::account::Gauges;
use crate::fleet::{Fleet, Phase, Plan};
use crate::meter::{Meters, Reading, Readings, between};
use crate::report::{Cost, Memory, PhaseReport, Sample};

const MIB: f64 = 1024.0 * 1024.0;

/// A connected fleet and the meters beside it.
pub struct Run {
    pub fleet: Fleet,
    gauges: Arc<Gauges>,
    hub: Meters,
    own: Meters,
    before: Readings,
    quiet: bool,
}

/// What was used in the measured part, by the hub and by the generator, and the course of it.
#[derive(Default)]
struct Watched {
    used: [Option<Reading>; 2],
    samples: Vec<Sample>,
}

impl Run {
    /// Connects the fleet. `hub` are the processes whose costs are told; a `quiet` run shows no progress.
    pub fn start(plan: Plan, hub: Meters, quiet: bool) -> anyhow::Result<Self> {
        let gauges = Arc::new(Gauges::default());
        let before = hub.read();
        let began = Instant::now();
        let fleet = Fleet::muster(plan, gauges.clone())?;
        if !quiet {
            eprintln!("{} connections after {:.1} s", fleet.connected(), began.elapsed().as_secs_f64());
        }
        Ok(Self { fleet, gauges, hub, own: Meters::of(&[std::process::id()])?, before, quiet })
    }

    /// The processes of the hub.
    pub fn hub(&self) -> &Meters {
        &self.hub
    }

    /// Plays a phase.
    pub fn measure(&self, phase: &Phase) -> anyhow::Result<PhaseReport> {
        self.measure_under(phase, &Faults::default())
    }

    /// Plays a phase while these faults happen, counted from the end of the warm-up.
    pub fn measure_under(&self, phase: &Phase, faults: &Faults) -> anyhow::Result<PhaseReport> {
        let mut phase = phase.clone();
        phase.happenings.extend(faults.happenings(phase.warmup));
        let phase = &phase;
        let (over, ended) = std_mpsc::channel::<()>();
        let (calm, load) = std_mpsc::channel::<()>();
        let start = Instant::now() + phase.warmup;
        std::thread::scope(|scope| {
            let watch = scope.spawn(move || self.watch(phase, &ended));
            let faults = scope.spawn(move || faults.play(start, &load, &self.hub));
            let account = self.fleet.run(phase);
            drop((over, calm));
            let faults = faults.join().unwrap_or_default();
            let Watched { used, samples } = watch.join().unwrap_or_default();
            let account = account?;
            let seconds = phase.duration.as_secs_f64();
            let [hub, own] = used.map(|used| used.map(|used| cost(used, seconds, account.delivered)));
            Ok(PhaseReport { samples, faults, ..PhaseReport::new(phase.rate, seconds, &account, hub, own) })
        })
    }

    /// What each connection costs the hub in memory, once everything is quiet.
    pub fn memory(&self) -> Option<Memory> {
        let before = between(&Readings::new(), &self.before)?;
        let after = between(&self.before, &self.hub.read())?;
        let grown = after.rss as f64 - before.rss as f64;
        Some(Memory {
            before_mib: before.rss as f64 / MIB,
            after_mib: after.rss as f64 / MIB,
            kib_per_connection: grown / 1024.0 / self.fleet.connected().max(1) as f64,
        })
    }

    /// Reads the meters at both ends of the measured part, and shows progress, until the phase is over.
    fn watch(&self, phase: &Phase, ended: &std_mpsc::Receiver<()>) -> Watched {
        let start = Instant::now();
        let read = || [&self.hub, &self.own].map(Meters::read);
        let (mut from, mut to) = (None, None);
        let mut line = Line::new(&self.gauges, read());
        let mut samples = Vec::new();
        let mut shown = start;
        loop {
            let now = Instant::now();
            if from.is_none() && now >= start + phase.warmup {
                from = Some(read());
            }
            if to.is_none() && now >= start + phase.warmup + phase.duration {
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
                Err(std_mpsc::RecvTimeoutError::Timeout) => {}
                _ => break,
            }
        }
        if !self.quiet {
            line.end();
        }
        let (from, to) = (from.unwrap_or_default(), to.unwrap_or_else(read));
        Watched { used: std::array::from_fn(|side| between(&from[side], &to[side])), samples }
    }
}

fn cost(used: Reading, seconds: f64, delivered: u64) -> Cost {
    Cost {
        cpu_percent: 100.0 * used.cpu_s / seconds,
        cpu_s_per_100k_deliveries: if delivered == 0 { 0.0 } else { used.cpu_s * 100_000.0 / delivered as f64 },
        rss_mib: used.rss as f64 / MIB,
    }
}

/// The live line: rates of the last second.
struct Line<'a> {
    gauges: &'a Gauges,
    last: [u64; 4],
    readings: [Readings; 2],
    terminal: bool,
}

impl<'a> Line<'a> {
    fn new(gauges: &'a Gauges, readings: [Readings; 2]) -> Self {
        let mut line = Self { gauges, last: [0; 4], readings, terminal: std::io::stderr().is_terminal() };
        line.last = line.read();
        line
    }

    fn read(&self) -> [u64; 4] {
        [&self.gauges.sent, &self.gauges.acked, &self.gauges.delivered, &self.gauges.errors].map(Gauges::read)
    }

    /// Reads everything, `since` the time of the last call.
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
        let worst = self.gauges.worst.swap(0, Ordering::Relaxed) as f64 / 1000.0;
        let text = format!(
            "{:>4.0} s: {} connected, {:.0} acks/s, {:.0} delivered/s, slowest ack {worst:.1} ms, {} errors{}",
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
