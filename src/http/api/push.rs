//! Push subscriptions of devices, and the caller's notification preferences.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::Caller;
use crate::http::operation::{Operation, Tag, delete, get, post, put};
use crate::integrations::push::adapter::SubscribeError;
use crate::store::devices::{NoticeKind, Preferences, Quiet, Subscription};
use crate::web::extract::{Body, Path};
use crate::web::{AppState, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/push/key", "getPushKey", key)
            .about(Tag::Notifications, "Returns the key that browsers subscribe with")
            .answers::<PushKey>(200, "The key."),
        post("/v1/push/subscriptions", "subscribe", subscribe)
            .without_key()
            .about(Tag::Notifications, "Subscribes a device; repeating it for the same device replaces its keys")
            .body::<SubscriptionRequest>()
            .answers::<SubscriptionView>(201, "The device is subscribed."),
        delete("/v1/push/subscriptions/{subscription}", "unsubscribe", unsubscribe)
            .without_key()
            .about(Tag::Notifications, "Ends a device's subscription")
            .answers_nothing(204, "The subscription has ended."),
        get("/v1/push/preferences", "getPushPreferences", preferences)
            .about(Tag::Notifications, "Returns the caller's notification preferences")
            .answers::<PreferencesView>(200, "The preferences."),
        put("/v1/push/preferences", "setPushPreferences", set_preferences)
            .without_key()
            .about(Tag::Notifications, "Sets the caller's notification preferences")
            .body::<PreferencesView>()
            .answers::<PreferencesView>(200, "The preferences."),
    ]
}

#[derive(Serialize, JsonSchema)]
struct PushKey {
    /// An uncompressed point of P-256 in base64url: `applicationServerKey`.
    key: String,
}

/// A browser's `PushSubscription`, as its `toJSON` writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[serde(rename_all = "camelCase")]
struct SubscriptionRequest {
    /// The URL of a push service that this hub supports.
    endpoint: String,
    keys: SubscriptionKeys,
    /// Ignored: the push service reports when a subscription has ended.
    #[serde(default)]
    #[expect(dead_code, reason = "browsers send it")]
    expiration_time: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionKeys {
    /// The device's public key: an uncompressed point of P-256 in base64url.
    p256dh: String,
    /// 16 bytes in base64url.
    auth: String,
}

#[derive(Serialize, JsonSchema)]
struct SubscriptionView {
    id: Uuid,
}

/// Notification preferences. Without quiet hours, notifications arrive at any time.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PreferencesView {
    /// The kinds that are turned off.
    muted: Vec<NoticeKind>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet: Option<QuietView>,
}

/// The hours in which the hub only notifies of incoming calls.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QuietView {
    /// Minutes after midnight, 0 to 1439.
    #[schemars(range(max = 1439))]
    from: u16,
    /// Minutes after midnight; less than `from` if the hours span midnight.
    #[schemars(range(max = 1439))]
    until: u16,
    /// The offset of the person's local time from UTC, in minutes, -720 to 840.
    #[schemars(range(min = -720, max = 840))]
    offset: i16,
}

async fn key(State(state): State<AppState>) -> Json<PushKey> {
    Json(PushKey { key: state.integrations.push().public_key().to_owned() })
}

async fn subscribe(
    State(state): State<AppState>,
    caller: Caller,
    Body(request): Body<SubscriptionRequest>,
) -> Result<(StatusCode, Json<SubscriptionView>), Problem> {
    let SubscriptionRequest { endpoint, keys: SubscriptionKeys { p256dh, auth }, .. } = request;
    let (id, user, session) = (state.clock.fresh_id(), caller.user(), caller.claims.session);
    let device = Subscription { id, user, session, endpoint, p256dh, auth, vapid_key: None };
    match state.integrations.push().subscribe(&device).await {
        Ok(id) => Ok((StatusCode::CREATED, Json(SubscriptionView { id }))),
        Err(error @ (SubscribeError::Service | SubscribeError::Forbidden(_))) => {
            Err(Problem::invalid("endpoint", &error.to_string()))
        }
        Err(error @ SubscribeError::Keys) => Err(Problem::invalid("keys", &error.to_string())),
        Err(SubscribeError::Store(error)) => Err(error.into()),
    }
}

async fn unsubscribe(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Problem> {
    let removed = state.store.remove_subscription(id, Some(caller.user())).await?;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("device")) }
}

async fn preferences(State(state): State<AppState>, caller: Caller) -> Result<Json<PreferencesView>, Problem> {
    Ok(Json(state.store.preferences(caller.user()).await?.into()))
}

async fn set_preferences(
    State(state): State<AppState>,
    caller: Caller,
    Body(preferences): Body<PreferencesView>,
) -> Result<Json<PreferencesView>, Problem> {
    let preferences = preferences.checked()?;
    state.store.save_preferences(caller.user(), &preferences).await?;
    Ok(Json(preferences.into()))
}

impl PreferencesView {
    /// Checks the ranges, and sorts the kinds.
    fn checked(mut self) -> Result<Preferences, Problem> {
        self.muted.sort();
        self.muted.dedup();
        let quiet = self.quiet.map(QuietView::checked).transpose()?;
        Ok(Preferences { muted: self.muted, quiet })
    }
}

impl QuietView {
    fn checked(self) -> Result<Quiet, Problem> {
        let Self { from, until, offset } = self;
        for (field, minutes) in [("quiet.from", from), ("quiet.until", until)] {
            if minutes > 1439 {
                return Err(Problem::invalid(field, "must be minutes after midnight, 0 to 1439"));
            }
        }
        if !(-720..=840).contains(&offset) {
            return Err(Problem::invalid("quiet.offset", "must be between -720 and 840"));
        }
        Ok(Quiet { from, until, offset })
    }
}

impl From<Preferences> for PreferencesView {
    fn from(it: Preferences) -> Self {
        let quiet = it.quiet.map(|Quiet { from, until, offset }| QuietView { from, until, offset });
        Self { muted: it.muted, quiet }
    }
}
