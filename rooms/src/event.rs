//! What can have happened in a room.
//!
//! Event kinds are for ever: a log written today must be readable in twenty years. So a kind only ever grows by optional
//! fields, and a kind that says something else gets another name.

mod medicine;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::case::consultation::ConsultationState;
use crate::case::payment::PaymentState;
use crate::case::{call, guest};
use crate::id::{PharmacyId, SlotId, UserId};
use crate::text::{Line, Prose, Text};
use crate::time::Timestamp;

pub use medicine::{
    Amended, Answered, DeliveryAssigned, DeliveryMoved, DeliveryRequested, DispensingMoved, Drafted, HandOver, Item,
    PrescriptionMoved, Reviewed, Sent, Signed,
};

/// One thing that happened. On the wire and in the archive: `"kind":"chat.sent","data":{…}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "data")]
pub enum Event {
    /// The room's first event: who, with whom, when, under which rules.
    #[serde(rename = "consultation.requested")]
    Requested(Requested),
    /// The consultation moved to another state; the kinds below carry more where more is to be said.
    #[serde(rename = "consultation.moved")]
    Moved(Moved),
    #[serde(rename = "consultation.rescheduled")]
    Rescheduled(Rescheduled),
    #[serde(rename = "consultation.checked_in")]
    CheckedIn(CheckedIn),
    /// The doctor calls the patient in; it rings until `until`.
    #[serde(rename = "consultation.called")]
    Called(Called),
    /// The signed note: the consultation is completed.
    #[serde(rename = "consultation.noted")]
    Noted(Noted),
    /// A first administrator asks for the consultation to be marked as entered in error.
    #[serde(rename = "consultation.error_proposed")]
    ErrorProposed(Explained),

    #[serde(rename = "chat.sent")]
    ChatSent(ChatSent),

    /// It rings until `until`; who rings is in it.
    #[serde(rename = "call.started")]
    CallStarted(call::Started),
    #[serde(rename = "call.joined")]
    CallJoined(call::Joined),
    #[serde(rename = "call.left")]
    CallLeft(call::Left),
    /// This person sends and gets media.
    #[serde(rename = "call.connected")]
    CallConnected(call::Connected),
    #[serde(rename = "call.interrupted")]
    CallInterrupted(call::Interrupted),
    #[serde(rename = "call.ended")]
    CallEnded(call::Ended),
    /// The flight recorder: how the media went, without addresses or content.
    #[serde(rename = "call.reported")]
    CallReported(call::Reported),
    #[serde(rename = "call.checked")]
    DevicesChecked(call::Checked),

    /// Somebody without an account may come in by a link.
    #[serde(rename = "guest.invited")]
    GuestInvited(guest::Invited),
    /// The first event that this guest sees.
    #[serde(rename = "guest.entered")]
    GuestEntered(guest::Entered),
    #[serde(rename = "guest.dismissed")]
    GuestDismissed(guest::Dismissed),

    #[serde(rename = "prescription.drafted")]
    Drafted(Drafted),
    #[serde(rename = "prescription.amended")]
    Amended(Amended),
    #[serde(rename = "prescription.signed")]
    Signed(Signed),
    /// The patient chose a pharmacy. Carries the whole content: a pharmacy sees nothing from before this event.
    #[serde(rename = "prescription.sent")]
    Sent(Sent),
    #[serde(rename = "prescription.reviewed")]
    Reviewed(Reviewed),
    #[serde(rename = "prescription.answered")]
    Answered(Answered),
    #[serde(rename = "prescription.moved")]
    PrescriptionMoved(PrescriptionMoved),

    #[serde(rename = "dispensing.moved")]
    DispensingMoved(DispensingMoved),
    #[serde(rename = "delivery.requested")]
    DeliveryRequested(DeliveryRequested),
    /// Carries everything a courier needs: a courier sees nothing from before this event.
    #[serde(rename = "delivery.assigned")]
    DeliveryAssigned(DeliveryAssigned),
    #[serde(rename = "delivery.moved")]
    DeliveryMoved(DeliveryMoved),
    /// A late report that did not change the state.
    #[serde(rename = "delivery.reported")]
    DeliveryReported(DeliveryMoved),

