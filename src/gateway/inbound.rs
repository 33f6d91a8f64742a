//! Partners' messages: signed, told apart by their ids, and taken once.
//!
//! A message is noted after it took effect. If the hub dies between, the message comes again and the room absorbs it:
//! what it says is so already.

use rooms::refusal::Refusal;
use rooms::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::signature::{self, SignatureError};
use crate::hub::SubmitError;
use crate::store::{Store, StoreError};

/// Bytes of a message.
pub const MAX_BODY: usize = 64 * 1024;

/// What became of a message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Taken,
    /// It was known, or said what the hub knows already, or is of no concern to it.
    Absorbed,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Deaf {
    #[error("this hub has no such partner")]
    Off,
    #[error(transparent)]
    Unsigned(#[from] SignatureError),
    #[error("the message is not what the documentation says: {0}")]
    Malformed(&'static str),
    /// It may be known in a moment: send it again.
    #[error("the message is about nothing that the hub knows yet")]
    Unknown,
    /// Something that came before is still missing: send it again.
    #[error("the message is about a step that cannot follow yet")]
    Early,
    #[error("the hub cannot do this now; send it again")]
    Busy,
}

impl From<StoreError> for Deaf {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a partner's message was not taken");
        Deaf::Busy
    }
}

/// What submitting came to, for those who can live with a refusal.
pub fn unless_refused<T>(result: Result<T, SubmitError>) -> Result<Result<T, Refusal>, Deaf> {
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(SubmitError::Refused(refusal)) => Ok(Err(refusal)),
        Err(SubmitError::NotFound) => Err(Deaf::Unknown),
        Err(SubmitError::IdConflict) => Err(Deaf::Malformed("this id was used before with another content")),
        Err(SubmitError::Unavailable | SubmitError::Shed | SubmitError::StorageFull) => Err(Deaf::Busy),
    }
}

/// What a partner's messages are signed with.
#[derive(Clone, Debug)]
pub struct Secret(SecretString);

impl Secret {
    /// The one that is set; else one that nobody knows, with which a sandbox of this process signs.
    pub fn or_fresh(set: Option<&SecretString>) -> Self {
        Self(set.cloned().unwrap_or_else(|| {
            let bytes: [u8; 32] = rand::random();
            SecretString::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }))
    }

    /// The header of a message that is made here.
    pub fn sign(&self, body: &[u8], now: Timestamp) -> String {
        signature::sign(self.bytes(), now, body)
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[derive(Deserialize)]
struct Envelope {
    id: String,
}

/// A partner's message whose signature is good.
pub struct Message<'a> {
    pub id: String,
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Checks signature, size and id of what came at `now`.
    pub fn open(secret: &Secret, header: Option<&str>, body: &'a [u8], now: Timestamp) -> Result<Self, Deaf> {
        let header = header.ok_or(SignatureError::Malformed)?;
        signature::verify(secret.bytes(), header, body, now)?;
        let envelope: Envelope = serde_json::from_slice(body).map_err(|_| Deaf::Malformed("no JSON with an id"))?;
        let good = (1..=200).contains(&envelope.id.len()) && envelope.id.bytes().all(|b| b.is_ascii_graphic());
        if good { Ok(Self { id: envelope.id, body }) } else { Err(Deaf::Malformed("the id is none")) }
    }

    /// Whether it took effect before.
    pub async fn is_known(&self, store: &Store, partner: &str) -> Result<bool, Deaf> {
        Ok(store.is_known_event(partner, &self.id).await?)
    }

    /// Notes that it took effect.
    pub async fn note(&self, store: &Store, partner: &str, now: Timestamp) -> Result<(), Deaf> {
        Ok(store.note_event(partner, &self.id, now).await?)
    }
}
