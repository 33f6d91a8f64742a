//! Accounts and sign-ins of one's own.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use rooms::id::{PharmacyId, SessionId, UserId};
use rooms::role::Role;
use rooms::text::Line;
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::auth::{Caller, ClientInfo, Registration, SignedIn};
use crate::http::operation::{Operation, Tag, delete, get, post, put};
use crate::http::pagination::List;
use crate::store::sessions::Session;
use crate::store::users::{Language, Status, User};
use crate::web::ACCESS_COOKIE;
use crate::web::extract::{Body, Path, parse};
use crate::web::origin::{Verdict, judge};
use crate::web::{AppState, Problem};

/// The cookie of the refresh token; it goes to this host's sign-in only.
const REFRESH_COOKIE: &str = "wardroom_refresh";
const REFRESH_PATH: &str = "/v1/auth";

pub fn operations() -> Vec<Operation> {
    vec![
        post("/v1/auth/register", "register", register)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Makes an account; doctors and pharmacists wait for an administrator's approval")
            .body::<RegisterRequest>()
            .answers::<Registered>(201, "The account.")
            .errors(&[Code::EmailTaken]),
        post("/v1/auth/sign-in", "signIn", sign_in)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Signs in by e-mail address and password")
            .body::<SignInRequest>()
            .answers::<SignInAnswer>(200, "Tokens. With transport `cookie` the refresh token is in a cookie.")
            .errors(&[Code::BadCredentials, Code::AccountInactive, Code::Forbidden]),
        post("/v1/auth/demo", "signInDemo", demo)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Signs in by a demo link; in demo mode only")
            .body::<DemoRequest>()
            .answers::<SignInAnswer>(200, "Tokens.")
            .errors(&[Code::BadCredentials, Code::AccountInactive]),
        post("/v1/auth/refresh", "refresh", refresh)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Exchanges a refresh token for fresh tokens; a token of before ends the sign-in")
            .body::<RefreshRequest>()
            .body_optional()
            .answers::<SignInAnswer>(200, "Tokens, by the way the refresh token came.")
            .errors(&[Code::Unauthenticated, Code::AccountInactive, Code::Forbidden]),
        post("/v1/auth/sign-out", "signOut", sign_out)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Ends the sign-in of the access token, or else of the refresh token")
            .body::<RefreshRequest>()
            .body_optional()
            .answers_nothing(204, "It has ended, or there was none.")
            .errors(&[Code::Forbidden]),
        post("/v1/auth/sign-out-everywhere", "signOutEverywhere", sign_out_everywhere)
            .without_key()
            .about(Tag::SignIn, "Ends all own sign-ins")
            .answers_nothing(204, "They have ended."),
        get("/v1/auth/sessions", "listSessions", sessions).about(Tag::SignIn, "Lists the own sign-ins").answers::<List<
            SessionView,
        >>(
            200,
            "Those that stand, newest first.",
        ),
        delete("/v1/auth/sessions/{session}", "endSession", end_session)
            .without_key()
            .about(Tag::SignIn, "Ends one of the own sign-ins")
            .answers_nothing(204, "It has ended."),
        get("/v1/me", "getMe", me).about(Tag::SignIn, "Says who the caller is").answers::<Person>(200, "The caller."),
        get("/v1/me/language", "getLanguage", language)
            .about(Tag::SignIn, "Says in which language the hub writes to the caller")
            .answers::<Chosen>(200, "The language."),
        put("/v1/me/language", "chooseLanguage", choose_language)
            .about(Tag::SignIn, "Chooses the language in which the hub writes to the caller")
            .body::<Chosen>()
            .answers::<Chosen>(200, "The language."),
    ]
}

/// A language of mail.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "LanguageChoice")]
struct Chosen {
    language: Language,
}

async fn language(State(state): State<AppState>, caller: Caller) -> Result<Json<Chosen>, Problem> {
    let person = state.store.addressee(caller.user()).await?;
    Ok(Json(Chosen { language: person.map(|it| it.language).unwrap_or_default() }))
}

