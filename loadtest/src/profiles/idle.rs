//! The profile `idle`: connections that send nothing, and what they cost the hub.

use std::time::Duration;

use anyhow::ensure;
use loadtest::fixture::FixtureRoom;
use loadtest::load::results::PhaseResult;
use loadtest::report::{Bound, PhaseReport, Report};

use super::bounds::faults_not_done;
use super::setup::{connect, fixture, plan};
use crate::cli::CommonArgs;

/// Connects, waits, and measures the hub's memory.
pub fn run(common: &CommonArgs, connections: usize, seconds: u64, limit: Option<f64>) -> anyhow::Result<Report> {
    let fixture = fixture(common)?;
    ensure!(fixture.rooms.iter().any(|room| !room.members.is_empty()), "the fixture has no rooms: seed again");
    let mut rooms: Vec<FixtureRoom> = Vec::new();
    let mut left = connections;
    for room in fixture.rooms.iter().cycle() {
        if left == 0 {
            break;
        }
        let members: Vec<_> = room.members.iter().take(left).cloned().collect();
        left -= members.len();
        rooms.push(FixtureRoom { members, ..room.clone() });
    }
    let faults = common.faults(false)?;
    let count = rooms.len().min(fixture.rooms.len());
    let run = connect(plan(common, rooms, None), common)?;
    let stay = Duration::from_secs(seconds);
    let ((), watched) = run.watch.during((Duration::ZERO, stay), &faults, || std::thread::sleep(stay));
    let phase = PhaseReport { part: "idle", ..watched.report(0.0, seconds as f64, &PhaseResult::default()) };
    let memory = run.memory();
    let mut bounds = vec![
        Bound::at_most("disconnected", 0.0, connections.saturating_sub(run.fleet.connected()) as f64),
        faults_not_done(std::slice::from_ref(&phase)),
    ];
    if let (Some(limit), Some(memory)) = (limit, memory) {
        bounds.push(Bound::at_most("kib_per_connection", limit, memory.kib_per_connection));
    }
    let connected = run.fleet.connected();
    Ok(Report {
        profile: "idle",
        rooms: count,
        members: 3,
        connections: connected,
        phases: vec![phase],
        memory,
        bounds,
        ..Report::default()
    })
}
