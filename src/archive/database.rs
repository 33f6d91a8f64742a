//! Verification of a database: each room's hash chain, and the projections against the record.

use rooms::id::RoomId;
use rooms::permission::View;
use rooms::room::Room;
use rooms::state::ConsultationState;
use rooms::time::Timestamp;

use super::{ChainVerifier, IntegrityError, PAGE_EVENTS, VerifiedRecord, Violation, hex};
use crate::store::projection::{Projection, releases_slot};
use crate::store::{Store, StoreError};

/// How often a room with a table violation is read: a running hub may have written between two queries.
const MAX_READS: usize = 3;

/// A room that failed verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRoom {
    pub room: RoomId,
    pub error: IntegrityError,
}

/// The counts of a running or finished verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerificationProgress {
    pub rooms: u64,
    /// The events in valid rooms.
    pub events: u64,
    /// The number of invalid rooms.
    pub invalid: u64,
}

/// Verifies all rooms. Calls `on_invalid` for each invalid room and `on_progress` after each room. Rooms may be in use
/// while this runs.
pub async fn verify_database(
    store: &Store,
    mut on_invalid: impl FnMut(InvalidRoom),
    mut on_progress: impl FnMut(&VerificationProgress),
) -> Result<VerificationProgress, StoreError> {
    let mut progress = VerificationProgress::default();
    let mut last = None;
    // Includes rooms that only the tables know: their events may all have been deleted.
    while let Some(room) = next_room(store, last).await? {
        progress.rooms += 1;
        match verify_room(store, room).await? {
            Ok(record) => progress.events += record.events,
            Err(error) => {
                progress.invalid += 1;
                on_invalid(InvalidRoom { room, error });
            }
        }
        on_progress(&progress);
        last = Some(room);
    }
    Ok(progress)
}

async fn next_room(store: &Store, after: Option<RoomId>) -> Result<Option<RoomId>, StoreError> {
    let (logged, listed) = (store.room_after(after).await?, store.listed_room_after(after).await?);
    Ok(match (logged, listed) {
        (Some(logged), Some(listed)) => Some(logged.min(listed)),
        (logged, listed) => logged.or(listed),
    })
}

/// Verifies one stored record and its projections.
pub async fn verify_room(store: &Store, room: RoomId) -> Result<Result<VerifiedRecord, IntegrityError>, StoreError> {
    let mut result = verify_once(store, room).await?;
    for _ in 1..MAX_READS {
        match &result {
            Err(IntegrityError {
                violation: Violation::Projection(_) | Violation::ReceiptBeyondHead { .. }, ..
            }) => {
                result = verify_once(store, room).await?;
            }
            _ => break,
        }
    }
    Ok(result)
}

async fn verify_once(store: &Store, id: RoomId) -> Result<Result<VerifiedRecord, IntegrityError>, StoreError> {
    let mut chain = ChainVerifier::new(id);
    let mut room = Room::new(id);
    loop {
        let page = store.events_after(id, chain.next_seq() - 1, PAGE_EVENTS).await?;
        for stored in &page {
            let seq = chain.next_seq();
            match chain.verify_stored(stored.seq, &stored.canonical, &stored.hash) {
                // The verifier has established that this is the room's next event.
                Ok(record) => _ = room.apply(&record),
                // The line of the room's export, where the manifest is line 1.
                Err(violation) => return Ok(Err(IntegrityError { line: seq + 1, seq: Some(seq), violation })),
            }
        }
        if page.len() < PAGE_EVENTS as usize {
            break;
        }
    }
    let record = VerifiedRecord { room: id, events: chain.next_seq() - 1, head: hex(chain.head_hash()) };
    Ok(match table_violation(store, &room).await? {
        None => Ok(record),
        Some(violation) => Err(IntegrityError { line: record.events + 1, seq: Some(record.events), violation }),
    })
}

/// Finds a table that disagrees with the record. The chain alone cannot reveal that the last events were cut off.
async fn table_violation(store: &Store, room: &Room) -> Result<Option<Violation>, StoreError> {
    let reached = store.marks(room.id()).await?.values().map(|mark| mark.delivered.max(mark.seen)).max().unwrap_or(0);
    if reached > room.head() {
        return Ok(Some(Violation::ReceiptBeyondHead { seq: reached }));
    }
    let stored = store.projection(room.id()).await?;
    if room.head() == 0 {
        return Ok(stored.differs(&Projection::default()).map(Violation::Projection));
    }
    // The tables hold no moves, so any moment serves.
    let after = room.snapshot(&View::Care, Timestamp::from_micros(0));
    if let Some(table) = Projection::of(&after, room.wake_at()).differs(&stored) {
        return Ok(Some(Violation::Projection(table)));
    }
    let Some(consultation) = after.consultation else { return Ok(None) };
    // A consultation entered in error may have released its slot before.
    if consultation.state == ConsultationState::EnteredInError {
        return Ok(None);
    }
    let slot = consultation.slot.map(|slot| slot.id).filter(|_| !releases_slot(consultation.state));
    Ok((store.slot_of(room.id()).await? != slot).then_some(Violation::Projection("slots")))
}
