//! Guests: the link that lets one in, and coming in by it.

use axum::Json;
use axum::extract::State;
use rooms::command::{Command, Nothing};
use rooms::id::{CommandId, RoomId, UserId};
use rooms::role::Role;
use rooms::text::Line;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::{AuthError, Caller, GuestLink};
use crate::http::commands::look;
use crate::http::operation::{Operation, Tag, get, post};
use crate::hub::{Submission, SubmitError};
use crate::web::extract::Path;
use crate::web::{AppState, Body, Problem};

pub fn operations() -> Vec<Operation> {
    vec![
        get("/v1/consultations/{room}/guests/{guest}/link", "getGuestLink", link)
            .for_roles(&[Role::Patient, Role::Doctor])
            .about(Tag::Consultations, "Gives the link for somebody who was invited by `guest.invite`")
            .answers::<Link>(200, "What the link carries. Whoever has it comes in as this guest."),
        post("/v1/guests/enter", "enterAsGuest", enter)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Comes in by a guest's link; again for a fresh access token")
            .body::<EnterRequest>()
            .answers::<Entered>(200, "An access token for this one consultation.")
            .errors(&[Code::Unauthenticated, Code::NotFound]),
    ]
}

/// What a guest's link carries: `/#guest=` and the token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuestLink")]
struct Link {
    token: String,
    /// It is good until then.
    until: Timestamp,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EnterRequest {
    /// Of the link.
    token: String,
    /// Drawn by the page when it comes in first: with it, another access token is for the same session.
    device: Uuid,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GuestEntered")]
struct Entered {
    access_token: String,
    expires_at: Timestamp,
    user: Guest,
    /// The one consultation.
    room: RoomId,
}

#[derive(Serialize, JsonSchema)]
struct Guest {
    id: UserId,
    name: Line,
    role: Role,
}

async fn link(
    State(state): State<AppState>,
    caller: Caller,
    Path((room, guest)): Path<(RoomId, UserId)>,
) -> Result<Json<Link>, Problem> {
    let (snapshot, _) = look(&state, &caller, room).await?;
    let guest = snapshot.guests.into_iter().find(|it| it.id == guest).ok_or_else(|| Problem::not_found("guest"))?;
    let link = GuestLink { room, guest: guest.id, name: guest.name, until: guest.until };
    Ok(Json(Link { token: state.auth.guest_token(&link), until: link.until }))
}

async fn enter(State(state): State<AppState>, Body(request): Body<EnterRequest>) -> Result<Json<Entered>, Problem> {
    let now = state.clock.now();
    let link = state.auth.guest_link(&request.token, now).map_err(|error| match error {
        AuthError::Expired => {
            Problem::new(Code::Unauthenticated, "this link is not good any more; ask for another one")
        }
        _ => Problem::new(Code::Unauthenticated, "this is no link of this hub; ask for another one"),
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
            Problem::new(Code::NotFound, "the consultation is over, or the invitation was taken back")
        }
        other => Problem::from(other),
    })?;
    let user = Guest { id: link.guest, name: link.name, role: Role::Guest };
    Ok(Json(Entered { access_token, expires_at: claims.expires_at, user, room: link.room }))
}
