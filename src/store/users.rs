//! Accounts and pharmacies.

use rooms::id::{PharmacyId, UserId};
use rooms::party::{Person, Pharmacy};
use rooms::role::Role;
use rooms::text::Text;
use rooms::time::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::columns::{named, text, timestamp};
use super::folding::fold;
use super::page::{Page, PageRequest};
use super::{Store, StoreError, read, write_one};

/// Whether an account may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The account of a doctor or pharmacist before an administrator's approval.
    Pending,
    Active,
    Disabled,
}

impl Status {
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Active => "active",
            Status::Disabled => "disabled",
        }
    }
}

/// An account.
#[derive(Clone, Debug)]
pub struct User {
    pub id: UserId,
    pub email: String,
    pub name: Text<200>,
    pub role: Role,
    pub status: Status,
    pub pharmacy: Option<PharmacyId>,
    pub specialty: Option<String>,
    pub languages: Option<String>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
    /// The password hash in PHC form.
    pub password_hash: String,
}

/// The language in which the hub writes to a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    #[default]
    En,
    Ko,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::En, Language::Ko];

    /// Returns the name on the wire and in the database (ISO 639-1).
    pub fn as_str(self) -> &'static str {
        match self {
            Language::En => "en",
            Language::Ko => "ko",
        }
    }
}

/// A person's name, address and language, for mail.
#[derive(Clone, Debug)]
pub struct Addressee {
    pub name: Text<200>,
    pub email: String,
    pub language: Language,
}

#[derive(FromRow)]
pub(super) struct UserRow {
    pub(super) id: Uuid,
    email: String,
    name: String,
    role: String,
    status: String,
    pharmacy: Option<Uuid>,
    specialty: Option<String>,
    languages: Option<String>,
    created_at: i64,
    changed_at: i64,
    password_hash: String,
}

impl TryFrom<UserRow> for User {
    type Error = StoreError;

    fn try_from(row: UserRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId(row.id),
            email: row.email,
            name: text(&row.name)?,
            role: named(&row.role)?,
            status: named(&row.status)?,
            pharmacy: row.pharmacy.map(PharmacyId),
            specialty: row.specialty,
            languages: row.languages,
            created_at: timestamp(row.created_at),
            changed_at: timestamp(row.changed_at),
            password_hash: row.password_hash,
        })
    }
}

