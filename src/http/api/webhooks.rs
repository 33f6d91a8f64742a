//! Manages integrators' webhook endpoints.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use rooms::event::Event;
use rooms::role::Role;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::http::middleware::idempotency::IdempotencyKey;
use crate::http::operation::{Operation, Tag, delete, get, post};
use crate::http::pagination::List;
use crate::integrations::webhook::{PREVIOUS_SECRET_VALIDITY, encode_secret, generate_secret};
use crate::store::webhooks::Webhook;
use crate::web::extract::{Body, Path};
use crate::web::{AppState, Problem};

const ADMIN: &[Role] = &[Role::Admin];
/// The most endpoints of one hub.
const MAX_ENDPOINTS: usize = 50;

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/webhooks", "listWebhooks", list)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Lists the webhook endpoints")
            .answers::<List<WebhookView>>(200, "All endpoints, without their secrets."),
        post("/v1/webhooks", "addWebhook", add)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Adds a webhook endpoint")
            .body::<WebhookRequest>()
            .answers::<NewWebhook>(201, "The endpoint with its secret, which is shown only once."),
        delete("/v1/webhooks/{webhook}", "removeWebhook", remove)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Removes a webhook endpoint")
            .answers_nothing(204, "The endpoint is removed."),
        post("/v1/webhooks/{webhook}/secret", "rotateWebhookSecret", rotate)
            .for_roles(ADMIN)
            .about(
                Tag::Administration,
                "Replaces an endpoint's secret; messages carry a signature by the previous one for another day, too",
            )
            .answers::<NewWebhook>(200, "The endpoint with its new secret, which is shown only once."),
        post("/v1/webhooks/{webhook}/enable", "enableWebhook", enable)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Enables a disabled endpoint")
            .answers::<WebhookView>(200, "The endpoint."),
        post("/v1/webhooks/{webhook}/test", "testWebhook", test)
            .for_roles(ADMIN)
            .about(Tag::Administration, "Sends a test message to an endpoint")
            .answers::<TestSent>(202, "The message is queued: `GET /v1/dispatches?sink=webhook` shows its result."),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WebhookRequest {
    /// An https URL with a public address; the setting `webhooks.private` permits others.
    url: String,
    /// The kinds of events to send, e.g. `dispensing.moved`; empty for all kinds that leave the hub.
    #[serde(default)]
    kinds: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct WebhookView {
    id: Uuid,
    url: String,
    kinds: Vec<String>,
    /// Why the endpoint is disabled; absent if it is enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<String>,
    /// Until when the hub also signs with the previous secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    former_until: Option<Timestamp>,
    created_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
struct NewWebhook {
    #[serde(flatten)]
    webhook: WebhookView,
    /// `whsec_` and a key in base64, as Standard Webhooks defines it.
    secret: String,
}

#[derive(Serialize, JsonSchema)]
struct TestSent {
    /// The message's `webhook-id`, which is also the id of its delivery.
    dispatch: Uuid,
}

impl From<Webhook> for WebhookView {
    fn from(it: Webhook) -> Self {
        let former_until = it.former.map(|(_, until)| until);
        Self { id: it.id, url: it.url, kinds: it.kinds, disabled: it.disabled, former_until, created_at: it.created_at }
    }
}

impl From<Webhook> for NewWebhook {
    fn from(it: Webhook) -> Self {
        Self { secret: encode_secret(&it.secret), webhook: it.into() }
    }
}

async fn list(State(state): State<AppState>) -> Result<Json<List<WebhookView>>, Problem> {
    Ok(Json(List::whole(state.store.webhooks().await?.into_iter().map(WebhookView::from).collect())))
}

async fn add(
    State(state): State<AppState>,
    key: IdempotencyKey,
    Body(WebhookRequest { url, mut kinds }): Body<WebhookRequest>,
) -> Result<(StatusCode, Json<NewWebhook>), Problem> {
    let adapter = state.integrations.webhooks();
    let url = adapter.check(&url).await.map_err(|why| Problem::invalid("url", &why.to_string()))?;
    if kinds.iter().any(|kind| !Event::KINDS.contains(&kind.as_str())) {
        return Err(Problem::invalid("kinds", "must contain only kinds of events, e.g. dispensing.moved"));
    }
    kinds.sort();
    kinds.dedup();
    if state.store.webhooks().await?.len() >= MAX_ENDPOINTS {
        return Err(Problem::invalid("url", "exceeds the number of endpoints allowed; remove an endpoint first"));
    }
    let (secret, created_at) = (secret()?, state.clock.now());
    let webhook = Webhook { id: key.fresh, url: url.into(), kinds, secret, former: None, disabled: None, created_at };
    save(&state, &webhook).await?;
    Ok((StatusCode::CREATED, Json(webhook.into())))
}

async fn remove(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<StatusCode, Problem> {
    let removed = state.store.remove_webhook(id).await?;
    state.integrations.webhooks().forget_endpoints().await;
    if removed { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("endpoint")) }
}

async fn rotate(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<Json<NewWebhook>, Problem> {
    let mut webhook = find(&state, id).await?;
    let former = std::mem::replace(&mut webhook.secret, secret()?);
    webhook.former = Some((former, state.clock.now().plus(PREVIOUS_SECRET_VALIDITY)));
    save(&state, &webhook).await?;
    Ok(Json(webhook.into()))
}

async fn enable(State(state): State<AppState>, Path(id): Path<Uuid>) -> Result<Json<WebhookView>, Problem> {
    let webhook = Webhook { disabled: None, ..find(&state, id).await? };
    save(&state, &webhook).await?;
    Ok(Json(webhook.into()))
}

async fn test(
    State(state): State<AppState>,
    key: IdempotencyKey,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<TestSent>), Problem> {
    find(&state, id).await?;
    state.integrations.webhooks().enqueue_test(id, key.fresh).await?;
    Ok((StatusCode::ACCEPTED, Json(TestSent { dispatch: key.fresh })))
}

async fn find(state: &AppState, id: Uuid) -> Result<Webhook, Problem> {
    state.store.webhook(id).await?.ok_or_else(|| Problem::not_found("endpoint"))
}

async fn save(state: &AppState, webhook: &Webhook) -> Result<(), Problem> {
    state.store.save_webhook(webhook).await?;
    state.integrations.webhooks().forget_endpoints().await;
    Ok(())
}

fn secret() -> Result<Vec<u8>, Problem> {
    generate_secret().map_err(|error| {
        tracing::error!(%error, "webhook secret generation failed");
        Problem::new(Code::Internal, "the hub cannot generate a secret; repeat the call later")
    })
}