    #[serde(rename = "payment.moved")]
    PaymentMoved(PaymentMoved),

    /// A copy of the record was taken.
    #[serde(rename = "record.exported")]
    Exported(Exported),
    /// An administrator opened the record under break-glass.
    #[serde(rename = "record.opened")]
    RecordOpened(RecordOpened),
}

impl Event {
    /// Every kind's name on the wire.
    pub const KINDS: [&'static str; 34] = [
        "consultation.requested",
        "consultation.moved",
        "consultation.rescheduled",
        "consultation.checked_in",
        "consultation.called",
        "consultation.noted",
        "consultation.error_proposed",
        "chat.sent",
        "call.started",
        "call.joined",
        "call.left",
        "call.connected",
        "call.interrupted",
        "call.ended",
        "call.reported",
        "call.checked",
        "guest.invited",
        "guest.entered",
        "guest.dismissed",
        "prescription.drafted",
        "prescription.amended",
        "prescription.signed",
        "prescription.sent",
        "prescription.reviewed",
        "prescription.answered",
        "prescription.moved",
        "dispensing.moved",
        "delivery.requested",
        "delivery.assigned",
        "delivery.moved",
        "delivery.reported",
        "payment.moved",
        "record.exported",
        "record.opened",
    ];

    /// Whether somebody outside the hub may want to hear of it: a person who is away, a partner, an integrator. What
    /// media does in a call, drafts and who read what stay inside.
    pub fn goes_out(&self) -> bool {
        match self {
            Event::Requested(_)
            | Event::Moved(_)
            | Event::Rescheduled(_)
            | Event::CheckedIn(_)
            | Event::Called(_)
            | Event::Noted(_)
            | Event::ChatSent(_)
            | Event::CallStarted(_)
            | Event::CallEnded(_)
            | Event::Signed(_)
            | Event::Sent(_)
            | Event::Reviewed(_)
            | Event::Answered(_)
            | Event::PrescriptionMoved(_)
            | Event::DispensingMoved(_)
            | Event::DeliveryRequested(_)
            | Event::DeliveryAssigned(_)
            | Event::DeliveryMoved(_)
            | Event::PaymentMoved(_) => true,
            Event::ErrorProposed(_)
            | Event::CallJoined(_)
            | Event::CallLeft(_)
            | Event::CallConnected(_)
            | Event::CallInterrupted(_)
            | Event::CallReported(_)
            | Event::DevicesChecked(_)
            | Event::GuestInvited(_)
            | Event::GuestEntered(_)
            | Event::GuestDismissed(_)
            | Event::Drafted(_)
            | Event::Amended(_)
            | Event::DeliveryReported(_)
            | Event::Exported(_)
            | Event::RecordOpened(_) => false,
        }
    }

    /// The name of the kind on the wire.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Requested(_) => "consultation.requested",
            Event::Moved(_) => "consultation.moved",
            Event::Rescheduled(_) => "consultation.rescheduled",
            Event::CheckedIn(_) => "consultation.checked_in",
            Event::Called(_) => "consultation.called",
            Event::Noted(_) => "consultation.noted",
            Event::ErrorProposed(_) => "consultation.error_proposed",
            Event::ChatSent(_) => "chat.sent",
            Event::CallStarted(_) => "call.started",
            Event::CallJoined(_) => "call.joined",
            Event::CallLeft(_) => "call.left",
            Event::CallConnected(_) => "call.connected",
            Event::CallInterrupted(_) => "call.interrupted",
            Event::CallEnded(_) => "call.ended",
            Event::CallReported(_) => "call.reported",
            Event::DevicesChecked(_) => "call.checked",
            Event::GuestInvited(_) => "guest.invited",
            Event::GuestEntered(_) => "guest.entered",
            Event::GuestDismissed(_) => "guest.dismissed",
            Event::Drafted(_) => "prescription.drafted",
            Event::Amended(_) => "prescription.amended",
            Event::Signed(_) => "prescription.signed",
            Event::Sent(_) => "prescription.sent",
            Event::Reviewed(_) => "prescription.reviewed",
            Event::Answered(_) => "prescription.answered",
            Event::PrescriptionMoved(_) => "prescription.moved",
            Event::DispensingMoved(_) => "dispensing.moved",
            Event::DeliveryRequested(_) => "delivery.requested",
            Event::DeliveryAssigned(_) => "delivery.assigned",
            Event::DeliveryMoved(_) => "delivery.moved",
            Event::DeliveryReported(_) => "delivery.reported",
            Event::PaymentMoved(_) => "payment.moved",
            Event::Exported(_) => "record.exported",
            Event::RecordOpened(_) => "record.opened",
        }
    }
}

