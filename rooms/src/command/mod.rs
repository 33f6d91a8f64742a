//! Commands: everything that can be asked of a room.
//!
//! A command carries only what its sender may choose. The server looks up facts about the world, such as whose slot it is,
//! as [`Command::needs`] demands, and passes them to `decide` in the [`Context`].

mod call;
mod chat;
mod consultation;
mod context;
mod delivery;
mod dispensing;
mod guest;
mod payment;
mod prescription;
mod proof;
mod record;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::call::{CallRef, LeaveCall, MediaChange, ReportCall, StartCall};
pub use self::chat::Chat;
pub use self::consultation::{CheckIn, Note, PresenceChange, Reason, Request, Reschedule};
pub use self::context::{Context, Facts, Need};
pub use self::delivery::{AssignDelivery, MoveDelivery};
pub use self::dispensing::MoveDispensing;
pub use self::guest::{GuestRef, InviteGuest};
pub use self::payment::RecordPayment;
pub use self::prescription::{
    Amend, Answer, CancelPrescription, Draft, NewHandOver, NewItem, PrescriptionRef, Review, SendPrescription,
};
pub use self::proof::NewProof;
pub use self::record::Purpose;
use crate::media::Check;

macro_rules! commands {
    ($count:literal: $($(#[$doc:meta])* $name:ident($body:ident) = $kind:literal;)*) => {
        /// One request to a room. On the wire: `{"kind":"chat.send","data":{…}}`. Unknown kinds and fields are rejected.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind", content = "data", deny_unknown_fields)]
        pub enum Command {
            $($(#[$doc])* #[serde(rename = $kind)] $name($body),)*
        }

        impl Command {
            /// The name of every kind on the wire.
            pub const KINDS: [&'static str; $count] = [$($kind,)*];

            /// The name of the command's kind on the wire.
            pub fn kind(&self) -> &'static str {
                match self { $(Command::$name(_) => $kind,)* }
            }

            /// Returns the path of the field at which `data` is no data of this kind of command.
            pub(crate) fn invalid_field(kind: &str, data: &serde_json::Value) -> Option<String> {
                match kind {
                    $($kind => crate::field_path::invalid_field::<$body, _>(data),)*
                    _ => None,
                }
            }
        }
    };
}

commands! { 38:
    /// Opens the room: a patient requests a slot, or walks in to a doctor. Only by REST, which creates the room's id.
    Request(Request) = "consultation.request";
    /// The patient confirms the held slot.
    Confirm(Nothing) = "consultation.confirm";
    Reschedule(Reschedule) = "consultation.reschedule";
    Cancel(Reason) = "consultation.cancel";
    /// The patient checks in: records consent and identity, and enters the doctor's queue.
    CheckIn(CheckIn) = "consultation.check_in";
    /// The doctor calls the patient; the call rings.
    Admit(Nothing) = "consultation.admit";
    /// The patient answers the doctor's call.
    Enter(Nothing) = "consultation.enter";
    /// The doctor returns the patient to their place in the queue.
    PutBack(Nothing) = "consultation.put_back";
    /// The doctor ends the consultation because it does not suit this channel.
    Refer(Reason) = "consultation.refer";
    /// Ends the conversation; prescribing and the note may follow.
    End(Nothing) = "consultation.end";
    /// The doctor signs the note, which completes the consultation.
    Complete(Note) = "consultation.complete";
    /// An administrator marks a closed consultation as entered in error. Takes two different administrators.
    MarkError(Reason) = "consultation.mark_error";
    /// System only: a side stayed disconnected beyond the grace period, or reconnected.
    Presence(PresenceChange) = "consultation.presence";
    /// System only: the room's `wake_at` has passed.
    Timer(Nothing) = "timer";
    /// System only: a report from the payment provider.
    RecordPayment(RecordPayment) = "payment.record";

    Chat(Chat) = "chat.send";

    /// Rings the other side.
    StartCall(StartCall) = "call.start";
    /// Answers a ringing call, or rejoins a running one.
    JoinCall(CallRef) = "call.join";
    DeclineCall(CallRef) = "call.decline";
    LeaveCall(LeaveCall) = "call.leave";
    CallMedia(MediaChange) = "call.media";
    /// Reports the quality of the media.
    ReportCall(ReportCall) = "call.report";
    /// Records the result of a device check.
    CheckDevices(Check) = "call.check";

    /// Invites a person without an account. The inviting side then fetches the link.
    InviteGuest(InviteGuest) = "guest.invite";
    /// A guest enters and sees the conversation from here on. Repeating it changes nothing.
    EnterAsGuest(Nothing) = "guest.enter";
    /// Ends a guest's access.
    DismissGuest(GuestRef) = "guest.dismiss";

    Draft(Draft) = "prescription.draft";
    /// Changes a draft in place. A signed or queried prescription is superseded by a new, linked draft.
    Amend(Amend) = "prescription.amend";
    Sign(PrescriptionRef) = "prescription.sign";
    CancelPrescription(CancelPrescription) = "prescription.cancel";
    /// The patient chooses the pharmacy and how to receive the medicine.
    Send(SendPrescription) = "prescription.send";
    /// The pharmacist's verdict, where the policy requires a review.
    Review(Review) = "prescription.review";
    /// The doctor answers a pharmacist's query without changing the prescription.
    Answer(Answer) = "prescription.answer";

    MoveDispensing(MoveDispensing) = "dispensing.move";
    AssignDelivery(AssignDelivery) = "delivery.assign";
    MoveDelivery(MoveDelivery) = "delivery.move";

    /// Exports a copy of the record and logs who did. An administrator must give a purpose.
    Export(Purpose) = "record.export";
    /// Break-glass: an administrator opens the record for reading for 15 minutes and gives a reason.
    OpenRecord(Reason) = "record.open";
}

/// No fields: written `{}` on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}
