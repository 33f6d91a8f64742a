//! Who takes part.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PharmacyId, UserId};
use crate::text::Line;

/// What somebody is in the clinic. What a role may do stands in [`crate::permission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Patient,
    Doctor,
    Pharmacist,
    Courier,
    Admin,
    Support,
    /// Somebody without an account, in one consultation only: see [`crate::case::guest`].
    Guest,
    /// The hub itself: timers, and facts that follow from connections.
    System,
}

impl Role {
    /// Every role that an account can have.
    pub const PEOPLE: [Role; 6] =
        [Role::Patient, Role::Doctor, Role::Pharmacist, Role::Courier, Role::Admin, Role::Support];

    /// The name on the wire and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Patient => "patient",
            Role::Doctor => "doctor",
            Role::Pharmacist => "pharmacist",
            Role::Courier => "courier",
            Role::Admin => "admin",
            Role::Support => "support",
            Role::Guest => "guest",
            Role::System => "system",
        }
    }
}

/// Who asks, as far as the engine must know: filled in by the server from a checked token, never by a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Person { id: UserId, role: Role, name: Line, pharmacy: Option<PharmacyId> },
    System,
}

/// Who did something, as the log keeps it. The name is kept too, so that an archive can be read alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// Absent when the hub itself acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Line>,
    pub role: Role,
}

impl Actor {
    pub fn role(&self) -> Role {
        match self {
            Actor::Person { role, .. } => *role,
            Actor::System => Role::System,
        }
    }

    pub fn user(&self) -> Option<UserId> {
        match self {
            Actor::Person { id, .. } => Some(*id),
            Actor::System => None,
        }
    }

    /// How the log names this actor.
    pub fn by(&self) -> By {
        match self {
            Actor::Person { id, role, name, .. } => By { id: Some(*id), name: Some(name.clone()), role: *role },
            Actor::System => By { id: None, name: None, role: Role::System },
        }
    }
}
