//! Sign-ins: started with a password, extended by refresh tokens, listed, and ended.

use std::net::IpAddr;
use std::time::Duration;

use rooms::id::{SessionId, UserId};
use rooms::role::Role;
use rooms::time::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::email::{EmailAddress, MAX_EMAIL_BYTES};
use super::limits::{RateLimitSubject, network};
use super::password::{BusyError, DeviceHistory, MAX_PASSWORD_BYTES, PasswordMatch};
use super::recent_fingerprints::fingerprint;
use super::refresh::{Redemption, RefreshToken, redemption};
use super::token::{self, Claims};
use super::{Auth, rights};
use crate::store::StoreError;
use crate::store::sessions::Session;
use crate::store::users::{Status, User};
use crate::telemetry::security::{SecurityEvent, record};

/// The client that signs in.
#[derive(Clone, Debug)]
pub struct ClientInfo {
    pub address: IpAddr,
    /// The device's own name, for the person's list of sign-ins.
    pub label: String,
}

/// An active sign-in with fresh tokens.
pub struct SignedIn {
    pub access_token: String,
    /// When the access token expires.
    pub expires_at: Timestamp,
    pub refresh_token: String,
    /// When the sign-in ends, no matter how often it is refreshed.
    pub session_expires_at: Timestamp,
    pub user: User,
}

