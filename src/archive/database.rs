//! Checking what a database holds: each room's chain, and that the tables made from it say the same.

use rooms::id::RoomId;
use rooms::permission::View;
use rooms::room::Room;
use rooms::state::ConsultationState;

use super::{Chain, Mismatch, PAGE, Report, Why, hex};
use crate::store::project::{Projection, gives_back};
use crate::store::{Store, StoreError};

/// How often a room is read whose tables do not fit: a hub at work may have written between two reads.
const TRIES: usize = 3;

/// A room in which something does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub room: RoomId,
    pub mismatch: Mismatch,
}

/// What was checked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub rooms: u64,
    /// In whole rooms.
    pub events: u64,
    /// Rooms in which something does not fit.
    pub faults: u64,
}

/// Checks all rooms, and tells of each fault and of every room that is done. Rooms may be in use meanwhile.
pub async fn verify_database(
    store: &Store,
    mut fault: impl FnMut(Fault),
    mut progress: impl FnMut(&Tally),
) -> Result<Tally, StoreError> {
    let mut tally = Tally::default();
    let mut last = None;
    // A room without any event is known by its tables only.
    while let Some(room) = next_room(store, last).await? {
        tally.rooms += 1;
        match verify_room(store, room).await? {
            Ok(report) => tally.events += report.events,
            Err(mismatch) => {
                tally.faults += 1;
                fault(Fault { room, mismatch });
            }
        }
        progress(&tally);
        last = Some(room);
    }
    Ok(tally)
}

async fn next_room(store: &Store, after: Option<RoomId>) -> Result<Option<RoomId>, StoreError> {
    let (logged, listed) = (store.room_after(after).await?, store.listed_room_after(after).await?);
    Ok(match (logged, listed) {
        (Some(logged), Some(listed)) => Some(logged.min(listed)),
        (logged, listed) => logged.or(listed),
    })
}

/// Checks one stored record, and what the tables say of it.
pub async fn verify_room(store: &Store, room: RoomId) -> Result<Result<Report, Mismatch>, StoreError> {
    let mut result = read_through(store, room).await?;
    for _ in 1..TRIES {
        match &result {
            Err(Mismatch { why: Why::Table(_) | Why::Reached { .. }, .. }) => {
                result = read_through(store, room).await?;
            }
            _ => break,
        }
    }
    Ok(result)
}

async fn read_through(store: &Store, id: RoomId) -> Result<Result<Report, Mismatch>, StoreError> {
    let mut chain = Chain::new(id);
    let mut room = Room::new(id);
    loop {
        let page = store.events_after(id, chain.next() - 1, PAGE).await?;
        for stored in &page {
            let seq = chain.next();
            match chain.stored(stored.seq, &stored.canonical, &stored.hash) {
                // It is the next one of this room: the chain has seen to that.
                Ok(record) => _ = room.apply(&record),
                // As in its export, where the manifest is line 1.
                Err(why) => return Ok(Err(Mismatch { line: seq + 1, seq: Some(seq), why })),
            }
        }
        if page.len() < PAGE as usize {
            break;
        }
    }
    let report = Report { room: id, events: chain.next() - 1, head: hex(chain.head()) };
    Ok(match unfit(store, &room).await? {
        None => Ok(report),
        Some(why) => Err(Mismatch { line: report.events + 1, seq: Some(report.events), why }),
    })
}

/// What in the tables does not follow from the record. If the last events were cut off, the chain alone does not tell.
async fn unfit(store: &Store, room: &Room) -> Result<Option<Why>, StoreError> {
    let reached = store.marks(room.id()).await?.values().map(|mark| mark.delivered.max(mark.seen)).max().unwrap_or(0);
    if reached > room.head() {
        return Ok(Some(Why::Reached { reached }));
    }
    let stored = store.projection(room.id()).await?;
    if room.head() == 0 {
        return Ok(stored.differs(&Projection::default()).map(Why::Table));
    }
    let after = room.snapshot(&View::Care);
    if let Some(table) = Projection::of(&after, room.wake_at()).differs(&stored) {
        return Ok(Some(Why::Table(table)));
    }
    let Some(consultation) = after.consultation else { return Ok(None) };
    // Where an error was marked, the slot may have been given back before.
    if consultation.state == ConsultationState::EnteredInError {
        return Ok(None);
    }
    let slot = consultation.slot.map(|slot| slot.id).filter(|_| !gives_back(consultation.state));
    Ok((store.slot_of(room.id()).await? != slot).then_some(Why::Table("slots")))
}
