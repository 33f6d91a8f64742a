//! Roles, and the actors who hold them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{PharmacyId, UserId};
use crate::text::Text;

/// A person's role in the clinic. [`crate::permission`] defines what each role may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Patient,
    Doctor,
    Pharmacist,
    Courier,
    Admin,
    Support,
    /// A person without an account, admitted to one consultation: see [`crate::case::guest`].
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

/// The sender of a command. The server fills it in from a verified token; a client cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    Person { id: UserId, role: Role, name: Text<200>, pharmacy: Option<PharmacyId> },
    System,
}

/// The author of an event, as the log records it. Includes the name, so that an archive can be read by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct By {
    /// Absent if the hub itself acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text<200>>,
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

    /// Returns the author that the log records for this actor.
    pub fn by(&self) -> By {
        match self {
            Actor::Person { id, role, name, .. } => By { id: Some(*id), name: Some(name.clone()), role: *role },
            Actor::System => By { id: None, name: None, role: Role::System },
        }
    }
}
