//! One notification on its way to one device: encrypted (RFC 8291), signed (RFC 8292), sent (RFC 8030).
//!
//! What is in it: a kind, a room's id, and its own key against repetition. No names and no text; those the device has.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, Response, StatusCode, Url};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use rooms::id::RoomId;
use rooms::time::Timestamp;
use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use web_push::{ContentEncoding, SubscriptionInfo, WebPushError, WebPushMessageBuilder};

use super::vapid::Vapid;
use crate::egress;
use crate::keyfile;
use crate::store::devices::{NoticeKind, Subscription};

/// Bytes of a topic: 32 letters in base64url.
const TOPIC: usize = 24;

/// What the device reads.
#[derive(Serialize)]
struct Payload {
    kind: NoticeKind,
    room: RoomId,
    id: Uuid,
}

/// A notification for one device.
pub struct Message<'a> {
    pub to: &'a Subscription,
    pub kind: NoticeKind,
    pub room: RoomId,
    /// The device's key against repetition.
    pub id: Uuid,
    /// How long the push service keeps it for a device that is off.
    pub life: Duration,
}

/// What a push service said.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// The subscription has ended.
    Ended,
    Later {
        after: Option<Duration>,
        status: StatusCode,
    },
    Refused(StatusCode),
}

impl Message<'_> {
    /// Sends it. An error says why the service gave no answer.
    pub async fn send(
        &self,
        client: &Client,
        url: Url,
        (vapid, subject): (&Vapid, &str),
        now: Timestamp,
    ) -> Result<Answer, SendError> {
        let info = SubscriptionInfo::new(url.as_str(), &self.to.p256dh, &self.to.auth);
        let mut signature = vapid.signer().add_sub_info(&info);
        signature.add_claim("sub", subject);
        // The library leaves out the port, which is part of an origin.
        signature.add_claim("aud", url.origin().ascii_serialization());
        let payload = Payload { kind: self.kind, room: self.room, id: self.id };
        let payload = serde_json::to_vec(&payload).expect("ids and a name");
        let mut builder = WebPushMessageBuilder::new(&info);
        builder.set_ttl(u32::try_from(self.life.as_secs()).unwrap_or(u32::MAX));
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
        Ok(answer(&request.send().await?, now))
    }

    /// What it replaces at the push service, in a form that tells neither the room nor who else is in it.
    fn topic(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.to.id.as_bytes());
        hasher.update(self.room.0.as_bytes());
        hasher.update(self.kind.topic());
        URL_SAFE_NO_PAD.encode(&hasher.finalize()[..TOPIC])
    }
}

/// Why a notification was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the message cannot be made: {0}")]
    Message(#[from] WebPushError),
    #[error("{}", egress::why(.0))]
    NoAnswer(#[from] reqwest::Error),
}

fn answer(response: &Response, now: Timestamp) -> Answer {
    let status = response.status();
    match status.as_u16() {
        200..=299 => Answer::Taken,
        404 | 410 => Answer::Ended,
        408 | 429 | 500..=599 => Answer::Later { after: egress::retry_after(response.headers(), now), status },
        _ => Answer::Refused(status),
    }
}

/// Whether a device's public key and secret are such.
pub fn are_keys(p256dh: &str, auth: &str) -> bool {
    let Ok(point) = URL_SAFE_NO_PAD.decode(p256dh) else { return false };
    let Ok(own) = EphemeralPrivateKey::generate(&ECDH_P256, &keyfile::random()) else { return false };
    // An exchange succeeds only with a point of the curve.
    point.len() == 65
        && agree_ephemeral(own, &UnparsedPublicKey::new(&ECDH_P256, point), |_| ()).is_ok()
        && URL_SAFE_NO_PAD.decode(auth).is_ok_and(|secret| secret.len() == 16)
}
