//! Inbound webhooks: partners' signed messages, deduplicated by id and applied once.
//!
//! The hub records a message's id after applying it. If the hub dies in between, the partner sends the message again, and
//! the room ignores it because it is in that state already.

use rooms::refusal::Refusal;
use rooms::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::signature::{self, SignatureError};
use crate::hub::SubmitError;
use crate::store::{Store, StoreError};

/// Bytes of a message.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// How the hub accepted a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    Applied,
    /// The message is a duplicate, reports nothing new, or is irrelevant to the hub.
    Ignored,
}

/// Why the hub rejected a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    #[error("this hub has no such partner")]
    NotConfigured,
    #[error(transparent)]
    InvalidSignature(#[from] SignatureError),
    #[error("the message does not match the documentation: {0}")]
    Malformed(&'static str),
    /// An earlier message is still missing, so the partner should send this one again.
    #[error("this step cannot follow yet; send the message again later")]
    TooEarly,
    #[error("the hub is temporarily unavailable; send the message again")]
    Unavailable,
}

impl From<StoreError> for InboundError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "inbound webhook not processed");
        InboundError::Unavailable
    }
}

/// Separates a refusal by the room, which the adapter interprets, from other errors of a submission.
pub fn separate_refusal<T>(result: Result<T, SubmitError>) -> Result<Result<T, Refusal>, InboundError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(SubmitError::Refused(refusal)) => Ok(Err(refusal)),
        Err(SubmitError::NotFound) => Ok(Err(Refusal::NoSuch("room"))),
        Err(SubmitError::IdConflict) => Err(InboundError::Malformed("this id was used before with other content")),
        Err(SubmitError::Unavailable | SubmitError::Shed | SubmitError::StorageFull) => Err(InboundError::Unavailable),
    }
}

/// The shared secret that signs a partner's messages.
#[derive(Clone, Debug)]
pub struct WebhookSecret(SecretString);

impl WebhookSecret {
    /// Returns the configured secret, or else a random one, with which only a sandbox in this process can sign.
    pub fn configured_or_random(set: Option<&SecretString>) -> Self {
        Self(set.cloned().unwrap_or_else(|| {
            let bytes: [u8; 32] = rand::random();
            SecretString::from(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }))
    }

    /// Returns the signature header of a message that this hub produces.
    pub fn sign(&self, body: &[u8], now: Timestamp) -> String {
        signature::sign(self.bytes(), now, body)
    }

    fn bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

#[derive(Deserialize)]
struct InboundEnvelope {
    id: String,
}

/// A partner's message with a verified signature.
pub struct InboundMessage<'a> {
    pub id: String,
    pub body: &'a [u8],
}

impl<'a> InboundMessage<'a> {
    /// Verifies the signature of a message received at `now`, and reads its id.
    pub fn verify(
        secret: &WebhookSecret,
        header: Option<&str>,
        body: &'a [u8],
        now: Timestamp,
    ) -> Result<Self, InboundError> {
        let header = header.ok_or(SignatureError::Malformed)?;
        signature::verify(secret.bytes(), header, body, now)?;
        let envelope: InboundEnvelope = serde_json::from_slice(body)
            .map_err(|_| InboundError::Malformed("the body is no JSON object with an id"))?;
        let is_valid = (1..=200).contains(&envelope.id.len()) && envelope.id.bytes().all(|b| b.is_ascii_graphic());
        if is_valid {
            Ok(Self { id: envelope.id, body })
        } else {
            Err(InboundError::Malformed("the id must be 1 to 200 visible ASCII characters"))
        }
    }

    /// Returns whether this message was applied before.
    pub async fn is_known(&self, store: &Store, partner: &str) -> Result<bool, InboundError> {
        Ok(store.is_processed_event(partner, &self.id).await?)
    }

    /// Records that this message was applied.
    pub async fn record(&self, store: &Store, partner: &str, now: Timestamp) -> Result<(), InboundError> {
        Ok(store.record_processed_event(partner, &self.id, now).await?)
    }
}
