//! What can be asked of a room.
//!
//! A command carries only what its sender is free to choose. Facts about the world (whose slot that is, what a pharmacy
//! is called) are looked up by the server, as [`Command::needs`] says, and handed to `decide` beside it.

mod medicine;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::call::{Check, LeaveCall, MediaChange, OfCall, ReportCall, StartCall};
use crate::case::guest::{InviteGuest, OfGuest};
use crate::case::payment::PaymentState;
use crate::event::{Party, Policy, Thread};
use crate::id::{PharmacyId, SlotId, UserId};
use crate::role::Actor;
use crate::text::{Line, Prose};
use crate::time::Timestamp;

pub use medicine::{
    Amend, Answer, AssignDelivery, CancelPrescription, Draft, MoveDelivery, MoveDispensing, OfPrescription, Review,
    SendPrescription, Verdict,
};

/// One wish. On the wire: `{"kind":"chat.send","data":{…}}`; unknown kinds and unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data", deny_unknown_fields)]
pub enum Command {
    /// Opens the room: a patient asks for a slot, or walks in to a doctor. Only by REST, which makes the room's id.
    #[serde(rename = "consultation.request")]
    Request(Request),
    /// The patient confirms the held slot.
    #[serde(rename = "consultation.confirm")]
    Confirm(Nothing),
    #[serde(rename = "consultation.reschedule")]
    Reschedule(Reschedule),
    #[serde(rename = "consultation.cancel")]
    Cancel(Reason),
    /// The patient arrives: consent and identity are recorded, and the patient enters the doctor's queue.
    #[serde(rename = "consultation.check_in")]
    CheckIn(CheckIn),
    /// The doctor calls the patient in; the call rings.
    #[serde(rename = "consultation.admit")]
    Admit(Nothing),
    /// The patient answers the call.
    #[serde(rename = "consultation.enter")]
    Enter(Nothing),
    /// The doctor sends the patient back to the front of the queue.
    #[serde(rename = "consultation.put_back")]
    PutBack(Nothing),
    /// The doctor ends the consultation as unsuitable for this channel.
    #[serde(rename = "consultation.refer")]
    Refer(Reason),
    /// Talking is over; prescribing and the note may follow.
    #[serde(rename = "consultation.end")]
    End(Nothing),
    /// The doctor signs the note; the consultation is completed.
    #[serde(rename = "consultation.complete")]
    Complete(Note),
    /// An administrator marks a finished consultation as entered in error; it takes two different ones.
    #[serde(rename = "consultation.mark_error")]
    MarkError(Reason),
    /// System only: a side's last connection is gone beyond the grace time, or it is back.
    #[serde(rename = "consultation.presence")]
    Presence(PresenceChange),
    /// System only: the clock has reached the room's `wake_at`.
    #[serde(rename = "timer")]
    Timer(Nothing),
    /// System only: the payment provider's word.
    #[serde(rename = "payment.record")]
    RecordPayment(RecordPayment),

    #[serde(rename = "chat.send")]
    Chat(Chat),

    /// Rings the other side.
    #[serde(rename = "call.start")]
    StartCall(StartCall),
    /// Answers the ringing, or comes back to a call that goes on.
    #[serde(rename = "call.join")]
    JoinCall(OfCall),
    #[serde(rename = "call.decline")]
    DeclineCall(OfCall),
    #[serde(rename = "call.leave")]
    LeaveCall(LeaveCall),
    #[serde(rename = "call.media")]
    CallMedia(MediaChange),
    /// How the media went, for the flight recorder.
    #[serde(rename = "call.report")]
    ReportCall(ReportCall),
    /// What the check before a call found.
    #[serde(rename = "call.check")]
    CheckDevices(Check),

    /// Lets somebody without an account in, by a link that the inviting side then fetches.
    #[serde(rename = "guest.invite")]
    InviteGuest(InviteGuest),
    /// A guest comes in; from here on they see the talk. Said again, it changes nothing.
    #[serde(rename = "guest.enter")]
    EnterAsGuest(Nothing),
    /// Ends a guest's part.
    #[serde(rename = "guest.dismiss")]
    DismissGuest(OfGuest),

    #[serde(rename = "prescription.draft")]
    Draft(Draft),
    /// Changes a draft in place; a signed or queried prescription is superseded by a new, linked draft.
    #[serde(rename = "prescription.amend")]
    Amend(Amend),
    #[serde(rename = "prescription.sign")]
    Sign(OfPrescription),
    #[serde(rename = "prescription.cancel")]
    CancelPrescription(CancelPrescription),
    /// The patient chooses the pharmacy and how to get the medicine.
    #[serde(rename = "prescription.send")]
    Send(SendPrescription),
    /// The reviewing pharmacist's verdict, where the policy demands a review.
    #[serde(rename = "prescription.review")]
    Review(Review),
    /// The doctor answers a reviewer's query without changing the prescription.
    #[serde(rename = "prescription.answer")]
    Answer(Answer),

    #[serde(rename = "dispensing.move")]
    MoveDispensing(MoveDispensing),
    #[serde(rename = "delivery.assign")]
    AssignDelivery(AssignDelivery),
    #[serde(rename = "delivery.move")]
    MoveDelivery(MoveDelivery),

    /// Somebody takes a copy of the record; the log says who. An administrator gives a reason.
    #[serde(rename = "record.export")]
    Export(Purpose),
    /// Break-glass: an administrator opens the record for reading, for 15 minutes, and says why.
    #[serde(rename = "record.open")]
    OpenRecord(Reason),
}

