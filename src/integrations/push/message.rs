//! One notification for one device: encrypted (RFC 8291), signed (RFC 8292), and sent (RFC 8030).
//!
//! It contains a kind, a room's id, and an idempotency key, but no names and no text. The device has its own texts.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, Response, Url};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use rooms::id::RoomId;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use web_push::{ContentEncoding, SubscriptionInfo, WebPushError, WebPushMessageBuilder};

use super::vapid::Vapid;
use crate::egress;
use crate::keyfile;
use crate::store::devices::{NoticeKind, Subscription};

/// Bytes of a topic: 32 characters in base64url.
const TOPIC_BYTES: usize = 24;

/// The decrypted content.
#[derive(Serialize)]
struct NoticePayload {
    kind: NoticeKind,
    room: RoomId,
    id: Uuid,
}

/// A notification for one device.
pub struct PushMessage<'a> {
    pub to: &'a Subscription,
    pub kind: NoticeKind,
    pub room: RoomId,
    /// The idempotency key, by which the device detects repetitions.
    pub id: Uuid,
    /// How long the push service keeps it for an offline device.
    pub lifetime: Duration,
}

impl PushMessage<'_> {
    /// Sends the message and returns the answer of the push service.
    pub async fn send(
        &self,
        client: &Client,
        url: Url,
        (vapid, subject): (&Vapid, &str),
    ) -> Result<Response, PushError> {
        let info = SubscriptionInfo::new(url.as_str(), &self.to.p256dh, &self.to.auth);
        let mut signature = vapid.signer().add_sub_info(&info);
        signature.add_claim("sub", subject);
        // The library omits the port, which is part of an origin.
        signature.add_claim("aud", url.origin().ascii_serialization());
        let payload = NoticePayload { kind: self.kind, room: self.room, id: self.id };
        let payload = serde_json::to_vec(&payload).expect("ids and a name");
        let mut builder = WebPushMessageBuilder::new(&info);
        builder.set_ttl(u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX));
        builder.set_urgency(self.kind.urgency());
        builder.set_topic(self.topic());
        builder.set_payload(ContentEncoding::Aes128Gcm, &payload);
        builder.set_vapid_signature(signature.build()?);
        let message = builder.build()?;
        let mut request = client.post(url).header("TTL", message.ttl);
        if let Some(urgency) = message.urgency {
            request = request.header("Urgency", urgency.to_string());
        }
        if let Some(topic) = message.topic {
            request = request.header("Topic", topic);
        }
        if let Some(payload) = message.payload {
            request = request
                .header("Content-Type", "application/octet-stream")
                .header("Content-Encoding", payload.content_encoding.to_str());
            for (name, value) in payload.crypto_headers {
                request = request.header(name, value);
            }
            request = request.body(payload.content);
        }
        Ok(request.send().await?)
    }

    /// Returns the topic at the push service, hashed, so that it reveals neither the room nor its members.
    fn topic(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.to.id.as_bytes());
        hasher.update(self.room.0.as_bytes());
        hasher.update(self.kind.topic());
        URL_SAFE_NO_PAD.encode(&hasher.finalize()[..TOPIC_BYTES])
    }
}

/// Why a notification was not sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error("the message cannot be encoded: {0}")]
    Encoding(#[from] WebPushError),
    #[error("{}", egress::why(.0))]
    NoAnswer(#[from] reqwest::Error),
}

/// Returns whether these are a device's public key and secret.
pub fn are_valid_keys(p256dh: &str, auth: &str) -> bool {
    let Ok(point) = URL_SAFE_NO_PAD.decode(p256dh) else { return false };
    let Ok(own) = EphemeralPrivateKey::generate(&ECDH_P256, &keyfile::system_random()) else { return false };
    // A key exchange succeeds only with a point of the curve.
    point.len() == 65
        && agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()).is_ok()
        && URL_SAFE_NO_PAD.decode(auth).is_ok_and(|secret| secret.len() == 16)
}
