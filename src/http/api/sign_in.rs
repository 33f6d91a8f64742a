//! Registration, sign-in, token refresh, and the caller's own account and sign-ins.

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum_extra::extract::CookieJar;
use rooms::id::{PharmacyId, SessionId, UserId};
use rooms::role::Role;
use rooms::text::{Name, Text};
use rooms::time::Timestamp;
use rooms::wire::code::Code;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
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

/// The refresh token's cookie. Browsers send it only to this host and below [`REFRESH_PATH`].
const REFRESH_COOKIE: &str = "wardroom_refresh";
const REFRESH_PATH: &str = "/v1/auth";

pub fn operations() -> Vec<Operation> {
    vec![
        post("/v1/auth/register", "register", register)
            .without_key()
            .for_anyone()
            .about(
                Tag::SignIn,
                "Creates an account; doctors and pharmacists need an administrator's approval before they can sign in",
            )
            .body::<RegisterRequest>()
            .answers::<Registered>(201, "The account.")
            .errors(&[Code::EmailTaken]),
        post("/v1/auth/sign-in", "signIn", sign_in)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Signs in by e-mail address and password")
            .body::<SignInRequest>()
            .answers::<SignInAnswer>(200, "The tokens. With transport `cookie`, the refresh token is set as a cookie.")
            .errors(&[Code::BadCredentials, Code::AccountInactive, Code::Forbidden]),
        post("/v1/auth/demo", "signInDemo", sign_in_demo)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Signs in by a demo link; works in demo mode only")
            .body::<DemoRequest>()
            .answers::<SignInAnswer>(200, "The tokens.")
            .errors(&[Code::BadCredentials, Code::AccountInactive]),
        post("/v1/auth/refresh", "refresh", refresh)
            .without_key()
            .for_anyone()
            .about(
                Tag::SignIn,
                "Exchanges a refresh token for new tokens; reusing an old refresh token ends the sign-in",
            )
            .body::<RefreshRequest>()
            .body_optional()
            .answers::<SignInAnswer>(
                200,
                "The tokens, sent the same way as the refresh token: in the body or in a cookie.",
            )
            .errors(&[Code::Unauthenticated, Code::AccountInactive, Code::Forbidden]),
        post("/v1/auth/sign-out", "signOut", sign_out)
            .without_key()
            .for_anyone()
            .about(Tag::SignIn, "Ends the sign-in that the access token belongs to, or without one the refresh token")
            .body::<RefreshRequest>()
            .body_optional()
            .answers_nothing(204, "The sign-in has ended, or did not exist.")
            .errors(&[Code::Forbidden]),
        post("/v1/auth/sign-out-everywhere", "signOutEverywhere", sign_out_everywhere)
            .without_key()
            .about(Tag::SignIn, "Ends all of the caller's sign-ins")
            .answers_nothing(204, "All sign-ins have ended."),
        get("/v1/auth/sessions", "listSessions", sessions)
            .about(Tag::SignIn, "Lists the caller's active sign-ins")
            .answers::<List<SessionView>>(200, "Active sign-ins, newest first."),
        delete("/v1/auth/sessions/{session}", "endSession", end_session)
            .without_key()
            .about(Tag::SignIn, "Ends one of the caller's sign-ins")
            .answers_nothing(204, "The sign-in has ended."),
        get("/v1/me", "getMe", me)
            .about(Tag::SignIn, "Returns the caller's account")
            .answers::<AccountHolder>(200, "The account."),
        get("/v1/me/language", "getLanguage", language)
            .about(Tag::SignIn, "Returns the language in which the hub writes to the caller")
            .answers::<LanguageChoice>(200, "The language."),
        put("/v1/me/language", "chooseLanguage", choose_language)
            .about(Tag::SignIn, "Sets the language in which the hub writes to the caller")
            .body::<LanguageChoice>()
            .answers::<LanguageChoice>(200, "The language."),
    ]
}

/// The language of e-mail to the caller.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LanguageChoice {
    language: Language,
}