impl Command {
    /// Every kind's name on the wire.
    pub const KINDS: [&'static str; 38] = [
        "consultation.request",
        "consultation.confirm",
        "consultation.reschedule",
        "consultation.cancel",
        "consultation.check_in",
        "consultation.admit",
        "consultation.enter",
        "consultation.put_back",
        "consultation.refer",
        "consultation.end",
        "consultation.complete",
        "consultation.mark_error",
        "consultation.presence",
        "timer",
        "payment.record",
        "chat.send",
        "call.start",
        "call.join",
        "call.decline",
        "call.leave",
        "call.media",
        "call.report",
        "call.check",
        "guest.invite",
        "guest.enter",
        "guest.dismiss",
        "prescription.draft",
        "prescription.amend",
        "prescription.sign",
        "prescription.cancel",
        "prescription.send",
        "prescription.review",
        "prescription.answer",
        "dispensing.move",
        "delivery.assign",
        "delivery.move",
        "record.export",
        "record.open",
    ];

    /// The name of the kind on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Command::Request(_) => "consultation.request",
            Command::Confirm(_) => "consultation.confirm",
            Command::Reschedule(_) => "consultation.reschedule",
            Command::Cancel(_) => "consultation.cancel",
            Command::CheckIn(_) => "consultation.check_in",
            Command::Admit(_) => "consultation.admit",
            Command::Enter(_) => "consultation.enter",
            Command::PutBack(_) => "consultation.put_back",
            Command::Refer(_) => "consultation.refer",
            Command::End(_) => "consultation.end",
            Command::Complete(_) => "consultation.complete",
            Command::MarkError(_) => "consultation.mark_error",
            Command::Presence(_) => "consultation.presence",
            Command::Timer(_) => "timer",
            Command::RecordPayment(_) => "payment.record",
            Command::Chat(_) => "chat.send",
            Command::StartCall(_) => "call.start",
            Command::JoinCall(_) => "call.join",
            Command::DeclineCall(_) => "call.decline",
            Command::LeaveCall(_) => "call.leave",
            Command::CallMedia(_) => "call.media",
            Command::ReportCall(_) => "call.report",
            Command::CheckDevices(_) => "call.check",
            Command::InviteGuest(_) => "guest.invite",
            Command::EnterAsGuest(_) => "guest.enter",
            Command::DismissGuest(_) => "guest.dismiss",
            Command::Draft(_) => "prescription.draft",
            Command::Amend(_) => "prescription.amend",
            Command::Sign(_) => "prescription.sign",
            Command::CancelPrescription(_) => "prescription.cancel",
            Command::Send(_) => "prescription.send",
            Command::Review(_) => "prescription.review",
            Command::Answer(_) => "prescription.answer",
            Command::MoveDispensing(_) => "dispensing.move",
            Command::AssignDelivery(_) => "delivery.assign",
            Command::MoveDelivery(_) => "delivery.move",
            Command::Export(_) => "record.export",
            Command::OpenRecord(_) => "record.open",
        }
    }
}

/// No fields: written `{}` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The slot to hold. Either this or `doctor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotId>,
    /// The doctor to walk in to, without a slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doctor: Option<UserId>,
    /// Why the patient comes, in their own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reschedule {
    pub slot: SlotId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    pub reason: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckIn {
    /// The version of the consent text the patient agreed to; must be the policy's present one.
    pub consent: Line,
    /// How the patient's identity was confirmed, e.g. `account` or `id_card`.
    pub identity: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Note {
    pub note: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PresenceChange {
    pub party: Party,
    pub here: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    pub to: PaymentState,
    /// In the currency's minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Line,
    /// The provider's own reference.
    pub reference: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    pub text: Prose,
    #[serde(default)]
    pub thread: Thread,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// An administrator must give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Prose>,
}

/// A fact that the server must look up before the command can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Slot(SlotId),
    Doctor(UserId),
    Pharmacy(PharmacyId),
    Courier(UserId),
}

impl Command {
    /// The one fact this command depends on, if any.
    pub fn needs(&self) -> Option<Need> {
        match self {
            Command::Request(Request { slot: Some(slot), .. }) | Command::Reschedule(Reschedule { slot }) => {
                Some(Need::Slot(*slot))
            }
            Command::Request(Request { doctor: Some(doctor), .. }) => Some(Need::Doctor(*doctor)),
            Command::Send(send) => Some(Need::Pharmacy(send.pharmacy)),
            Command::AssignDelivery(assign) => Some(Need::Courier(assign.courier)),
            _ => None,
        }
    }
}

/// What the server looked up, and what only the outside can know: the time and fresh ids.
pub struct Context<'a> {
    pub now: Timestamp,
    pub actor: &'a Actor,
    pub facts: &'a Facts,
    /// The rules for a room that this command opens; a room keeps those it was opened with.
    pub policy: &'a Policy,
    /// The version (`seq` of the last event) of the part the command is about, as its sender saw it.
    pub expect: Option<u64>,
    /// Draws a fresh id.
    pub fresh: &'a mut dyn FnMut() -> uuid::Uuid,
}

/// The answers to [`Command::needs`]; absent means that no such thing exists.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub slot: Option<crate::event::Slot>,
    pub doctor: Option<crate::event::Person>,
    pub pharmacy: Option<crate::event::Pharmacy>,
    pub courier: Option<crate::event::Person>,
}
