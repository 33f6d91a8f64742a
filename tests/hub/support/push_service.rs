//! A push service that implements RFC 8030, and the devices behind it. It verifies the sender's token (RFC 8292) and
//! decrypts the message (RFC 8291) with libraries that the sender does not use.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::ecdh::diffie_hellman;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::{PublicKey, SecretKey};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use rooms::id::{SessionId, UserId};
use serde_json::Value;
use uuid::Uuid;
use wardroom::store::devices::Subscription;

/// Longer than a notification takes, including the hub's delays.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(40);

/// A message that a device received.
#[derive(Clone, Debug)]
pub struct ReceivedPush {
    pub device: String,
    pub kind: String,
    pub room: String,
    /// The key by which the device recognises repeats.
    pub id: String,
    pub ttl: u64,
    pub urgency: String,
    pub topic: String,
    pub at: Instant,
}

/// How a device fails its next message.
#[derive(Clone, Debug)]
pub struct Fault {
    pub status: u16,
    /// `Retry-After`, or the target of a redirect.
    pub header: Option<(&'static str, String)>,
}

impl Fault {
    pub fn status(status: u16) -> Self {
        Self { status, header: None }
    }
}

struct Device {
    secret: SecretKey,
    auth: [u8; 16],
    faults: VecDeque<Fault>,
    attempts: Vec<Instant>,
}

#[derive(Default)]
struct Inner {
    devices: HashMap<String, Device>,
    received: Vec<ReceivedPush>,
    /// Requests that no push service would accept.
    violations: Vec<String>,
}

/// A running push service.
#[derive(Clone)]
pub struct PushService {
    pub origin: String,
    inner: Arc<Mutex<Inner>>,
}

impl PushService {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let service = Self { origin: format!("http://{address}"), inner: Arc::default() };
        let router = Router::new().route("/push/{device}", post(push)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        service
    }

    /// Registers a device and returns its subscription, as a browser would.
    pub fn device(&self, user: UserId, name: &str) -> Subscription {
        let mut bytes = [0; 32];
        let secret = loop {
            SystemRandom::new().fill(&mut bytes).unwrap();
            if let Ok(secret) = SecretKey::from_slice(&bytes) {
                break secret;
            }
        };
        let mut auth = [0; 16];
        SystemRandom::new().fill(&mut auth).unwrap();
        let p256dh = URL_SAFE_NO_PAD.encode(secret.public_key().to_encoded_point(false).as_bytes());
        let device = Device { secret, auth, faults: VecDeque::new(), attempts: Vec::new() };
        self.inner.lock().unwrap().devices.insert(name.to_owned(), device);
        Subscription {
            id: Uuid::now_v7(),
            user,
            session: SessionId(Uuid::now_v7()),
            endpoint: format!("{}/push/{name}", self.origin),
            p256dh,
            auth: URL_SAFE_NO_PAD.encode(auth),
            vapid_key: None,
        }
    }

    /// Makes the device fail its next messages.
    pub fn fail(&self, name: &str, faults: impl IntoIterator<Item = Fault>) {
        self.inner.lock().unwrap().devices.get_mut(name).unwrap().faults.extend(faults);
    }

    /// Returns all received messages. Fails if there was an invalid request.
    pub fn received(&self) -> Vec<ReceivedPush> {
        let inner = self.inner.lock().unwrap();
        assert!(inner.violations.is_empty(), "{:?}", inner.violations);
        inner.received.clone()
    }

    /// Returns when requests to the device arrived.
    pub fn attempts(&self, name: &str) -> Vec<Instant> {
        self.inner.lock().unwrap().devices[name].attempts.clone()
    }

    /// Returns the kinds of the messages a device received, in order.
    pub fn kinds(&self, name: &str) -> Vec<String> {
        self.received().into_iter().filter(|it| it.device == name).map(|it| it.kind).collect()
    }

