//! Administration of accounts, and the audit log of access to records.

use axum::Json;
use axum::extract::State;
use rooms::id::{PharmacyId, RoomId, UserId};
use rooms::role::Role;
use rooms::text::Line;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::sign_in::AccountHolder;
use crate::auth::{AccountChange, Caller, account_version};
use crate::http::commands::Versioned;
use crate::http::operation::{Matching, Operation, Tag, get, patch};
use crate::http::pagination::{List, PageQuery, page_request};
use crate::store::audit::Access;
use crate::store::users::{Status, User};
use crate::web::extract::{Body, IfMatch, Path, Query};
use crate::web::{AppState, Problem};

const ADMIN: &[Role] = &[Role::Admin];

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/users", "listUsers", list)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Lists all accounts")
            .query::<PageQuery>()
            .answers::<List<Account>>(200, "Oldest first."),
        get("/v1/users/{user}", "getUser", show)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Shows an account")
            .answers::<Account>(200, "The account.")
            .versioned(),
        patch("/v1/users/{user}", "changeUser", change)
            .for_roles(ADMIN)
            .about(
                Tag::Administration,
                "Approves, disables or changes an account; takes effect on open connections at once",
            )
            .body::<ChangeRequest>()
            .matching(Matching::Optional)
            .answers::<Account>(200, "The changed account.")
            .versioned()
            .errors(&[Code::Forbidden]),
        get("/v1/audit", "listAccesses", audit)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Lists who accessed which record, and when")
            .query::<AuditQuery>()
            .answers::<List<AccessView>>(200, "Newest first."),
    ]
}

/// An account, as administrators see it.
#[derive(Serialize, JsonSchema)]
struct Account {
    #[serde(flatten)]
    person: AccountHolder,
    created_at: Timestamp,
    /// Increases with each change of the account's rights; for `If-Match`.
    version: u64,
}

/// The fields to change; absent fields stay as they are.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeRequest {
    #[serde(default)]
    role: Option<Role>,
    #[serde(default)]
    status: Option<Status>,
    /// For pharmacists; null removes it.
    #[serde(default, deserialize_with = "present")]
    pharmacy: Option<Option<PharmacyId>>,
    /// Shown to patients, for doctors.
    #[serde(default)]
    specialty: Option<Line>,
    /// Shown to patients, for doctors, e.g. `en, de`.
    #[serde(default)]
    languages: Option<Line>,
}

/// Distinguishes `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<PharmacyId>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// Returns only accesses to this room's record.
    room: Option<RoomId>,
    /// `next` of the previous page.
    cursor: Option<String>,
    /// Items per page, 1 to 200; 50 if absent.
    #[schemars(range(min = 1, max = 200))]
    limit: Option<u32>,
}

/// One access to a record.
#[derive(Serialize, JsonSchema)]
struct AccessView {
    id: Uuid,
    at: Timestamp,
    user: UserId,
    role: Role,
    /// The kind of access, e.g. `events.read`.
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<RoomId>,
}

async fn list(State(state): State<AppState>, Query(query): Query<PageQuery>) -> Result<Json<List<Account>>, Problem> {
    Ok(Json(List::of(state.store.users(query.request()?).await?, account)))
}

async fn show(State(state): State<AppState>, Path(id): Path<UserId>) -> Result<Versioned<Account>, Problem> {
    let user = state.store.user(id).await?.ok_or_else(|| Problem::not_found("account"))?;
    Ok(versioned(user))
}

async fn change(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<UserId>,
    IfMatch(version): IfMatch,
    Body(request): Body<ChangeRequest>,
) -> Result<Versioned<Account>, Problem> {
    let ChangeRequest { role, status, pharmacy, specialty, languages } = request;
    let user = state.auth.change_account(caller.user(), id, AccountChange { role, status, pharmacy }, version).await?;
    if specialty.is_some() || languages.is_some() {
        let specialty = specialty.as_ref().map(|line| line.as_str());
        state.store.update_profile(id, specialty, languages.as_ref().map(|line| line.as_str())).await?;
    }
    Ok(versioned(user))
}

async fn audit(
    State(state): State<AppState>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<List<AccessView>>, Problem> {
    let request = page_request(query.cursor.as_deref(), query.limit)?;
    let page = state.store.accesses(query.room, request).await?;
    Ok(Json(List::of(page, |access| {
        let Access { id, at, user, role, action, room } = access;
        AccessView { id, at, user, role, action, room }
    })))
}

fn account(user: User) -> Account {
    let (created_at, version) = (user.created_at, account_version(&user));
    Account { person: user.into(), created_at, version }
}

fn versioned(user: User) -> Versioned<Account> {
    let account = account(user);
    Versioned { version: Some(account.version), body: account }
}
