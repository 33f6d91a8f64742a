//! Issues guest links, and exchanges them for access tokens.

use axum::Json;
use axum::extract::State;
use rooms::command::{Command, Nothing};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::role::Role;
use rooms::text::Text;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::{AuthError, Caller, GuestLink};
use crate::http::commands::read_room;
use crate::http::operation::{Operation, Tag, get, post};
use crate::hub::{Submission, SubmitError};
use crate::web::extract::Path;
use crate::web::{AppState, Body, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/consultations/{room}/guests/{guest}/link", "getGuestLink", link)
            .for_roles(&[Role::Patient, Role::Doctor])
            .about(Tag::Consultations, "Returns the link for a guest invited by `guest.invite`")
            .answers::<GuestLinkView>(200, "The link's content. Anyone who holds it can enter as this guest."),
        post("/v1/guests/enter", "enterAsGuest", enter)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Enters by a guest link; call it again for a new access token")
            .body::<EnterRequest>()
            .answers::<GuestEntered>(200, "An access token for this one consultation.")
            .errors(&[Code::Unauthenticated, Code::NotFound]),
    ]
}

/// The content of a guest link, which is `/#guest=` and the token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuestLink")]
struct GuestLinkView {
    token: String,
    /// When the link expires.
    until: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EnterRequest {
    /// The link's token.
    token: String,
    /// A random id that the client chooses once: later access tokens with the same id belong to the same session.
    #[serde(deserialize_with = "rooms::id::deserialize")]
    device: Uuid,
}

#[derive(Serialize, JsonSchema)]
struct GuestEntered {
    access_token: String,
    expires_at: Timestamp,
    user: Guest,
    /// The only consultation that the token opens.
    room: RoomId,
}

#[derive(Serialize, JsonSchema)]
struct Guest {
    id: UserId,
    name: Text<200>,
    role: Role,
}

async fn link(
    State(state): State<AppState>,
    caller: Caller,
    Path((room, guest)): Path<(RoomId, UserId)>,
) -> Result<Json<GuestLinkView>, Problem> {
    let snapshot = read_room(&state, &caller, "guest_link.read", room).await?;
    let guest = snapshot.guests.into_iter().find(|it| it.id == guest).ok_or_else(|| Problem::not_found("guest"))?;
    let link = GuestLink { room, guest: guest.id, name: guest.name, until: guest.until };
    Ok(Json(GuestLinkView { token: state.auth.guest_token(&link), until: link.until }))
}

async fn enter(
    State(state): State<AppState>,
    Body(request): Body<EnterRequest>,
) -> Result<Json<GuestEntered>, Problem> {
    let now = state.clock.now();
    let link = state.auth.guest_link(&request.token, now).map_err(|error| match error {
        AuthError::Expired => Problem::new(Code::Unauthenticated, "this link has expired; ask for a new one"),
        _ => Problem::new(Code::Unauthenticated, "this is not a link of this hub; ask for a new one"),
    })?;
    let (access_token, claims) = state.auth.guest_access(&link, request.device, now);
    let submission = Submission {
        room: link.room,
        actor: claims.actor(),
        id: CommandId(state.clock.fresh_id()),
        command: Command::EnterAsGuest(Nothing {}),
        expect: None,
    };
    state.hub.submit(submission).await.map_err(|error| match error {
        SubmitError::NotFound | SubmitError::Refused(_) => {
            Problem::new(Code::NotFound, "the consultation is over, or the invitation was withdrawn")
        }
        other => Problem::from(other),
    })?;
    let user = Guest { id: link.guest, name: link.name, role: Role::Guest };
    Ok(Json(GuestEntered { access_token, expires_at: claims.expires_at, user, room: link.room }))
}
