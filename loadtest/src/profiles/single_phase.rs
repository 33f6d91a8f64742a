//! Profiles of one phase: `chat`, `fanout`, `status`, `duplicates`, `slow`, and `storm`.

use std::time::Duration;

use anyhow::ensure;
use loadtest::load::plan::{ConnectionFault, LoadPlan};
use loadtest::load::script::LoadKind;
use loadtest::report::Report;
use loadtest::run::Run;

use super::bounds::bounds;
use super::setup::{connect, fixture, plan};
use crate::cli::Talk;

/// Connections of one run; beyond it the kernel has no local ports left.
const MAX_CONNECTIONS: usize = 19_000;

/// A profile of one phase.
pub struct SinglePhase<'a> {
    pub name: &'static str,
    pub talk: &'a Talk,
    pub kind: LoadKind,
    pub devices: usize,
    pub copies: u8,
    pub slow: f64,
    pub connection_faults: Vec<(Duration, ConnectionFault)>,
}

impl<'a> SinglePhase<'a> {
    pub fn new(name: &'static str, talk: &'a Talk) -> Self {
        Self { name, talk, kind: LoadKind::Chat, devices: 1, copies: 1, slow: 0.0, connection_faults: Vec::new() }
    }

    pub fn connect(&self) -> anyhow::Result<(Run, Report)> {
        let talk = self.talk;
        let (rooms, members) = (talk.rooms as usize, talk.members as usize);
        ensure!(self.kind == LoadKind::Chat || members == 3, "status changes need --members 3");
        let sockets = rooms * members * self.devices;
        ensure!(
            sockets <= MAX_CONNECTIONS,
            "{sockets} connections are more than {MAX_CONNECTIONS}: fewer rooms or devices"
        );
        let plan = LoadPlan {
            devices: self.devices,
            copies: self.copies,
            slow: self.slow,
            bytes: talk.bytes as usize,
            ..plan(&talk.common, fixture(&talk.common)?.take(rooms, members)?, Some(self.kind))
        };
        let run = connect(plan, &talk.common)?;
        let connections = run.fleet.connected();
        let memory = run.memory();
        Ok((run, Report { profile: self.name, rooms, members, connections, memory, ..Report::default() }))
    }

    pub fn play(self) -> anyhow::Result<Report> {
        let faults = self.talk.common.faults(true)?;
        let (run, mut report) = self.connect()?;
        report.phases.push(run.measure_under(&self.talk.phase(self.connection_faults), &faults)?);
        report.readers = Some(run.fleet.check()?);
        report.bounds = bounds(&self.talk.limits, &report);
        Ok(report)
    }
}