async fn choose_language(
    State(state): State<AppState>,
    caller: Caller,
    Body(chosen): Body<Chosen>,
) -> Result<Json<Chosen>, Problem> {
    state.store.set_language(caller.user(), chosen.language).await?;
    Ok(Json(chosen))
}

/// What a person says to get an account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisterRequest {
    #[schemars(length(max = 254))]
    email: String,
    /// 8 characters or more, at most 256 bytes, and none that everybody guesses first.
    #[schemars(with = "String", length(min = 8, max = 256))]
    password: SecretString,
    name: Line,
    #[serde(default)]
    role: Applicant,
}

/// What somebody may register as.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Applicant {
    #[default]
    Patient,
    Doctor,
    Pharmacist,
}

/// A person, as they themselves and administrators see them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AccountHolder")]
pub struct Person {
    pub id: UserId,
    pub name: Line,
    pub email: String,
    pub role: Role,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<PharmacyId>,
}

impl From<User> for Person {
    fn from(user: User) -> Self {
        let User { id, name, email, role, status, pharmacy, .. } = user;
        Self { id, name, email, role, status, pharmacy }
    }
}

#[derive(Serialize, JsonSchema)]
struct Registered {
    user: Person,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignInRequest {
    #[schemars(length(max = 254))]
    email: String,
    #[schemars(with = "String", length(max = 256))]
    password: SecretString,
    #[serde(default)]
    transport: Transport,
}

/// How the client keeps its refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Transport {
    /// In a cookie that scripts cannot read: for browsers.
    Cookie,
    /// By itself: for other clients.
    #[default]
    Bearer,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DemoRequest {
    /// What stands behind `#demo=` in the link.
    #[schemars(with = "String")]
    token: SecretString,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    /// Absent if it is in the cookie.
    #[serde(default)]
    refresh_token: Option<String>,
}

/// A sign-in that stands.
#[derive(Serialize, JsonSchema)]
struct SignInAnswer {
    access_token: String,
    /// When the access token ends.
    expires_at: Timestamp,
    /// Absent if it is in the cookie. Good for one use.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    user: Person,
}

/// One sign-in.
#[derive(Serialize, JsonSchema)]
struct SessionView {
    id: SessionId,
    /// What the device called itself.
    label: String,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    /// Whether it is the one of this call.
    current: bool,
}

async fn register(
    State(state): State<AppState>,
    Body(request): Body<RegisterRequest>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let RegisterRequest { email, password, name, role } = request;
    let role = match role {
        Applicant::Patient => Role::Patient,
        Applicant::Doctor => Role::Doctor,
        Applicant::Pharmacist => Role::Pharmacist,
    };
    let user = state.auth.register(Registration { email, password, name, role }).await?;
    Ok((StatusCode::CREATED, Json(Registered { user: user.into() })))
}

async fn sign_in(
    State(state): State<AppState>,
    Extension(client): Extension<ClientInfo>,
    headers: HeaderMap,
    Body(request): Body<SignInRequest>,
) -> Result<Response, Problem> {
    state.origin_allowed(&headers)?;
    let signed_in = state.auth.sign_in(&request.email, request.password, client).await?;
    Ok(answer(&state, signed_in, request.transport))
}

async fn demo(
    State(state): State<AppState>,
    Extension(client): Extension<ClientInfo>,
    Body(request): Body<DemoRequest>,
) -> Result<Response, Problem> {
    let signed_in = state.auth.sign_in_demo(secrecy::ExposeSecret::expose_secret(&request.token), client).await?;
    Ok(answer(&state, signed_in, Transport::Bearer))
}

async fn refresh(State(state): State<AppState>, headers: HeaderMap, body: bytes::Bytes) -> Result<Response, Problem> {
    let (token, transport) = refresh_token(&state, &headers, &body)?
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "send a refresh token; or sign in"))?;
    let signed_in = state.auth.refresh(&token).await?;
    Ok(answer(&state, signed_in, transport))
}