async fn language(State(state): State<AppState>, caller: Caller) -> Result<Json<LanguageChoice>, Problem> {
    let person = state.store.addressee(caller.user()).await?;
    Ok(Json(LanguageChoice { language: person.map(|it| it.language).unwrap_or_default() }))
}

async fn choose_language(
    State(state): State<AppState>,
    caller: Caller,
    Body(chosen): Body<LanguageChoice>,
) -> Result<Json<LanguageChoice>, Problem> {
    state.store.set_language(caller.user(), chosen.language).await?;
    Ok(Json(chosen))
}

/// The data of a new account.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisterRequest {
    #[schemars(length(max = 254))]
    email: String,
    /// At least 8 characters, at most 256 bytes, and not a commonly used password.
    #[schemars(with = "String", length(min = 8, max = 256))]
    password: SecretString,
    name: Name,
    #[serde(default)]
    role: RegistrationRole,
}

/// The roles that are open to registration.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Applicant")]
enum RegistrationRole {
    #[default]
    Patient,
    Doctor,
    Pharmacist,
}

/// A person with an account, as the person and administrators see them.
#[derive(Serialize, JsonSchema)]
pub struct AccountHolder {
    pub id: UserId,
    pub name: Text<200>,
    pub email: String,
    pub role: Role,
    pub status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pharmacy: Option<PharmacyId>,
}

impl From<User> for AccountHolder {
    fn from(user: User) -> Self {
        let User { id, name, email, role, status, pharmacy, .. } = user;
        Self { id, name, email, role, status, pharmacy }
    }
}

