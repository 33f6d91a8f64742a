//! What the server supplies beside a command: facts, time and fresh ids.

use super::{Command, Request, Reschedule};
use crate::id::{PharmacyId, SlotId, UserId};
use crate::limits::Limits;
use crate::party::{Person, Pharmacy, Policy, Slot};
use crate::role::Actor;
use crate::time::Timestamp;

/// A fact that the server must look up before the engine can decide a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Slot(SlotId),
    Doctor(UserId),
    Pharmacy(PharmacyId),
    Courier(UserId),
}

impl Command {
    /// Returns the one fact that this command depends on, if any.
    pub fn needs(&self) -> Option<Need> {
        match self {
            Command::Request(Request { slot: Some(slot), .. }) | Command::Reschedule(Reschedule { slot }) => {
                Some(Need::Slot(*slot))
            }
            Command::Request(Request { slot: None, doctor, .. }) => doctor.map(Need::Doctor),
            Command::Send(send) => Some(Need::Pharmacy(send.pharmacy)),
            Command::AssignDelivery(assign) => Some(Need::Courier(assign.courier)),
            Command::Confirm(_)
            | Command::Cancel(_)
            | Command::CheckIn(_)
            | Command::Admit(_)
            | Command::Enter(_)
            | Command::PutBack(_)
            | Command::Refer(_)
            | Command::End(_)
            | Command::Complete(_)
            | Command::MarkError(_)
            | Command::Presence(_)
            | Command::Timer(_)
            | Command::RecordPayment(_)
            | Command::Chat(_)
            | Command::StartCall(_)
            | Command::JoinCall(_)
            | Command::DeclineCall(_)
            | Command::LeaveCall(_)
            | Command::CallMedia(_)
            | Command::ReportCall(_)
            | Command::CheckDevices(_)
            | Command::InviteGuest(_)
            | Command::EnterAsGuest(_)
            | Command::DismissGuest(_)
            | Command::Draft(_)
            | Command::Amend(_)
            | Command::Sign(_)
            | Command::CancelPrescription(_)
            | Command::Review(_)
            | Command::Answer(_)
            | Command::MoveDispensing(_)
            | Command::MoveDelivery(_)
            | Command::Export(_)
            | Command::OpenRecord(_) => None,
        }
    }
}

/// Everything outside the room that a decision depends on.
pub struct Context<'a> {
    pub now: Timestamp,
    pub actor: &'a Actor,
    pub facts: &'a Facts,
    /// The policy for a room that this command opens. An open room keeps its own.
    pub policy: &'a Policy,
    /// The business limits.
    pub limits: &'a Limits,
    /// The version (`seq` of the last event) of the command's subject, as its sender saw it.
    pub expect: Option<u64>,
    /// Generates a fresh id.
    pub fresh: &'a mut dyn FnMut() -> uuid::Uuid,
}

/// The answers to [`Command::needs`]. Absent means that the thing does not exist.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub slot: Option<Slot>,
    pub doctor: Option<Person>,
    pub pharmacy: Option<Pharmacy>,
    pub courier: Option<Person>,
}