async fn sign_out(State(state): State<AppState>, headers: HeaderMap, body: bytes::Bytes) -> Result<Response, Problem> {
    // The access token names the sign-in best; one that has ended already is no reason to refuse.
    if let Ok(Some(claims)) = state.auth.bearer(&headers, state.clock.now()) {
        state.auth.end_session(claims.user, claims.session).await?;
    } else if let Some((token, _)) = refresh_token(&state, &headers, &body)? {
        state.auth.end_by_refresh_token(&token).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    forget_cookies(&state, &mut response);
    Ok(response)
}

async fn sign_out_everywhere(State(state): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    state.auth.end_all_sessions(caller.user()).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    forget_cookies(&state, &mut response);
    Ok(response)
}

async fn sessions(State(state): State<AppState>, caller: Caller) -> Result<Json<List<SessionView>>, Problem> {
    let current = caller.claims.session;
    let view = |session: Session| SessionView {
        id: session.id,
        label: session.label,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        current: session.id == current,
    };
    let sessions = state.auth.sessions(caller.user()).await?;
    Ok(Json(List::whole(sessions.into_iter().map(view).collect())))
}

async fn end_session(
    State(state): State<AppState>,
    caller: Caller,
    Path(session): Path<SessionId>,
) -> Result<StatusCode, Problem> {
    match state.auth.end_session(caller.user(), session).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("sign-in")),
    }
}

async fn me(State(state): State<AppState>, caller: Caller) -> Result<Json<Person>, Problem> {
    let user = state.store.user(caller.user()).await?.ok_or_else(|| Problem::not_found("account"))?;
    Ok(Json(user.into()))
}

/// The refresh token of the body, else of the cookie. A cookie comes by itself, so its page must be allowed to use it.
fn refresh_token(state: &AppState, headers: &HeaderMap, body: &[u8]) -> Result<Option<(String, Transport)>, Problem> {
    let request = if body.is_empty() { RefreshRequest::default() } else { parse::<RefreshRequest>(body)? };
    if let Some(token) = request.refresh_token {
        return Ok(Some((token, Transport::Bearer)));
    }
    let Some(cookie) = CookieJar::from_headers(headers).get(REFRESH_COOKIE).map(|it| it.value().to_owned()) else {
        return Ok(None);
    };
    match judge(&state.config, headers) {
        Verdict::Own | Verdict::Allowed(_) => Ok(Some((cookie, Transport::Cookie))),
        Verdict::Absent | Verdict::Foreign => {
            Err(Problem::new(Code::Forbidden, "a refresh by cookie must come from a page that may use this hub"))
        }
    }
}

fn answer(state: &AppState, signed_in: SignedIn, transport: Transport) -> Response {
    let SignedIn { access_token, expires_at, refresh_token, session_expires_at, user } = signed_in;
    let now = state.clock.now();
    let mut cookies = Vec::new();
    let refresh_token = match transport {
        Transport::Bearer => Some(refresh_token),
        Transport::Cookie => {
            let life = session_expires_at.since(now).as_secs();
            cookies.push(cookie(state, REFRESH_COOKIE, &refresh_token, REFRESH_PATH, None, life));
            if let Some(domain) = state.config.cookie_domain.as_deref() {
                let life = expires_at.since(now).as_secs();
                cookies.push(cookie(state, ACCESS_COOKIE, &access_token, "/", Some(domain), life));
            }
            None
        }
    };
    let body = SignInAnswer { access_token, expires_at, refresh_token, user: user.into() };
    let mut response = Json(body).into_response();
    set_cookies(&mut response, cookies);
    response
}

fn forget_cookies(state: &AppState, response: &mut Response) {
    let mut cookies = vec![cookie(state, REFRESH_COOKIE, "", REFRESH_PATH, None, 0)];
    if let Some(domain) = state.config.cookie_domain.as_deref() {
        cookies.push(cookie(state, ACCESS_COOKIE, "", "/", Some(domain), 0));
    }
    set_cookies(response, cookies);
}

fn cookie(state: &AppState, name: &str, value: &str, path: &str, domain: Option<&str>, life_s: u64) -> String {
    let domain = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
    let secure = if state.config.secure_cookies() { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}{domain}; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}")
}

fn set_cookies(response: &mut Response, cookies: Vec<String>) {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}