#[derive(Serialize, JsonSchema)]
struct Registered {
    user: AccountHolder,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SignInRequest {
    #[schemars(length(max = 254))]
    email: String,
    #[schemars(with = "String", length(max = 256))]
    password: SecretString,
    #[serde(default)]
    transport: TokenTransport,
}

/// Where the client stores its refresh token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Transport")]
enum TokenTransport {
    /// In a cookie that scripts cannot read; for browsers.
    Cookie,
    /// In storage of its own, from the response body; for other clients.
    #[default]
    Bearer,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DemoRequest {
    /// The part of the link after `#demo=`.
    #[schemars(with = "String")]
    token: SecretString,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RefreshRequest {
    /// Absent if the cookie carries it.
    #[serde(default)]
    refresh_token: Option<String>,
}

/// The tokens of an active sign-in.
#[derive(Serialize, JsonSchema)]
struct SignInAnswer {
    access_token: String,
    /// When the access token expires.
    expires_at: Timestamp,
    /// Absent if the cookie carries it. Valid for one use.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    user: AccountHolder,
}

/// One sign-in.
#[derive(Serialize, JsonSchema)]
struct SessionView {
    id: SessionId,
    /// The name that the device gave itself.
    label: String,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    /// Whether this request belongs to it.
    current: bool,
}

async fn register(
    State(state): State<AppState>,
    Body(request): Body<RegisterRequest>,
) -> Result<(StatusCode, Json<Registered>), Problem> {
    let RegisterRequest { email, password, name, role } = request;
    let role = match role {
        RegistrationRole::Patient => Role::Patient,
        RegistrationRole::Doctor => Role::Doctor,
        RegistrationRole::Pharmacist => Role::Pharmacist,
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

async fn sign_in_demo(
    State(state): State<AppState>,
    Extension(client): Extension<ClientInfo>,
    Body(request): Body<DemoRequest>,
) -> Result<Response, Problem> {
    let signed_in = state.auth.sign_in_demo(request.token.expose_secret(), client).await?;
    Ok(answer(&state, signed_in, TokenTransport::Bearer))
}

async fn refresh(State(state): State<AppState>, headers: HeaderMap, body: bytes::Bytes) -> Result<Response, Problem> {
    let (token, transport) = refresh_token(&state, &headers, &body)?
        .ok_or_else(|| Problem::new(Code::Unauthenticated, "send a refresh token, or sign in again"))?;
    let signed_in = state.auth.refresh(&token).await?;
    Ok(answer(&state, signed_in, transport))
}

async fn sign_out(State(state): State<AppState>, headers: HeaderMap, body: bytes::Bytes) -> Result<Response, Problem> {
    // The access token identifies the sign-in most directly. Ending a sign-in twice is not an error.
    if let Ok(Some(claims)) = state.auth.bearer(&headers, state.clock.now()) {
        state.auth.end_session(claims.user, claims.session).await?;
    } else if let Some((token, _)) = refresh_token(&state, &headers, &body)? {
        state.auth.end_by_refresh_token(&token).await?;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    expire_cookies(&state, &mut response);
    Ok(response)
}

async fn sign_out_everywhere(State(state): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    state.auth.end_all_sessions(caller.user()).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    expire_cookies(&state, &mut response);
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

async fn me(State(state): State<AppState>, caller: Caller) -> Result<Json<AccountHolder>, Problem> {
    let user = state.store.user(caller.user()).await?.ok_or_else(|| Problem::not_found("account"))?;
    Ok(Json(user.into()))
}

/// Returns the refresh token from the body, or else from the cookie. Browsers attach cookies to requests of any page, so
/// the page's origin must be allowed.
fn refresh_token(
    state: &AppState,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<(String, TokenTransport)>, Problem> {
    let request = if body.is_empty() { RefreshRequest::default() } else { parse::<RefreshRequest>(body)? };
    if let Some(token) = request.refresh_token {
        return Ok(Some((token, TokenTransport::Bearer)));
    }
    let Some(cookie) = CookieJar::from_headers(headers).get(REFRESH_COOKIE).map(|it| it.value().to_owned()) else {
        return Ok(None);
    };
    match judge(&state.config, headers) {
        Verdict::Own | Verdict::Allowed(_) => Ok(Some((cookie, TokenTransport::Cookie))),
        Verdict::Absent | Verdict::Foreign => Err(Problem::new(
            Code::Forbidden,
            "use the refresh cookie only from an allowed origin; other clients send refresh_token in the body",
        )),
    }
}

fn answer(state: &AppState, signed_in: SignedIn, transport: TokenTransport) -> Response {
    let SignedIn { access_token, expires_at, refresh_token, session_expires_at, user } = signed_in;
    let now = state.clock.now();
    let mut cookies = Vec::new();
    let refresh_token = match transport {
        TokenTransport::Bearer => Some(refresh_token),
        TokenTransport::Cookie => {
            let lifetime_s = session_expires_at.since(now).as_secs();
            cookies.push(cookie(state, REFRESH_COOKIE, &refresh_token, REFRESH_PATH, None, lifetime_s));
            if let Some(domain) = state.config.cookie_domain.as_deref() {
                let lifetime_s = expires_at.since(now).as_secs();
                cookies.push(cookie(state, ACCESS_COOKIE, &access_token, "/", Some(domain), lifetime_s));
            }
            None
        }
    };
    let body = SignInAnswer { access_token, expires_at, refresh_token, user: user.into() };
    let mut response = Json(body).into_response();
    set_cookies(&mut response, cookies);
    response
}

fn expire_cookies(state: &AppState, response: &mut Response) {
    let mut cookies = vec![cookie(state, REFRESH_COOKIE, "", REFRESH_PATH, None, 0)];
    if let Some(domain) = state.config.cookie_domain.as_deref() {
        cookies.push(cookie(state, ACCESS_COOKIE, "", "/", Some(domain), 0));
    }
    set_cookies(response, cookies);
}

fn cookie(state: &AppState, name: &str, value: &str, path: &str, domain: Option<&str>, lifetime_s: u64) -> String {
    let domain = domain.map(|domain| format!("; Domain={domain}")).unwrap_or_default();
    let secure = if state.config.secure_cookies() { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}{domain}; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{secure}")
}

fn set_cookies(response: &mut Response, cookies: Vec<String>) {
    for cookie in cookies {
        if let Ok(value) = HeaderValue::try_from(cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
}
