//! One notification for one device: encrypted (RFC 8291), signed (RFC 8292), and sent (RFC 8030).
//!
//! It contains a kind, a room's id, and an idempotency key, but no names and no text. The device has its own texts.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Client, RequestBuilder, Response, Url};
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
        Ok(self.request(client, url, (vapid, subject))?.send().await?)
    }

    fn request(
        &self,
        client: &Client,
        url: Url,
        (vapid, subject): (&Vapid, &str),
    ) -> Result<RequestBuilder, PushError> {
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
        Ok(request)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rooms::id::{SessionId, UserId};

    use super::*;

    /// A key as a device gives it, or anything else that a row may hold.
    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[A-Za-z0-9_-]{0,100}",
            prop::collection::vec(any::<u8>(), 0..70).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes)),
            Just("BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4".to_owned()),
            Just("BTBZMqHH6r4Tts7J_aSIgg".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn no_stored_key_or_lifetime_breaks_a_request(
            (p256dh, auth) in (key(), key()),
            kind in prop::sample::select(NoticeKind::ALL.to_vec()),
            (room, id) in (any::<u128>(), any::<u128>()),
            lifetime_s in any::<u64>(),
            path in "[ -~]{0,60}",
        ) {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let Ok(url) = Url::parse(&format!("https://push.example.org/{path}")) else { return Ok(()) };
            let to = Subscription {
                id: Uuid::from_u128(id),
                user: UserId(Uuid::nil()),
                session: SessionId(Uuid::nil()),
                endpoint: url.to_string(),
                p256dh,
                auth,
                vapid_key: None,
            };
            let (room, id) = (RoomId(Uuid::from_u128(room)), Uuid::from_u128(id));
            let message = PushMessage { to: &to, kind, room, id, lifetime: Duration::from_secs(lifetime_s) };
            let signer = (&Vapid::for_test(), "mailto:admin@example.org");
            // A message that cannot be encrypted is an error of its own, never a panic.
            if let Ok(request) = message.request(&Client::new(), url.clone(), signer) {
                let request = request.build().expect("its headers are valid");
                prop_assert_eq!(request.url().host_str(), Some("push.example.org"));
                let allowed = ["ttl", "urgency", "topic", "content-type", "content-encoding", "authorization", "crypto-key"];
                for name in request.headers().keys() {
                    prop_assert!(allowed.contains(&name.as_str()), "{}", name);
                }
            }
        }
    }
}
