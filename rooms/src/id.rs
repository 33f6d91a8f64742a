//! Identifiers: a UUID type for each kind of thing, parsed once at the edge.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// A room. The same id names its consultation and its booking.
    RoomId;
    /// A person with an account, or a guest of one consultation.
    UserId;
    /// A slot: a time that a doctor offers and that can be booked once.
    SlotId;
    /// A call within a room.
    CallId;
    /// A pharmacy.
    PharmacyId;
    /// A prescription of one room.
    PrescriptionId;
    /// One pharmacy's work on a prescription.
    DispensingId;
    /// The delivery of one parcel from a pharmacy to a patient.
    DeliveryId;
    /// The client's id for a command. A command sent again under the same id takes effect once.
    CommandId;
    /// A sign-in: one device or browser of a person, with its own refresh token.
    SessionId;
}
