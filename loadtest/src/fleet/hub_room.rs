//! Opens a room of a hub: connects its members, joins them, and brings the room to the start of its script.

use std::cell::RefCell;
use std::iter;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use rand::Rng;
use rooms::wire::server::ServerFrame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::client::{Answer, Client};
use crate::fixture::FixtureRoom;
use crate::fleet::member::{Link, Member, silence};
use crate::frame::FrameSummary;
use crate::load::plan::LoadPlan;
use crate::load::room::{OpenedRoom, Room, RunState};
use crate::load::script::Script;
use crate::target::{Target, node_of};

/// Connects the members of the room with this number and sends the commands that prepare its script.
pub async fn open(
    plan: &LoadPlan,
    shared: &Rc<RunState>,
    number: usize,
    fixture: FixtureRoom,
) -> anyhow::Result<OpenedRoom> {
    let reader = plan.kind.map(Script::reader);
    let mut snapshot = None;
    let nodes: Rc<[Target]> = plan.targets.clone().into();
    let mut clients = Vec::new();
    let mut links = Vec::new();
    let mut active_members = Vec::new();
    let people = fixture.members.len();
    for (index, member) in iter::repeat_n(&fixture.members, plan.devices.max(1)).flatten().enumerate() {
        let node = node_of(plan.targets.len(), number, index);
        let mut client = Client::new(plan.targets[node], member.token.clone());
        // At most one member, so that others can still send.
        if index == 0 && shared.random.borrow_mut().random::<f64>() < plan.slow {
            client.use_small_receive_buffer();
        } else {
            active_members.push(index);
        }
        let welcome = client.connect().await.context("cannot connect a member")?;
        client.join(fixture.room).await.context("cannot join a member to its room")?;
        shared.gauges.connected.fetch_add(1, Ordering::Relaxed);
        while let Ok(Ok(received)) = timeout(Duration::ZERO, client.next()).await {
            if reader == Some(index) && matches!(received.summary, FrameSummary::Joined { .. }) {
                snapshot = Some(received.text);
            }
        }
        links.push(Link { nodes: nodes.clone(), node, silence: silence(&welcome), retry_after: None });
        clients.push(client);
    }
    let mut script = None;
    if let Some(kind) = plan.kind {
        let text = snapshot.context("the room lacks the member whose snapshot its script needs")?;
        let ServerFrame::Joined { snapshot, .. } = serde_json::from_str(&text)? else { bail!("not a joined frame") };
        let mut begun = Script::new(kind, fixture.pharmacy, &snapshot, plan.bytes)?;
        while let Some((who, command)) = begun.prepare()? {
            match clients[who].command(fixture.room, command).await? {
                Answer::Done { .. } => drop(begun.step_done()),
                Answer::Refused(error) => bail!("cannot prepare a room: {}", error.message),
            }
        }
        script = Some(begun);
    }
    let (senders, receivers): (Vec<_>, Vec<_>) = clients.iter().map(|_| mpsc::unbounded_channel()).unzip();
    let room = Rc::new(RefCell::new(Room::new(fixture.room, script, senders.clone(), people, active_members)));
    let ends = senders.into_iter().zip(receivers);
    let members = clients.into_iter().zip(links).zip(ends).enumerate();
    let members = members
        .map(|(index, (client, ends))| Member::spawn(client, &room, (index, index % people), shared, ends))
        .collect();
    Ok((room, members))
}
