//! The states of each machine, by the names that the wire and the database use.
//!
//! The machines themselves, with the data that exists in each state, are in [`crate::case`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident [$count:literal] { $($state:ident = $text:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            $(#[serde(rename = $text)] $state,)*
        }

        impl $name {
            /// Every state, in the order of the state diagram.
            pub const ALL: [$name; $count] = [$($name::$state,)*];

            /// The name on the wire and in the database.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$state => $text,)* }
            }
        }
    )*};
}

states! {
    /// The state of a consultation.
    ConsultationState[13] {
        Requested = "requested",
        Booked = "booked",
        Waiting = "waiting",
        Called = "called",
        InProgress = "in_progress",
        Interrupted = "interrupted",
        WrapUp = "wrap_up",
        Completed = "completed",
        Cancelled = "cancelled",
        Expired = "expired",
        NoShow = "no_show",
        Referred = "referred",
        EnteredInError = "entered_in_error",
    }

    /// The state of a call.
    CallState[5] {
        Ringing = "ringing",
        Connecting = "connecting",
        Connected = "connected",
        Reconnecting = "reconnecting",
        Ended = "ended",
    }

    /// The state of a prescription.
    PrescriptionState[11] {
        Draft = "draft",
        Signed = "signed",
        InReview = "in_review",
        Queried = "queried",
        Rejected = "rejected",
        Released = "released",
        WithPharmacy = "with_pharmacy",
        Completed = "completed",
        Cancelled = "cancelled",
        Expired = "expired",
        Superseded = "superseded",
    }

    /// The state of a pharmacy's work on a prescription.
    DispensingState[11] {
        Received = "received",
        Accepted = "accepted",
        Preparing = "preparing",
        OnHold = "on_hold",
        Checked = "checked",
        Ready = "ready",
        Released = "released",
        Completed = "completed",
        ReturnedToStock = "returned_to_stock",
        Declined = "declined",
        Cancelled = "cancelled",
    }

    /// The state of a parcel.
    DeliveryState[15] {
        Requested = "requested",
        Assigned = "assigned",
        PickedUp = "picked_up",
        InTransit = "in_transit",
        OutForDelivery = "out_for_delivery",
        AttemptFailed = "attempt_failed",
        Rescheduled = "rescheduled",
        Delivered = "delivered",
        Returning = "returning",
        Returned = "returned",
        Restocked = "restocked",
        Disposed = "disposed",
        Cancelled = "cancelled",
        Lost = "lost",
        Damaged = "damaged",
    }

    /// The state of a payment.
    PaymentState[5] {
        Pending = "pending",
        Authorized = "authorized",
        Captured = "captured",
        Refunded = "refunded",
        Failed = "failed",
    }
}

impl ConsultationState {
    /// Whether the consultation may have guests: from the request until the conversation ends.
    pub fn admits_guests(self) -> bool {
        use ConsultationState::{Booked, Called, InProgress, Interrupted, Requested, Waiting};
        matches!(self, Requested | Booked | Waiting | Called | InProgress | Interrupted)
    }

    /// Whether patient and doctor are in conversation, even if it is interrupted.
    pub fn is_conversation(self) -> bool {
        matches!(self, ConsultationState::InProgress | ConsultationState::Interrupted)
    }
}
