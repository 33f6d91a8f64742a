//! Events: everything that can happen in a room.
//!
//! A log written today must be readable in twenty years. So an event's kind may gain optional fields but never change its
//! meaning; a new meaning needs a new kind.

mod audience;
mod call;
mod chat;
mod consultation;
mod delivery;
mod dispensing;
mod guest;
mod payment;
mod prescription;
mod record;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::audience::Audience;
pub use self::call::{
    CallConnected, CallEnded, CallInterrupted, CallJoined, CallLeft, CallReported, CallStarted, DevicesChecked,
};
pub use self::chat::ChatSent;
pub use self::consultation::{Called, CheckedIn, ConsultationMoved, Explained, Noted, Requested, Rescheduled};
pub use self::delivery::{DeliveryAssigned, DeliveryMoved, DeliveryRequested};
pub use self::dispensing::DispensingMoved;
pub use self::guest::{GuestDismissed, GuestEntered, GuestInvited};
pub use self::payment::PaymentMoved;
pub use self::prescription::{Amended, Answered, Drafted, PrescriptionMoved, Reviewed, Sent, Signed};
pub use self::record::{Exported, RecordOpened};

macro_rules! events {
    ($count:literal: $($(#[$doc:meta])* $name:ident($body:ident) = $kind:literal;)*) => {
        /// One thing that happened. On the wire and in the archive: `"kind":"chat.sent","data":{…}`.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(tag = "kind", content = "data")]
        pub enum Event {
            $($(#[$doc])* #[serde(rename = $kind)] $name($body),)*
        }

        impl Event {
            /// The name of every kind on the wire.
            pub const KINDS: [&'static str; $count] = [$($kind,)*];

            /// The name of the event's kind on the wire.
            pub fn kind(&self) -> &'static str {
                match self { $(Event::$name(_) => $kind,)* }
            }
        }
    };
}

events! { 34:
    /// The room's first event: the two sides, the slot and the policy.
    Requested(Requested) = "consultation.requested";
    /// The consultation moved to another state. Moves that carry more data have their own kinds below.
    ConsultationMoved(ConsultationMoved) = "consultation.moved";
    Rescheduled(Rescheduled) = "consultation.rescheduled";
    CheckedIn(CheckedIn) = "consultation.checked_in";
    /// The doctor calls the patient; it rings until `until`.
    Called(Called) = "consultation.called";
    /// The doctor signed the note: the consultation is completed.
    Noted(Noted) = "consultation.noted";
    /// A first administrator proposes to mark the consultation as entered in error.
    ErrorProposed(Explained) = "consultation.error_proposed";

    ChatSent(ChatSent) = "chat.sent";

    /// The call rings until `until`. The caller is its first member.
    CallStarted(CallStarted) = "call.started";
    CallJoined(CallJoined) = "call.joined";
    CallLeft(CallLeft) = "call.left";
    /// This person sends and receives media.
    CallConnected(CallConnected) = "call.connected";
    CallInterrupted(CallInterrupted) = "call.interrupted";
    CallEnded(CallEnded) = "call.ended";
    /// The quality of the media, without addresses or content.
    CallReported(CallReported) = "call.reported";
    DevicesChecked(DevicesChecked) = "call.checked";

    /// A person without an account may enter by a link.
    GuestInvited(GuestInvited) = "guest.invited";
    /// The first event that this guest sees.
    GuestEntered(GuestEntered) = "guest.entered";
    GuestDismissed(GuestDismissed) = "guest.dismissed";

    Drafted(Drafted) = "prescription.drafted";
    Amended(Amended) = "prescription.amended";
    Signed(Signed) = "prescription.signed";
    /// The patient chose a pharmacy. Carries the whole content, because a pharmacy sees no earlier event.
    Sent(Sent) = "prescription.sent";
    Reviewed(Reviewed) = "prescription.reviewed";
    Answered(Answered) = "prescription.answered";
    PrescriptionMoved(PrescriptionMoved) = "prescription.moved";

    DispensingMoved(DispensingMoved) = "dispensing.moved";
    DeliveryRequested(DeliveryRequested) = "delivery.requested";
    /// Carries everything a courier needs, because a courier sees no earlier event.
    DeliveryAssigned(DeliveryAssigned) = "delivery.assigned";
    DeliveryMoved(DeliveryMoved) = "delivery.moved";
    /// A late report that did not change the state.
    DeliveryReported(DeliveryMoved) = "delivery.reported";

    PaymentMoved(PaymentMoved) = "payment.moved";

    /// Somebody exported a copy of the record.
    Exported(Exported) = "record.exported";
    /// An administrator opened the record by break-glass.
    RecordOpened(RecordOpened) = "record.opened";
}
