//! Profiles of one phase: `chat`, `fanout`, `status`, `duplicates`, `slow`, and `storm`.

use std::time::Duration;

use anyhow::ensure;
use loadtest::load::plan::{ConnectionFault, LoadPlan};
use loadtest::load::script::LoadKind;
use loadtest::report::Report;
use loadtest::run::Run;

use super::bounds::bounds;
use super::setup::{connect, fixture, plan};
use crate::cli::LoadArgs;

/// The most connections of one run; the kernel has no local ports for more.
const MAX_CONNECTIONS: usize = 19_000;

/// A profile of one phase.
pub struct SinglePhase<'a> {
    pub name: &'static str,
    pub args: &'a LoadArgs,
    pub kind: LoadKind,
    pub devices: usize,
    pub copies: u8,
    pub slow: f64,
    pub connection_faults: Vec<(Duration, ConnectionFault)>,
}

impl<'a> SinglePhase<'a> {
    pub fn new(name: &'static str, args: &'a LoadArgs) -> Self {
        Self { name, args, kind: LoadKind::Chat, devices: 1, copies: 1, slow: 0.0, connection_faults: Vec::new() }
    }

    pub fn connect(&self) -> anyhow::Result<(Run, Report)> {
        let args = self.args;
        let (rooms, members) = (args.rooms as usize, args.members as usize);
        ensure!(self.kind == LoadKind::Chat || members == 3, "status needs --members 3");
        let sockets = rooms * members * self.devices;
        ensure!(
            sockets <= MAX_CONNECTIONS,
            "{sockets} connections are more than {MAX_CONNECTIONS}: fewer rooms or devices"
        );
        let plan = LoadPlan {
            devices: self.devices,
            copies: self.copies,
            slow: self.slow,
            bytes: args.bytes as usize,
            ..plan(&args.common, fixture(&args.common)?.take(rooms, members)?, Some(self.kind))
        };
        let run = connect(plan, &args.common)?;
        let connections = run.fleet.connected();
        let memory = run.memory();
        Ok((run, Report { profile: self.name, rooms, members, connections, memory, ..Report::default() }))
    }

    pub fn play(self) -> anyhow::Result<Report> {
        let faults = self.args.common.faults(true)?;
        let (run, mut report) = self.connect()?;
        report.phases.push(run.measure_under(&self.args.phase(self.connection_faults), &faults)?);
        report.readers = Some(run.fleet.check()?);
        report.bounds = bounds(&self.args.limits, &report);
        Ok(report)
    }
}
