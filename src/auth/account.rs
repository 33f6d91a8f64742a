//! Accounts: registered by their owners or created by an administrator, and changed by administrators.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use rooms::id::{PharmacyId, UserId};
use rooms::role::Role;
use rooms::text::Name;
use secrecy::{ExposeSecret, SecretString};

use super::demo::DemoToken;
use super::email::EmailAddress;
use super::password::{BusyError, weakness};
use super::{Auth, rights};
use crate::store::StoreError;
use crate::store::users::{Status, User};

/// The data of a registration.
pub struct Registration {
    pub email: String,
    pub password: SecretString,
    pub name: Name,
    pub role: Role,
}

/// An administrator's change to an account; absent fields stay as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountChange {
    pub role: Option<Role>,
    pub status: Option<Status>,
    /// `Some(None)` removes the pharmacy.
    pub pharmacy: Option<Option<PharmacyId>>,
}

/// Why an account was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("{field} {why}")]
    Invalid { field: &'static str, why: Cow<'static, str> },
    #[error("this e-mail address already has an account")]
    EmailTaken,
    #[error("this account does not exist")]
    NotFound,
    #[error("you cannot remove your own administrator rights; ask another administrator")]
    OwnRights,
    /// The account has a newer version than the caller's.
    #[error("the account has changed since you read it; read it again")]
    Outdated,
    #[error(transparent)]
    Busy(#[from] BusyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn invalid(field: &'static str, why: impl Into<Cow<'static, str>>) -> AccountError {
    AccountError::Invalid { field, why: why.into() }
}

impl Auth {
    /// Registers an account. Patients can use it at once; doctors and pharmacists need an administrator's approval.
    pub async fn register(&self, registration: Registration) -> Result<User, AccountError> {
        let Registration { email, password, name, role } = registration;
        let status = match role {
            Role::Patient => Status::Active,
            Role::Doctor | Role::Pharmacist => Status::Pending,
            _ => return Err(invalid("role", "must be patient, doctor or pharmacist")),
        };
        let email = EmailAddress::parse(&email).map_err(|why| invalid("email", why.to_string()))?;
        if let Some(why) = weakness(password.expose_secret(), email.as_str(), name.as_str()) {
            return Err(invalid("password", why));
        }
        let password_hash = self.inner.passwords.hash(password).await?;
        let user = self.new_user(email.into_string(), name, role, status, None, password_hash);
        self.insert(user).await
    }

    /// Creates an administrator's account and returns its password, which is stored nowhere else.
    pub async fn create_admin(&self, email: &str, name: &str) -> Result<String, AccountError> {
        let email = EmailAddress::parse(email).map_err(|why| invalid("email", why.to_string()))?;
        let name = Name::parse(name).map_err(|why| invalid("name", why.to_string()))?;
        let mut bytes = [0; 18];
        SystemRandom::new().fill(&mut bytes).map_err(|_| BusyError)?;
        let password = URL_SAFE_NO_PAD.encode(bytes);
        let password_hash = self.inner.passwords.hash(password.clone().into()).await?;
        let user = self.new_user(email.into_string(), name, Role::Admin, Status::Active, None, password_hash);
        self.insert(user).await?;
        Ok(password)
    }

    /// Creates a person for demo mode, unless they exist. No password matches theirs.
    pub async fn demo_person(
        &self,
        id: UserId,
        email: &str,
        name: Name,
        role: Role,
        pharmacy: Option<PharmacyId>,
        specialty: Option<(&str, &str)>,
    ) -> Result<(), StoreError> {
        let mut user = self.new_user(email.to_owned(), name, role, Status::Active, pharmacy, "-".to_owned());
        user.id = id;
        user.specialty = specialty.map(|(specialty, _)| specialty.to_owned());
        user.languages = specialty.map(|(_, languages)| languages.to_owned());
        self.inner.store.insert_user(&user).await?;
        Ok(())
    }

    /// Issues the token of a demo link for this person, or `None` outside demo mode.
    pub fn demo_token(&self, user: UserId) -> Option<DemoToken> {
        self.inner.demo.issue(user)
    }

    /// Changes an account, provided that it still has this version. Tokens issued before the change are rejected from
    /// now on. Disabling an account also ends all of its sign-ins.
    pub async fn change_account(
        &self,
        admin: UserId,
        id: UserId,
        change: AccountChange,
        version: Option<u64>,
    ) -> Result<User, AccountError> {
        let store = &self.inner.store;
        let user = store.user(id).await?.ok_or(AccountError::NotFound)?;
        if version.is_some_and(|version| version != account_version(&user)) {
            return Err(AccountError::Outdated);
        }
        let role = change.role.unwrap_or(user.role);
        let status = change.status.unwrap_or(user.status);
        let pharmacy = change.pharmacy.unwrap_or(user.pharmacy);
        if admin == id && (role != Role::Admin || status != Status::Active) {
            return Err(AccountError::OwnRights);
        }
        if !Role::PEOPLE.contains(&role) {
            return Err(invalid("role", "must be a person's role"));
        }
        match (role, pharmacy) {
            (Role::Pharmacist, None) if status == Status::Active => {
                return Err(invalid("pharmacy", "must be set for an active pharmacist"));
            }
            (Role::Pharmacist, Some(pharmacy)) if store.pharmacy_fact(pharmacy).await?.is_none() => {
                return Err(invalid("pharmacy", "must be a pharmacy's id"));
            }
            (Role::Pharmacist, _) | (_, None) => {}
            (_, Some(_)) if change.pharmacy.is_some() => return Err(invalid("pharmacy", "is for pharmacists only")),
            (_, Some(_)) => {}
        }
        let pharmacy = pharmacy.filter(|_| role == Role::Pharmacist);
        if (role, status, pharmacy) == (user.role, user.status, user.pharmacy) {
            return Ok(user);
        }
        let now = self.inner.clock.now();
        // Later than the previous change even if the clock went back, because this time orders the changes.
        let at = now.max(user.changed_at.plus(std::time::Duration::from_micros(1)));
        if !store.update_user(id, role, status, pharmacy, user.changed_at, at).await? {
            return Err(AccountError::Outdated);
        }
        let is_disabled = status != Status::Active;
        if is_disabled {
            let sessions = store.revoke_sessions(id, now).await?;
            self.inner.revocations.end_all_sessions(id, &sessions, now);
        }
        self.inner.revocations.change_rights(id, rights(at), now, is_disabled);
        tracing::info!(by = %admin, user = %id, role = role.as_str(), status = status.as_str(), "account changed");
        Ok(User { role, status, pharmacy, changed_at: at, ..user })
    }

    fn new_user(
        &self,
        email: String,
        name: Name,
        role: Role,
        status: Status,
        pharmacy: Option<PharmacyId>,
        password_hash: String,
    ) -> User {
        let now = self.inner.clock.now();
        User {
            id: UserId(self.inner.clock.fresh_id()),
            email,
            name: name.into(),
            role,
            status,
            pharmacy,
            specialty: None,
            languages: None,
            created_at: now,
            changed_at: now,
            password_hash,
        }
    }

    async fn insert(&self, user: User) -> Result<User, AccountError> {
        match self.inner.store.insert_user(&user).await? {
            true => Ok(user),
            false => Err(AccountError::EmailTaken),
        }
    }
}

/// Returns an account's version for `ETag`; it increases with each change.
pub fn account_version(user: &User) -> u64 {
    rights(user.changed_at)
}
