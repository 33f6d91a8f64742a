//! A room of a peer: its members connect, join it, and get the fleet's orders.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;

use super::line::Line;
use super::member::Member;
use crate::fixture::FixtureRoom;
use crate::fleet::Plan;
use crate::fleet::room::{Room, Shared};
use crate::fleet::script::{Kind, Script};
use crate::fleet::worker::Opened;
use crate::target::node_of;

/// Opens the room with this number; refuses a plan that asks of a peer what only a hub can do.
pub(crate) async fn open_room(
    plan: &Plan,
    shared: &Rc<Shared>,
    number: usize,
    fixture: FixtureRoom,
) -> anyhow::Result<Opened> {
    let is_plain =
        plan.kind.is_none_or(|kind| kind == Kind::Chat) && plan.copies == 1 && plan.slow == 0.0 && plan.devices == 1;
    ensure!(is_plain, "peers take messages only: chat, storm, idle and search");
    let mut lines = Vec::new();
    for place in 0..fixture.members.len() {
        let target = plan.targets[node_of(plan.targets.len(), number, place)];
        let dialect = target.dialect().context("some targets are peers, and some are hubs")?;
        let mut line = Line::new(dialect, fixture.room);
        line.connect(target).await.context("a member cannot connect to the peer")?;
        shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        lines.push((line, target));
    }
    let script = plan.kind.map(|_| Script::chat(fixture.pharmacy, plan.bytes)).transpose()?;
    let (senders, receivers): (Vec<_>, Vec<_>) = lines.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let speakers = (0..lines.len()).collect();
    let room = Rc::new(RefCell::new(Room::new(fixture.room, script, senders, fixture.members.len(), speakers)));
    let mut members = Vec::new();
    for (place, ((line, target), receiver)) in lines.into_iter().zip(receivers).enumerate() {
        let member = Member {
            line,
            target,
            room: room.clone(),
            place,
            shared: shared.clone(),
            said: 0,
            unanswered: BTreeMap::new(),
            heard: HashSet::new(),
            repeated: 0,
        };
        members.push(tokio::task::spawn_local(member.serve(receiver)));
    }
    Ok((room, members))
}
