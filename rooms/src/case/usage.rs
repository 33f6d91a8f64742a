//! How much of a room's space is used, by whom, and what a command may use of it.
//!
//! Nobody can fill a room so that somebody else cannot close it, export it or open it for reading.

use std::io;

use crate::command::{Command, MoveDispensing};
use crate::event::Event;
use crate::id::UserId;
use crate::limits::{Limits, MAX_PERSON_ACCESSES, MAX_ROOM_BYTES, MAX_ROOM_EVENTS};
use crate::refusal::Refusal;
use crate::role::{By, Role};
use crate::state::DispensingState;
use crate::time::Timestamp;

/// What a command may use of a room's space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// The sender's budget and the room's.
    Ordinary,
    /// A budget of each person's own: exports and break-glass.
    Access,
    /// As much as it needs. The state machines allow few such commands in a case: those that lead to its end.
    Closing,
}

impl Allowance {
    /// Returns what this command may use.
    pub fn of(command: &Command) -> Self {
        match command {
            Command::Export(_) | Command::OpenRecord(_) => Self::Access,
            // Only a pause leads back, and a pause is ordinary.
            Command::MoveDispensing(MoveDispensing { to: DispensingState::OnHold, .. }) => Self::Ordinary,
            Command::Cancel(_)
            | Command::Refer(_)
            | Command::End(_)
            | Command::Complete(_)
            | Command::MarkError(_)
            | Command::Timer(_)
            | Command::RecordPayment(_)
            | Command::DeclineCall(_)
            | Command::LeaveCall(_)
            | Command::DismissGuest(_)
            | Command::CancelPrescription(_)
            | Command::MoveDispensing(_)
            | Command::MoveDelivery(_) => Self::Closing,
            Command::Request(_)
            | Command::Confirm(_)
            | Command::Reschedule(_)
            | Command::CheckIn(_)
            | Command::Admit(_)
            | Command::Enter(_)
            | Command::PutBack(_)
            | Command::Presence(_)
            | Command::Chat(_)
            | Command::StartCall(_)
            | Command::JoinCall(_)
            | Command::CallMedia(_)
            | Command::ReportCall(_)
            | Command::CheckDevices(_)
            | Command::InviteGuest(_)
            | Command::EnterAsGuest(_)
            | Command::Draft(_)
            | Command::Amend(_)
            | Command::Sign(_)
            | Command::Send(_)
            | Command::Review(_)
            | Command::Answer(_)
            | Command::AssignDelivery(_) => Self::Ordinary,
        }
    }
}

/// Who a budget belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Payer {
    Person(UserId),
    /// All guests together, because one person may invite many.
    Guests,
}

impl Payer {
    /// The hub itself has no budget.
    fn of(by: &By) -> Option<Self> {
        match by.role {
            Role::Guest => Some(Self::Guests),
            _ => by.id.map(Self::Person),
        }
    }
}

/// What one person has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PersonUsage {
    payer: Payer,
    events: u64,
    bytes: u64,
    /// Exports and break-glass accesses, which count for neither of the above.
    accesses: u64,
}

/// How much of a room's space is used, folded from its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    opened_at: Timestamp,
    events: u64,
    bytes: u64,
    people: Vec<PersonUsage>,
}

impl Usage {
    /// Creates the usage of a room whose first event is at `opened_at`.
    pub fn new(opened_at: Timestamp) -> Self {
        Self { opened_at, events: 0, bytes: 0, people: Vec::new() }
    }

    /// Counts an event.
    pub fn count(&mut self, by: &By, event: &Event) {
        let bytes = event_bytes(event);
        self.events += 1;
        self.bytes += bytes;
        let Some(payer) = Payer::of(by) else { return };
        let at = self.people.iter().position(|used| used.payer == payer).unwrap_or_else(|| {
            self.people.reserve_exact(1);
            self.people.push(PersonUsage { payer, events: 0, bytes: 0, accesses: 0 });
            self.people.len() - 1
        });
        let used = &mut self.people[at];
        if matches!(event, Event::Exported(_) | Event::RecordOpened(_)) {
            used.accesses += 1;
        } else {
            used.events += 1;
            used.bytes += bytes;
        }
    }

    /// Refuses `new` further events of `by` if they exceed what the command may use.
    pub fn check(
        &self,
        allowance: Allowance,
        by: &By,
        new: usize,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let new = new as u64;
        let used = Payer::of(by).and_then(|payer| self.people.iter().find(|used| used.payer == payer));
        match allowance {
            Allowance::Closing => Ok(()),
            Allowance::Access => {
                let days = now.since(self.opened_at).as_secs() / 86_400;
                let max = MAX_PERSON_ACCESSES.saturating_add(days);
                within(used.map_or(0, |used| used.accesses) + new, max, "exports and break-glass accesses")
            }
            Allowance::Ordinary => {
                if self.events + new > MAX_ROOM_EVENTS || self.bytes >= MAX_ROOM_BYTES {
                    return Err(Refusal::RoomFull { max: MAX_ROOM_EVENTS });
                }
                let (events, bytes) = used.map_or((0, 0), |used| (used.events, used.bytes));
                if Payer::of(by).is_none() {
                    return Ok(());
                }
                within(events + new, limits.person_events, "events")?;
                within(bytes + 1, limits.person_bytes, "bytes")
            }
        }
    }
}

fn within(used: u64, max: u64, what: &'static str) -> Result<(), Refusal> {
    if used > max { Err(Refusal::BudgetSpent { what, max }) } else { Ok(()) }
}

/// Returns the event's size. A message counts its text only, so that the most frequent event is not encoded for this.
fn event_bytes(event: &Event) -> u64 {
    if let Event::ChatSent(chat) = event {
        return chat.text.as_str().len() as u64;
    }
    let mut counter = ByteCounter(0);
    // Nothing fails: the counter accepts everything, and events have string keys.
    let _ = serde_json::to_writer(&mut counter, event);
    counter.0
}

/// Counts what is written, and keeps nothing of it.
struct ByteCounter(u64);

impl io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
