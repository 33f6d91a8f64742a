//! Identifiers: a UUID type for each kind of thing, parsed once at the edge.
//!
//! An id has one spelling, in lower case with hyphens. Clients compare ids as text, so an id in another spelling that the
//! hub accepted would come back as an id that its sender does not recognize.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

/// A text that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wrong id: expected a UUID in lower case with hyphens")]
pub struct IdError;

/// Parses the one spelling of an id.
pub fn parse(text: &str) -> Result<Uuid, IdError> {
    let id = Uuid::try_parse(text).map_err(|_| IdError)?;
    let mut buffer = Uuid::encode_buffer();
    if id.hyphenated().encode_lower(&mut buffer) == text { Ok(id) } else { Err(IdError) }
}

/// Deserializes an id from its one spelling; also for fields of the type [`Uuid`].
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
    struct IdText;

    impl de::Visitor<'_> for IdText {
        type Value = Uuid;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a UUID in lower case with hyphens")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Uuid, E> {
            parse(text).map_err(E::custom)
        }
    }

    deserializer.deserialize_str(IdText)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[serde(deserialize_with = "deserialize")] pub Uuid);

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
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                parse(s).map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_has_one_spelling() {
        let id = Uuid::now_v7();
        assert_eq!(parse(&id.to_string()), Ok(id));
        let upper = id.to_string().to_uppercase();
        for other in [upper, id.braced().to_string(), id.urn().to_string(), id.simple().to_string(), String::new()] {
            assert_eq!(parse(&other), Err(IdError), "{other}");
            assert!(serde_json::from_value::<RoomId>(serde_json::Value::String(other)).is_err());
        }
    }
}