/// Why a sign-in or a refresh was rejected.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error("the e-mail address or the password is wrong")]
    BadCredentials,
    #[error("this account is waiting for an administrator's approval")]
    Pending,
    #[error("this account is disabled")]
    Disabled,
    /// The refresh token is unknown or used, or its sign-in has ended.
    #[error("this sign-in has ended; sign in again")]
    Ended,
    #[error("too many attempts; wait before you try again")]
    RateLimited(Duration),
    #[error(transparent)]
    Busy(#[from] BusyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Auth {
    /// Signs in with e-mail address and password. An unknown address gets the same response after the same work.
    pub async fn sign_in(
        &self,
        email: &str,
        password: SecretString,
        client: ClientInfo,
    ) -> Result<SignedIn, SignInError> {
        if email.len() > MAX_EMAIL_BYTES || password.expose_secret().len() > MAX_PASSWORD_BYTES {
            // No account has such an address or password. Rejected before anything is hashed, kept or queued.
            record(SecurityEvent::SignInFailed, None, Some(client.address), "password");
            return Err(SignInError::BadCredentials);
        }
        let address = client.address;
        let (user, result) = self.try_sign_in(email, password, client).await;
        let event = match &result {
            Ok(_) => Some(SecurityEvent::SignInSucceeded),
            Err(SignInError::BadCredentials | SignInError::Ended) => Some(SecurityEvent::SignInFailed),
            Err(SignInError::Pending | SignInError::Disabled) => Some(SecurityEvent::SignInRefused),
            Err(SignInError::RateLimited(_) | SignInError::Busy(_)) => Some(SecurityEvent::SignInLimited),
            Err(SignInError::Store(_)) => None,
        };
        if let Some(event) = event {
            record(event, user, Some(address), "password");
        }
        result
    }

    /// Returns the result, and the person whose account it is about, if there is one.
    async fn try_sign_in(
        &self,
        email: &str,
        password: SecretString,
        client: ClientInfo,
    ) -> (Option<UserId>, Result<SignedIn, SignInError>) {
        let typed = email.trim().to_lowercase();
        let email = EmailAddress::parse(email).map_or_else(|_| typed.clone(), EmailAddress::into_string);
        let user = match self.find_account(&email, &typed, client.address).await {
            Ok(user) => user,
            Err(error) => return (None, Err(error)),
        };
        let id = user.as_ref().map(|user| user.id);
        (id, self.verify_and_start(&email, user, password, client).await)
    }

    /// Counts the attempt, and looks the account up. `typed` is the address as accounts had it before it was parsed.
    async fn find_account(&self, email: &str, typed: &str, address: IpAddr) -> Result<Option<User>, SignInError> {
        let limiter = self.limiter();
        limiter.count(&RateLimitSubject::SignIn(email, address)).map_err(SignInError::RateLimited)?;
        limiter.count_across_nodes(&self.inner.bus, email, address).await.map_err(SignInError::RateLimited)?;
        match self.inner.store.user_by_email(email).await? {
            None if typed != email => Ok(self.inner.store.user_by_email(typed).await?),
            user => Ok(user),
        }
    }

    async fn verify_and_start(
        &self,
        email: &str,
        user: Option<User>,
        password: SecretString,
        client: ClientInfo,
    ) -> Result<SignedIn, SignInError> {
        let device_id = fingerprint([b"device", email.as_bytes(), network(client.address).to_string().as_bytes()]);
        let device =
            if self.inner.known_devices.contains(&device_id) { DeviceHistory::Known } else { DeviceHistory::Unknown };
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let matched = self.inner.passwords.verify(password, stored, device).await?;
        let Some(user) = user.filter(|_| matched != PasswordMatch::No) else {
            return Err(SignInError::BadCredentials);
        };
        if let PasswordMatch::OldForm { hash } = &matched {
            self.inner.store.replace_password_hash(user.id, &user.password_hash, hash).await?;
        }
        self.inner.known_devices.insert(device_id);
        self.start_session(user, client).await
    }

    /// Signs in with a demo link's token.
    pub async fn sign_in_demo(&self, token: &str, client: ClientInfo) -> Result<SignedIn, SignInError> {
        let address = client.address;
        let user = self.inner.demo.find(token).ok_or(SignInError::BadCredentials).inspect_err(|_| {
            record(SecurityEvent::SignInFailed, None, Some(address), "demo link");
        })?;
        record(SecurityEvent::SignInSucceeded, Some(user), Some(address), "demo link");
        let user = self.inner.store.user(user).await?.ok_or(SignInError::BadCredentials)?;
        self.start_session(user, client).await
    }

    async fn start_session(&self, user: User, client: ClientInfo) -> Result<SignedIn, SignInError> {
        require_active(&user)?;
        let now = self.inner.clock.now();
        let lifetime = match user.role {
            Role::Patient => self.inner.settings.patient_session_lifetime,
            _ => self.inner.settings.staff_session_lifetime,
        };
        let session = Session {
            id: SessionId(self.inner.clock.fresh_id()),
            user: user.id,
            counter: 0,
            rotated_at: now,
            created_at: now,
            last_seen_at: now,
            expires_at: now.plus(lifetime),
            revoked_at: None,
            label: client.label,
        };
        self.inner.store.insert_session(&session).await?;
        tracing::info!(user = %user.id, session = %session.id, role = user.role.as_str(), "sign-in started");
        Ok(self.issue_tokens(user, &session, session.counter, now))
    }

    /// Redeems a refresh token for fresh tokens; see [`super::refresh`].
    pub async fn refresh(&self, text: &str) -> Result<SignedIn, SignInError> {
        let now = self.inner.clock.now();
        let store = &self.inner.store;
        let token = RefreshToken::decode(&self.inner.keys.refresh, text).ok_or(SignInError::Ended)?;
        loop {
            let session = store.session(token.family).await?.ok_or(SignInError::Ended)?;
            if session.revoked_at.is_some() || session.expires_at <= now {
                return Err(SignInError::Ended);
            }
            let newest = u64::try_from(session.counter).map_err(|_| SignInError::Ended)?;
            let counter = match redemption(token.counter, newest, session.rotated_at, now) {
                Redemption::Rotate => {
                    if !store.rotate_session(session.id, session.counter, now).await? {
                        // A concurrent request redeemed this token first. Read again, and return the same successor.
                        continue;
                    }
                    session.counter + 1
                }
                Redemption::Repeat => session.counter,
                Redemption::Reused => {
                    record(SecurityEvent::RefreshTokenReused, Some(session.user), None, "refresh");
                    self.end_session(session.user, session.id).await?;
                    return Err(SignInError::Ended);
                }
                Redemption::Unknown => return Err(SignInError::Ended),
            };
            let user = store.user(session.user).await?.ok_or(SignInError::Ended)?;
            require_active(&user)?;
            return Ok(self.issue_tokens(user, &session, counter, now));
        }
    }

    /// Ends one sign-in of a person. Returns `false` if it is not theirs.
    pub async fn end_session(&self, user: UserId, session: SessionId) -> Result<bool, StoreError> {
        let now = self.inner.clock.now();
        let ended = self.inner.store.revoke_session(user, session, now).await?;
        if ended {
            record(SecurityEvent::SignInEnded, Some(user), None, "sign-out");
            self.inner.revocations.end_session(session, now);
        }
        Ok(ended)
    }

    /// Ends the sign-in that a refresh token belongs to, if any.
    pub async fn end_by_refresh_token(&self, text: &str) -> Result<(), StoreError> {
        let Some(token) = RefreshToken::decode(&self.inner.keys.refresh, text) else { return Ok(()) };
        if let Some(session) = self.inner.store.session(token.family).await? {
            self.end_session(session.user, session.id).await?;
        }
        Ok(())
    }

    /// Ends all sign-ins of a person.
    pub async fn end_all_sessions(&self, user: UserId) -> Result<(), StoreError> {
        let now = self.inner.clock.now();
        let ended = self.inner.store.revoke_sessions(user, now).await?;
        record(SecurityEvent::AllSignInsEnded, Some(user), None, "sign-out");
        self.inner.revocations.end_all_sessions(user, &ended, now);
        Ok(())
    }

    /// Returns a person's active sign-ins, newest first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        self.inner.store.sessions_of(user, self.inner.clock.now()).await
    }

    fn issue_tokens(&self, user: User, session: &Session, counter: i64, now: Timestamp) -> SignedIn {
        let expires_at = token::expiry_after(now, self.inner.settings.access_lifetime).min(session.expires_at);
        let claims = Claims {
            user: user.id,
            session: session.id,
            role: user.role,
            name: user.name.clone(),
            pharmacy: user.pharmacy,
            rights: rights(user.changed_at),
            issued_at: now,
            expires_at,
        };
        let counter = u64::try_from(counter).unwrap_or(0);
        SignedIn {
            access_token: token::issue(&self.inner.keys, &self.inner.settings, &claims),
            expires_at,
            refresh_token: RefreshToken { family: session.id, counter }.encode(&self.inner.keys.refresh),
            session_expires_at: session.expires_at,
            user,
        }
    }
}

fn require_active(user: &User) -> Result<(), SignInError> {
    match user.status {
        Status::Active => Ok(()),
        Status::Pending => Err(SignInError::Pending),
        Status::Disabled => Err(SignInError::Disabled),
    }
}
