//! A room of a competitor: its members connect, join it, and execute the fleet's commands.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;

use super::connection::Connection;
use super::member::CompetitorMember;
use crate::fixture::FixtureRoom;
use crate::load::plan::LoadPlan;
use crate::load::room::{OpenedRoom, Room, RunState};
use crate::load::script::{LoadKind, Script};
use crate::target::node_of;

/// Opens the room with this number. Rejects a plan that needs a hub.
pub async fn open(
    plan: &LoadPlan,
    shared: &Rc<RunState>,
    number: usize,
    fixture: FixtureRoom,
) -> anyhow::Result<OpenedRoom> {
    let is_plain = plan.kind.is_none_or(|kind| kind == LoadKind::Chat)
        && plan.copies == 1
        && plan.slow == 0.0
        && plan.devices == 1;
    ensure!(
        is_plain,
        "competitors support only chat, storm, idle, and search, without devices, copies, or slow members"
    );
    let mut connections = Vec::new();
    for person in 0..fixture.members.len() {
        let target = plan.targets[node_of(plan.targets.len(), number, person)];
        let protocol = target.competitor().context("targets must be all hubs or all competitors")?;
        let mut connection = Connection::new(protocol, fixture.room);
        connection.connect(target).await.context("cannot connect a member to the competitor")?;
        shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        connections.push((connection, target));
    }
    let script = plan.kind.map(|_| Script::chat(fixture.pharmacy, plan.bytes)).transpose()?;
    let (senders, receivers): (Vec<_>, Vec<_>) = connections.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let active_members = (0..connections.len()).collect();
    let room = Rc::new(RefCell::new(Room::new(fixture.room, script, senders, fixture.members.len(), active_members)));
    let mut members = Vec::new();
    for (person, ((connection, target), receiver)) in connections.into_iter().zip(receivers).enumerate() {
        let member = CompetitorMember {
            connection,
            target,
            room: room.clone(),
            person,
            shared: shared.clone(),
            last_number: 0,
            unanswered: BTreeMap::new(),
            received: HashSet::new(),
            repeated: 0,
        };
        members.push(tokio::task::spawn_local(member.serve(receiver)));
    }
    Ok((room, members))
}