/// The rules a room lives under, fixed when it opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// The version of the consent text that a patient must have agreed to.
    pub consent: Line,
    /// How long a slot is held for a patient who has not confirmed, in seconds.
    pub hold_s: u32,
    /// How long a call rings, in seconds.
    pub ring_s: u32,
    /// How many rings may go unanswered before the patient counts as absent.
    pub rings: u32,
    /// How late the doctor may be before the patient is released, in seconds.
    pub doctor_grace_s: u32,
    /// How late a patient with a slot may check in, in seconds.
    pub patient_grace_s: u32,
    /// How long a broken-off consultation waits for the missing side, in seconds.
    pub interrupted_s: u32,
    /// How long a signed prescription may be claimed, in seconds.
    pub prescription_valid_s: u32,
    /// The longest supply of one item, in days.
    pub max_days: u16,
    /// Whether a pharmacist must review a prescription before it takes effect.
    pub review: bool,
    /// Whether the media of calls goes over a relay only, so that neither side learns the other's network address.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relay_only: bool,
    /// What the consultation costs in minor units; 0 means no payment.
    pub price: u64,
    /// ISO 4217.
    pub currency: Line,
}

impl Default for Policy {
    fn default() -> Self {
        let line = |text| Line::parse(text).expect("a short literal is a line");
        Self {
            consent: line("2026-1"),
            hold_s: 300,
            ring_s: 60,
            rings: 3,
            doctor_grace_s: 3600,
            patient_grace_s: 900,
            interrupted_s: 300,
            prescription_valid_s: 7 * 86_400,
            max_days: 90,
            review: false,
            relay_only: false,
            price: 0,
            currency: line("EUR"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Person {
    pub id: UserId,
    pub name: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pharmacy {
    pub id: PharmacyId,
    pub name: Line,
    pub address: Text<400>,
}

/// A slot as the log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    pub id: SlotId,
    pub doctor: Person,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
}

/// One of the two sides of a consultation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    Patient,
    Doctor,
}

/// Where a chat message belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Thread {
    /// Between patient and doctor, and the guests that they invited.
    #[default]
    Care,
    /// The dispensing thread with one pharmacy.
    Pharmacy(PharmacyId),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Requested {
    pub patient: Person,
    pub doctor: Person,
    /// Absent for a walk-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
    /// Until when the slot is held; absent for a walk-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    pub policy: Policy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    pub from: ConsultationState,
    pub to: ConsultationState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Prose>,
    /// Who was missing: with `no_show`, with `interrupted` (absent there when both are), and with `waiting` after a call
    /// that the patient did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub party: Option<Party>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rescheduled {
    pub from: SlotId,
    pub slot: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckedIn {
    pub consent: Line,
    pub identity: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Called {
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Noted {
    pub note: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    pub reason: Prose,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatSent {
    pub text: Prose,
    pub thread: Thread,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentMoved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PaymentState>,
    pub to: PaymentState,
    /// In minor units of `currency`.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Line,
    pub reference: Line,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOpened {
    pub by: UserId,
    pub reason: Prose,
    pub until: Timestamp,
}