impl Store {
    /// Adds an account; returns `false` if the e-mail address already has one.
    pub async fn insert_user(&self, user: &User) -> Result<bool, StoreError> {
        let sql = "insert into users (id, email, name, password_hash, role, status, pharmacy, specialty, languages, \
            created_at, changed_at, name_search, specialty_search) \
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) on conflict do nothing";
        let inserted = write_one!(self, db => sqlx::query(sql)
            .bind(user.id.0).bind(&user.email).bind(user.name.as_str()).bind(&user.password_hash)
            .bind(user.role.as_str()).bind(user.status.as_str()).bind(user.pharmacy.map(|it| it.0))
            .bind(&user.specialty).bind(&user.languages).bind(user.created_at.micros()).bind(user.changed_at.micros())
            .bind(fold(user.name.as_str())).bind(user.specialty.as_deref().map(fold))
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(inserted == 1)
    }

    /// Finds the account of an e-mail address, which must be in lower case.
    pub async fn user_by_email(&self, email: &str) -> Result<Option<User>, StoreError> {
        let sql = "select * from users where email = $1";
        let row: Option<UserRow> = read!(self, db => sqlx::query_as(sql).bind(email).fetch_optional(db).await)?;
        row.map(User::try_from).transpose()
    }

    /// Replaces a password's hash, unless it has changed since the caller read it.
    pub async fn replace_password_hash(&self, id: UserId, old: &str, new: &str) -> Result<(), StoreError> {
        let sql = "update users set password_hash = $3 where id = $1 and password_hash = $2";
        write_one!(self, db => sqlx::query(sql).bind(id.0).bind(old).bind(new).execute(db).await.map(drop))
    }

    pub async fn user(&self, id: UserId) -> Result<Option<User>, StoreError> {
        let sql = "select * from users where id = $1";
        let row: Option<UserRow> = read!(self, db => sqlx::query_as(sql).bind(id.0).fetch_optional(db).await)?;
        row.map(User::try_from).transpose()
    }

    /// Finds the mail address of a person with an active account.
    pub async fn addressee(&self, id: UserId) -> Result<Option<Addressee>, StoreError> {
        let sql = "select name, email, language from users where id = $1 and status = 'active'";
        let row: Option<(String, String, String)> =
            read!(self, db => sqlx::query_as(sql).bind(id.0).fetch_optional(db).await)?;
        row.map(|(name, email, language)| Ok(Addressee { name: text(&name)?, email, language: named(&language)? }))
            .transpose()
    }

    /// Sets the language in which the hub writes to a person.
    pub async fn set_language(&self, id: UserId, language: Language) -> Result<(), StoreError> {
        let sql = "update users set language = $2 where id = $1";
        write_one!(self, db => sqlx::query(sql).bind(id.0).bind(language.as_str()).execute(db).await.map(drop))
    }

    /// Updates a doctor's public profile. `None` keeps the present value.
    pub async fn update_profile(
        &self,
        id: UserId,
        specialty: Option<&str>,
        languages: Option<&str>,
    ) -> Result<(), StoreError> {
        let sql = "update users set specialty = coalesce($2, specialty), languages = coalesce($3, languages), \
            specialty_search = coalesce($4, specialty_search) where id = $1";
        write_one!(self, db => sqlx::query(sql)
            .bind(id.0).bind(specialty).bind(languages).bind(specialty.map(fold)).execute(db).await.map(drop))?;
        Ok(())
    }

    /// Changes role, status and pharmacy if the last change is still that of `from`. Tokens issued before `at` become
    /// invalid.
    pub async fn update_user(
        &self,
        id: UserId,
        role: Role,
        status: Status,
        pharmacy: Option<PharmacyId>,
        from: Timestamp,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "update users set role = $2, status = $3, pharmacy = $4, changed_at = $6 \
            where id = $1 and changed_at = $5";
        let changed = write_one!(self, db => sqlx::query(sql)
            .bind(id.0).bind(role.as_str()).bind(status.as_str()).bind(pharmacy.map(|it| it.0))
            .bind(from.micros()).bind(at.micros())
            .execute(db).await.map(|done| done.rows_affected()))?;
        Ok(changed == 1)
    }

    /// Lists all accounts by id.
    pub async fn users(&self, request: PageRequest) -> Result<Page<User>, StoreError> {
        let sql = "select * from users where id > $1 order by id limit $2";
        let rows: Vec<UserRow> =
            read!(self, db => sqlx::query_as(sql).bind(request.above()).bind(request.rows()).fetch_all(db).await)?;
        let users =
            rows.into_iter().map(|row| Ok((row.id, User::try_from(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(users, |user| user))
    }

    /// Lists the accounts changed since `since`: tokens from before the change may still be in use.
    pub async fn changed_users(&self, since: Timestamp) -> Result<Vec<(UserId, Timestamp)>, StoreError> {
        let sql = "select id, changed_at from users where changed_at >= $1 and changed_at > created_at";
        let rows: Vec<(Uuid, i64)> = read!(self, db => sqlx::query_as(sql).bind(since.micros()).fetch_all(db).await)?;
        Ok(rows.into_iter().map(|(id, at)| (UserId(id), timestamp(at))).collect())
    }

    /// Finds an active doctor, in the form in which the log stores people.
    pub async fn doctor_fact(&self, id: UserId) -> Result<Option<Person>, StoreError> {
        self.active(id, Role::Doctor).await
    }

    /// Finds an active courier, in the form in which the log stores people.
    pub async fn courier_fact(&self, id: UserId) -> Result<Option<Person>, StoreError> {
        self.active(id, Role::Courier).await
    }

    async fn active(&self, id: UserId, role: Role) -> Result<Option<Person>, StoreError> {
        let sql = "select name from users where id = $1 and role = $2 and status = 'active'";
        let row: Option<(String,)> =
            read!(self, db => sqlx::query_as(sql).bind(id.0).bind(role.as_str()).fetch_optional(db).await)?;
        row.map(|(name,)| Ok(Person { id, name: text(&name)? })).transpose()
    }

    /// Adds a pharmacy.
    pub async fn insert_pharmacy(
        &self,
        id: PharmacyId,
        name: &Text<200>,
        address: &Text<400>,
    ) -> Result<(), StoreError> {
        let sql = "insert into pharmacies (id, name, address, name_search, address_search) \
            values ($1, $2, $3, $4, $5) on conflict do nothing";
        write_one!(self, db => sqlx::query(sql)
            .bind(id.0).bind(name.as_str()).bind(address.as_str())
            .bind(fold(name.as_str())).bind(fold(address.as_str())).execute(db).await.map(drop))?;
        Ok(())
    }

    pub async fn pharmacy_fact(&self, id: PharmacyId) -> Result<Option<Pharmacy>, StoreError> {
        let sql = "select name, address from pharmacies where id = $1";
        let row: Option<(String, String)> = read!(self, db => sqlx::query_as(sql).bind(id.0).fetch_optional(db).await)?;
        row.map(|(name, address)| Ok(Pharmacy { id, name: text(&name)?, address: text(&address)? })).transpose()
    }
}