    /// Waits until the received messages satisfy the predicate.
    pub async fn wait_until(&self, what: &str, wish: impl Fn(&[ReceivedPush]) -> bool) -> Vec<ReceivedPush> {
        let end = Instant::now() + NOTIFICATION_TIMEOUT;
        loop {
            let received = self.received();
            if wish(&received) {
                return received;
            }
            assert!(Instant::now() < end, "timed out waiting for {what}; received {received:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn push(
    State(service): State<PushService>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut inner = service.inner.lock().unwrap();
    let Some(device) = inner.devices.get_mut(&name) else { return StatusCode::NOT_FOUND.into_response() };
    device.attempts.push(Instant::now());
    if let Some(fault) = device.faults.pop_front() {
        let mut response = StatusCode::from_u16(fault.status).unwrap().into_response();
        if let Some((name, value)) = fault.header {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        return response;
    }
    match read(&service.origin, &name, device, &headers, &body) {
        Ok(received) => {
            inner.received.push(received);
            StatusCode::CREATED.into_response()
        }
        Err(violations) => {
            inner.violations.push(violations);
            StatusCode::BAD_REQUEST.into_response()
        }
    }
}

fn read(origin: &str, name: &str, device: &Device, headers: &HeaderMap, body: &[u8]) -> Result<ReceivedPush, String> {
    let header =
        |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned).ok_or(format!("no {name}"));
    check_token(origin, &header("authorization")?)?;
    if header("content-encoding")? != "aes128gcm" {
        return Err("the encoding is not aes128gcm".to_owned());
    }
    let topic = header("topic")?;
    if topic.len() > 32 || !topic.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_') {
        return Err(format!("invalid topic {topic}"));
    }
    let text = decrypt(device, body).ok_or("the message cannot be decrypted")?;
    let payload: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let fields: Vec<&String> = payload.as_object().ok_or("the payload is not an object")?.keys().collect();
    if fields != ["id", "kind", "room"] {
        return Err(format!("the payload has other fields than a kind and references: {fields:?}"));
    }
    let field = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    Ok(ReceivedPush {
        device: name.to_owned(),
        kind: field("kind"),
        room: field("room"),
        id: field("id"),
        ttl: header("ttl")?.parse().map_err(|_| "the TTL")?,
        urgency: header("urgency")?,
        topic,
        at: Instant::now(),
    })
}

/// Verifies the token of RFC 8292: sender, audience, and expiry.
fn check_token(origin: &str, authorization: &str) -> Result<(), String> {
    let rest = authorization.strip_prefix("vapid ").ok_or("the scheme is not vapid")?;
    let part = |name: &str| {
        rest.split(',').find_map(|it| it.trim().strip_prefix(name)?.strip_prefix('=')).ok_or(format!("no {name}="))
    };
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|error| error.to_string());
    let (token, key) = (part("t")?, decode(part("k")?)?);
    let (signed, signature) = token.rsplit_once('.').ok_or("no signature")?;
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| "the signature is invalid")?;
    let (head, claims) = signed.split_once('.').ok_or("no claims")?;
    let json = |text: &str| serde_json::from_slice::<Value>(&decode(text)?).map_err(|error| error.to_string());
    let (head, claims) = (json(head)?, json(claims)?);
    let now = chrono::Utc::now().timestamp();
    let left = claims["exp"].as_i64().unwrap_or(0) - now;
    let subject = claims["sub"].as_str().unwrap_or_default();
    let fits = head["alg"] == "ES256"
        && claims["aud"] == origin
        && (1..=86_400).contains(&left)
        && (subject.starts_with("https://") || subject.starts_with("mailto:"));
    if fits { Ok(()) } else { Err(format!("invalid claims {claims}")) }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(salt: &[u8], secret: &[u8], info: &[u8], length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    let key = Salt::new(HKDF_SHA256, salt).extract(secret);
    key.expand(&[info], Length(length)).unwrap().fill(&mut out).unwrap();
    out
}

/// Decrypts a message of one record: RFC 8291 over RFC 8188.
fn decrypt(device: &Device, body: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = body.split_at_checked(16)?;
    let (_record_size, rest) = rest.split_at_checked(4)?;
    let (length, rest) = rest.split_first()?;
    let (sender, sealed) = rest.split_at_checked(usize::from(*length))?;
    let public = PublicKey::from_sec1_bytes(sender).ok()?;
    let shared = diffie_hellman(device.secret.to_nonzero_scalar(), public.as_affine());
    let own = device.secret.public_key().to_encoded_point(false);
    let info = [b"WebPush: info\0", own.as_bytes(), sender].concat();
    let secret = expand(&device.auth, shared.raw_secret_bytes(), &info, 32);
    let key = expand(salt, &secret, b"Content-Encoding: aes128gcm\0", 16);
    let nonce = expand(salt, &secret, b"Content-Encoding: nonce\0", 12);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?);
    let mut text = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(&nonce).ok()?;
    let text = key.open_in_place(nonce, Aad::empty(), &mut text).ok()?;
    // The last record ends with the byte 2 and zero padding.
    let end = text.iter().rposition(|byte| *byte != 0)?;
    (text[end] == 2).then(|| text[..end].to_vec())
}
