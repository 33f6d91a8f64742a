//! Access tokens: their claims, how they are signed, and why one is rejected.

use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use rooms::id::{PharmacyId, SessionId, UserId};
use rooms::role::{Actor, Role};
use rooms::text::Text;
use rooms::time::Timestamp;
use rooms::wire::close::Close;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use crate::config::TokenSettings;

/// `typ` of access tokens (RFC 9068), so that no other token of this hub can serve as one.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// The longest token that is parsed.
const MAX_TOKEN_BYTES: usize = 4096;

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub user: UserId,
    /// The sign-in that the token belongs to.
    pub session: SessionId,
    pub role: Role,
    pub name: Text<200>,
    pub pharmacy: Option<PharmacyId>,
    /// The version of the person's rights. After a change, tokens with an older version are rejected.
    pub rights: u64,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Claims {
    /// Returns the person as an actor of the engine.
    pub fn actor(&self) -> Actor {
        Actor::Person { id: self.user, role: self.role, name: self.name.clone(), pharmacy: self.pharmacy }
    }
}

/// Why a token is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("this is not an access token of this hub; sign in")]
    Invalid,
    #[error("the access token has expired; refresh it")]
    Expired,
    #[error("this sign-in has been revoked; sign in again")]
    Revoked,
    #[error("your rights have changed; refresh the access token")]
    RightsChanged,
}

impl AuthError {
    /// Returns the close code for a socket.
    pub fn close(&self) -> Close {
        match self {
            AuthError::Invalid => Close::Unauthenticated,
            AuthError::Expired | AuthError::RightsChanged => Close::TokenExpired,
            AuthError::Revoked => Close::Revoked,
        }
    }
}

/// The token's payload, with the claim names of RFC 7519 where they exist.
#[derive(Serialize, Deserialize)]
struct AccessTokenPayload {
    iss: String,
    aud: String,
    sub: UserId,
    sid: SessionId,
    role: Role,
    name: Text<200>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pharmacy: Option<PharmacyId>,
    rights: u64,
    iat: i64,
    exp: i64,
}

/// Issues a token that expires at `claims.expires_at`, rounded down to a second.
pub fn issue(keys: &Keys, settings: &TokenSettings, claims: &Claims) -> String {
    let payload = AccessTokenPayload {
        iss: settings.issuer.clone(),
        aud: settings.audience.clone(),
        sub: claims.user,
        sid: claims.session,
        role: claims.role,
        name: claims.name.clone(),
        pharmacy: claims.pharmacy,
        rights: claims.rights,
        iat: claims.issued_at.utc().timestamp(),
        exp: claims.expires_at.utc().timestamp(),
    };
    sign(keys, ACCESS_TOKEN_TYPE, &payload)
}

/// Signs a payload as a token of this type.
pub fn sign(keys: &Keys, typ: &str, payload: &impl Serialize) -> String {
    let key = keys.current();
    let header = Header { typ: Some(typ.to_owned()), kid: Some(key.kid.clone()), ..Header::new(Algorithm::ES256) };
    encode(&header, payload, &key.sign).expect("the hub's own key signs any payload with string keys")
}

/// Verifies a token's signature, claims, and expiry. Revocation is not in the token; see [`super::revocations`].
pub fn verify(keys: &Keys, settings: &TokenSettings, token: &str, now: Timestamp) -> Result<Claims, AuthError> {
    let AccessTokenPayload { sub, sid, role, name, pharmacy, rights, iat, exp, .. } =
        verify_payload(keys, settings, ACCESS_TOKEN_TYPE, token)?;
    let expires_at = Timestamp::from_micros(exp.saturating_mul(1_000_000));
    if role == Role::System {
        return Err(AuthError::Invalid);
    }
    if expires_at <= now {
        return Err(AuthError::Expired);
    }
    let issued_at = Timestamp::from_micros(iat.saturating_mul(1_000_000));
    Ok(Claims { user: sub, session: sid, role, name, pharmacy, rights, issued_at, expires_at })
}

/// Verifies the signature, type, issuer, and audience of one of this hub's tokens and returns its payload. The caller
/// checks the expiry, by the hub's clock.
pub fn verify_payload<T: DeserializeOwned>(
    keys: &Keys,
    settings: &TokenSettings,
    typ: &str,
    token: &str,
) -> Result<T, AuthError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(AuthError::Invalid);
    }
    let header = decode_header(token).map_err(|_| AuthError::Invalid)?;
    if header.typ.as_deref() != Some(typ) {
        return Err(AuthError::Invalid);
    }
    let key = header.kid.as_deref().and_then(|kid| keys.find(kid)).ok_or(AuthError::Invalid)?;
    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_issuer(&[&settings.issuer]);
    validation.set_audience(&[&settings.audience]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    validation.validate_exp = false;
    decode(token, &key.verify, &validation).map(|payload| payload.claims).map_err(|_| AuthError::Invalid)
}

