//! A fleet with its meters: produces the reports of phases and the memory per connection.

use std::sync::Arc;
use std::time::Instant;

use crate::fault::Faults;
use crate::fleet::Fleet;
use crate::load::plan::{LoadPlan, Phase};
use crate::load::results::Gauges;
use crate::meter::{Meters, Readings, between};
use crate::report::{Memory, PhaseReport};
use crate::watch::{MIB, Watch};

/// A connected fleet and its meters.
pub struct Run {
    pub fleet: Fleet,
    pub watch: Watch,
    before: Readings,
}

impl Run {
    /// Connects the fleet. `hub` are the processes to measure; a `quiet` run shows no progress.
    pub fn connect(plan: LoadPlan, hub: Meters, quiet: bool) -> anyhow::Result<Self> {
        let gauges = Arc::new(Gauges::default());
        let before = hub.read();
        let began = Instant::now();
        let fleet = Fleet::connect(plan, gauges.clone())?;
        if !quiet {
            eprintln!("{} connections after {:.1} s", fleet.connected(), began.elapsed().as_secs_f64());
        }
        Ok(Self { fleet, watch: Watch::new(gauges, hub, quiet)?, before })
    }

    /// Runs a phase.
    pub fn measure(&self, phase: &Phase) -> anyhow::Result<PhaseReport> {
        self.measure_under(phase, &Faults::default())
    }

    /// Runs a phase with these faults, whose times count from the end of the warm-up.
    pub fn measure_under(&self, phase: &Phase, faults: &Faults) -> anyhow::Result<PhaseReport> {
        let mut phase = phase.clone();
        phase.connection_faults.extend(faults.connection_faults(phase.warmup));
        let window = (phase.warmup, phase.duration);
        let (result, watched) = self.watch.during(window, faults, || self.fleet.run(&phase));
        Ok(watched.report(phase.rate, phase.duration.as_secs_f64(), &result?))
    }

    /// Returns the hub's memory per connection. Call it while the hub is idle.
    pub fn memory(&self) -> Option<Memory> {
        let before = between(&Readings::new(), &self.before)?;
        let after = between(&self.before, &self.watch.hub.read())?;
        let grown = after.rss as f64 - before.rss as f64;
        Some(Memory {
            before_mib: before.rss as f64 / MIB,
            after_mib: after.rss as f64 / MIB,
            kib_per_connection: grown / 1024.0 / self.fleet.connected().max(1) as f64,
        })
    }
}
