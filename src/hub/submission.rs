//! Commands on their way to a room, and their results.

use std::ops::RangeInclusive;

use rooms::command::Command;
use rooms::id::{CommandId, RoomId};
use rooms::record::Hash;
use rooms::refusal::{Detail, Refusal};
use rooms::role::Actor;
use rooms::wire::code::Code;
use rooms::wire::server::ErrorFrame;
use sha2::{Digest, Sha256};

use crate::store::StoreError;

/// A command for a room.
#[derive(Clone, Debug)]
pub struct Submission {
    pub room: RoomId,
    pub actor: Actor,
    /// Chosen by the sender. Submitting the same command with the same id again has no further effect.
    pub id: CommandId,
    pub command: Command,
    /// The version of the aggregate that the sender has seen.
    pub expect: Option<u64>,
}

/// The numbers of a committed command's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub first: u64,
    pub last: u64,
}

/// The range of random retry delays for shed commands.
const OVERLOAD_RETRY_AFTER_MS: RangeInclusive<u64> = 2_000..=10_000;

/// Why a command was not committed, or a reader not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("there is no such room, or you have no part in it")]
    NotFound,
    #[error("this id was used before with another content; use a fresh id")]
    IdConflict,
    /// The outcome may be unknown. Sending the same command again is safe.
    #[error("the hub cannot do this now; send it again with the same id")]
    Unavailable,
    /// The command was queued for too long and was not decided, because the hub is overloaded.
    #[error("the hub is overloaded; send it again with the same id")]
    Shed,
    /// Nothing has changed. The same command may succeed when there is space.
    #[error("the disk of the hub's store is full; reading still works; send the change again later")]
    StorageFull,
}

impl SubmitError {
    pub fn code(&self) -> Code {
        match self {
            SubmitError::Refused(refusal) => Code::from(refusal),
            SubmitError::NotFound => Code::NotFound,
            SubmitError::IdConflict => Code::IdConflict,
            SubmitError::Unavailable | SubmitError::Shed => Code::Unavailable,
            SubmitError::StorageFull => Code::StorageFull,
        }
    }

    pub fn detail(&self) -> Detail {
        match self {
            SubmitError::Refused(refusal) => refusal.detail(),
            SubmitError::Unavailable => Detail { retry_after_ms: Some(1_000), ..Detail::default() },
            // Random, so that commands that were shed together are not sent again together.
            SubmitError::Shed => {
                Detail { retry_after_ms: Some(rand::random_range(OVERLOAD_RETRY_AFTER_MS)), ..Detail::default() }
            }
            // It takes an operator to make space.
            SubmitError::StorageFull => Detail { retry_after_ms: Some(5_000), ..Detail::default() },
            SubmitError::NotFound | SubmitError::IdConflict => Detail::default(),
        }
    }

    /// Whether the same command may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.code().retryable()
    }

    /// Returns an `error` frame without a command id and a room.
    pub fn frame(&self) -> ErrorFrame {
        let code = self.code();
        ErrorFrame {
            id: None,
            room: None,
            code,
            message: self.to_string(),
            retryable: code.retryable(),
            detail: self.detail(),
        }
    }
}

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "store request failed");
        match error {
            StoreError::Full(_) => SubmitError::StorageFull,
            _ => SubmitError::Unavailable,
        }
    }
}

/// Hashes a command, to tell a repeated command from another one with the same id.
pub fn command_hash(command: &Command) -> Hash {
    let bytes = serde_json::to_vec(command).expect("a command has string keys and whole numbers only");
    Sha256::digest(&bytes).into()
}