/// Returns when a token issued now expires, on a whole second as the token states it.
pub fn expiry_after(now: Timestamp, lifetime: Duration) -> Timestamp {
    Timestamp::from_micros(now.plus(lifetime).micros().div_euclid(1_000_000).saturating_mul(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::provider;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    struct TestIssuer {
        keys: Keys,
        settings: TokenSettings,
        now: Timestamp,
        _folder: tempfile::TempDir,
    }

    impl TestIssuer {
        fn new() -> Self {
            provider::install();
            let folder = tempfile::tempdir().unwrap();
            let settings = crate::config::Config::for_test(folder.path()).tokens;
            let now = Timestamp::from_micros(1_800_000_000_000_000);
            Self { keys: Keys::open(folder.path()).unwrap(), settings, now, _folder: folder }
        }

        fn claims(&self) -> Claims {
            Claims {
                user: UserId(uuid::Uuid::now_v7()),
                session: SessionId(uuid::Uuid::now_v7()),
                role: Role::Doctor,
                name: Text::stored("Dr. Test").unwrap(),
                pharmacy: None,
                rights: 3,
                issued_at: self.now,
                expires_at: expiry_after(self.now, Duration::from_secs(900)),
            }
        }

        fn verify(&self, token: &str) -> Result<Claims, AuthError> {
            verify(&self.keys, &self.settings, token, self.now)
        }

        /// Returns a token signed by the hub's own key, with a changed header and payload.
        fn signed(&self, header: impl FnOnce(&mut Value), payload: impl FnOnce(&mut Value)) -> String {
            let token = issue(&self.keys, &self.settings, &self.claims());
            let mut parts = token.split('.').map(|part| {
                serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap_or_default()).unwrap_or_default()
            });
            let (mut head, mut body) = (parts.next().unwrap(), parts.next().unwrap());
            header(&mut head);
            payload(&mut body);
            let message = format!("{}.{}", encoded(&head), encoded(&body));
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), &self.keys.current().sign, Algorithm::ES256).unwrap();
            format!("{message}.{signature}")
        }
    }

    fn encoded(value: &Value) -> String {
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    #[test]
    fn token_identifies_its_owner() {
        let issuer = TestIssuer::new();
        let claims = issuer.claims();
        assert_eq!(issuer.verify(&issue(&issuer.keys, &issuer.settings, &claims)), Ok(claims));
        assert!(
            issuer.verify(&issuer.signed(|_| {}, |_| {})).is_ok(),
            "the test's signing helper creates valid tokens"
        );
    }

    #[test]
    fn token_expires_at_its_exact_second() {
        let mut issuer = TestIssuer::new();
        let token = issue(&issuer.keys, &issuer.settings, &issuer.claims());
        issuer.now = issuer.now.plus(Duration::from_secs(899));
        assert!(issuer.verify(&token).is_ok());
        issuer.now = issuer.now.plus(Duration::from_secs(1));
        assert_eq!(issuer.verify(&token), Err(AuthError::Expired));
    }

    #[test]
    fn forged_tokens_are_rejected() {
        let issuer = TestIssuer::new();
        let stranger = TestIssuer::new();
        let good = issue(&issuer.keys, &issuer.settings, &issuer.claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        assert!(
            issuer.verify(&good).is_ok() && issuer.verify(&good).is_ok(),
            "the cache holds the valid signature from here on"
        );
        let other = issue(&issuer.keys, &issuer.settings, &Claims { role: Role::Admin, ..issuer.claims() });
        let (_, foreign_signature) = issue(&stranger.keys, &stranger.settings, &issuer.claims())
            .rsplit_once('.')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        let public = issuer.keys.jwks()["keys"][0]["x"].as_str().unwrap().to_owned();
        let hs256 = {
            let head = encoded(&json!({"alg": "HS256", "typ": ACCESS_TOKEN_TYPE, "kid": issuer.keys.current().kid}));
            let message = format!("{head}.{}", message.split('.').nth(1).unwrap());
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes());
            format!("{message}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes())))
        };
        let cases = [
            ("nothing", String::new()),
            ("noise", "a.b.c".to_owned()),
            ("no signature", format!("{message}.")),
            ("another token's signature", format!("{}.{signature}", other.rsplit_once('.').unwrap().0)),
            ("somebody else's signature", format!("{message}.{foreign_signature}")),
            ("another hub's token", issue(&stranger.keys, &stranger.settings, &issuer.claims())),
            ("alg none", issuer.signed(|head| head["alg"] = json!("none"), |_| {})),
            ("the public key as HMAC secret", hs256),
            ("alg ES384", issuer.signed(|head| head["alg"] = json!("ES384"), |_| {})),
            ("alg RS256", issuer.signed(|head| head["alg"] = json!("RS256"), |_| {})),
            ("kid as a path", issuer.signed(|head| head["kid"] = json!("../../etc/passwd"), |_| {})),
            ("no kid", issuer.signed(|head| head["kid"] = Value::Null, |_| {})),
            ("another type", issuer.signed(|head| head["typ"] = json!("JWT"), |_| {})),
            ("another audience", issuer.signed(|_| {}, |body| body["aud"] = json!("other"))),
            ("another issuer", issuer.signed(|_| {}, |body| body["iss"] = json!("other"))),
            ("no end", issuer.signed(|_| {}, |body| body["exp"] = Value::Null)),
            ("the hub's own role", issuer.signed(|_| {}, |body| body["role"] = json!("system"))),
            ("an unknown role", issuer.signed(|_| {}, |body| body["role"] = json!("root"))),
            ("too long", format!("{good}{}", "a".repeat(MAX_TOKEN_BYTES))),
        ];
        for (what, token) in cases {
            assert_eq!(issuer.verify(&token), Err(AuthError::Invalid), "{what}");
            assert_eq!(issuer.verify(&token), Err(AuthError::Invalid), "{what}, a second time");
        }
    }
}
