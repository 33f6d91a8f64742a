//! One entry of the table of operations: a route and its description.
//!
//! The router and the OpenAPI document are both built from the table, so they always agree on operations, roles, errors
//! and types.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use rooms::role::Role;
use rooms::wire::code::Code;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::web::AppState;

/// Who may call an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everyone, without a token.
    Anyone,
    /// Partners, whose requests carry a signature in place of a token.
    Partners,
    /// Everyone with an account.
    SignedIn,
    /// Everyone with an account, and guests of a consultation.
    WithGuests,
    /// People with one of these roles.
    Roles(&'static [Role]),
}

/// Whether the response to a call with an `Idempotency-Key` is stored for repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseCache {
    /// The response is stored and sent again.
    Stored,
    /// The call runs again: the key identifies its command, and the response is too large to store.
    NotStored,
}

/// The groups of operations in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    SignIn,
    Doctors,
    Bookings,
    Consultations,
    Prescriptions,
    Dispensing,
    Deliveries,
    Records,
    Live,
    Notifications,
    Administration,
    Partners,
    Sandbox,
    Service,
}

impl Tag {
    pub const ALL: [Tag; 14] = [
        Tag::SignIn,
        Tag::Doctors,
        Tag::Bookings,
        Tag::Consultations,
        Tag::Prescriptions,
        Tag::Dispensing,
        Tag::Deliveries,
        Tag::Records,
        Tag::Live,
        Tag::Notifications,
        Tag::Administration,
        Tag::Partners,
        Tag::Sandbox,
        Tag::Service,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Tag::SignIn => "Sign-in",
            Tag::Doctors => "Doctors and slots",
            Tag::Bookings => "Bookings",
            Tag::Consultations => "Consultations",
            Tag::Prescriptions => "Prescriptions",
            Tag::Dispensing => "Dispensing",
            Tag::Deliveries => "Deliveries",
            Tag::Records => "Records",
            Tag::Live => "Live",
            Tag::Notifications => "Notifications",
            Tag::Administration => "Administration",
            Tag::Partners => "Partners",
            Tag::Sandbox => "Sandbox",
            Tag::Service => "Service",
        }
    }
}

/// Generates a type's schema.
pub type Describe = fn(&mut SchemaGenerator) -> Schema;

fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// A successful response.
#[derive(Clone, Copy)]
pub struct Answer {
    pub status: u16,
    pub meaning: &'static str,
    /// Content type and schema; `None` for an empty body.
    pub content: Option<(&'static str, Option<Describe>)>,
    /// Whether the response has its version as `ETag`.
    pub versioned: bool,
}

/// Whether a call sends the version that it changes as `If-Match`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    Never,
    Optional,
    Required,
}

/// One entry of the table.
pub struct Operation {
    pub method: Method,
    pub path: &'static str,
    pub id: &'static str,
    pub summary: &'static str,
    pub tag: Tag,
    pub access: Audience,
    /// Whether an `Idempotency-Key` is required, and whether the response is stored under it.
    cache: Option<ResponseCache>,
    pub matching: Matching,
    pub query: Option<Describe>,
    pub body: Option<Describe>,
    pub body_required: bool,
    pub answers: Vec<Answer>,
    errors: Vec<Code>,
    route: MethodRouter<AppState>,
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident = $method:ident, $cache:expr;)*) => {$(
        $(#[$doc])*
        pub fn $name<H, T>(path: &'static str, id: &'static str, handler: H) -> Operation
        where
            H: Handler<T, AppState>,
            T: 'static,
        {
            Operation {
                method: Method::$method,
                path,
                id,
                summary: "",
                tag: Tag::Service,
                access: Audience::SignedIn,
                cache: $cache,
                matching: Matching::Never,
                query: None,
                body: None,
                body_required: true,
                answers: Vec::new(),
                errors: Vec::new(),
                route: on(MethodFilter::$method, handler),
            }
        }
    )*};
}

constructors! {
    /// An entry for a read.
    get = GET, None;
    post = POST, Some(ResponseCache::Stored);
    put = PUT, Some(ResponseCache::Stored);
    patch = PATCH, Some(ResponseCache::Stored);
    delete = DELETE, Some(ResponseCache::Stored);
}

impl Operation {
    /// Requires no key: the call is safe to repeat, or has a protection of its own.
    pub fn without_key(mut self) -> Self {
        self.cache = None;
        self
    }

    /// Does not store the response: the key identifies the command that the call submits.
    pub fn without_cached_response(mut self) -> Self {
        self.cache = Some(ResponseCache::NotStored);
        self
    }

    pub fn cache(&self) -> Option<ResponseCache> {
        self.cache
    }

    pub fn about(mut self, tag: Tag, summary: &'static str) -> Self {
        (self.tag, self.summary) = (tag, summary);
        self
    }

    pub fn for_anyone(mut self) -> Self {
        self.access = Audience::Anyone;
        self
    }

    /// Authenticates callers by a signature.
    pub fn for_partners(mut self) -> Self {
        self.access = Audience::Partners;
        self
    }

    pub fn for_guests_too(mut self) -> Self {
        self.access = Audience::WithGuests;
        self
    }

    pub fn for_roles(mut self, roles: &'static [Role]) -> Self {
        self.access = Audience::Roles(roles);
        self
    }

    pub fn query<T: JsonSchema>(mut self) -> Self {
        self.query = Some(describe::<T>);
        self
    }

    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(describe::<T>);
        self
    }

    /// Makes the body optional.
    pub fn body_optional(mut self) -> Self {
        self.body_required = false;
        self
    }

    pub fn matching(mut self, matching: Matching) -> Self {
        self.matching = matching;
        self
    }

    pub fn answers<T: JsonSchema>(self, status: u16, meaning: &'static str) -> Self {
        self.answer(status, meaning, Some(("application/json", Some(describe::<T> as Describe))))
    }

    /// Adds a response without a body.
    pub fn answers_nothing(self, status: u16, meaning: &'static str) -> Self {
        self.answer(status, meaning, None)
    }

    /// Adds a response whose body is not JSON of the hub's own types.
    pub fn answers_as(self, status: u16, meaning: &'static str, content_type: &'static str) -> Self {
        self.answer(status, meaning, Some((content_type, None)))
    }

    fn answer(mut self, status: u16, meaning: &'static str, content: Option<(&'static str, Option<Describe>)>) -> Self {
        self.answers.push(Answer { status, meaning, content, versioned: false });
        self
    }

    /// Adds the version as `ETag` to the last response.
    pub fn versioned(mut self) -> Self {
        if let Some(answer) = self.answers.last_mut() {
            answer.versioned = true;
        }
        self
    }

    /// Adds error codes that do not follow from the rest of the entry.
    pub fn errors(mut self, codes: &[Code]) -> Self {
        self.errors.extend_from_slice(codes);
        self
    }

    /// Adds the error codes of a command to a room.
    pub fn submits(self) -> Self {
        self.errors(&[
            Code::NotFound,
            Code::Forbidden,
            Code::Invalid,
            Code::IllegalTransition,
            Code::StaleVersion,
            Code::IdConflict,
            Code::RoomFull,
            Code::BudgetSpent,
        ])
    }

    /// Returns every error code of this operation, sorted.
    pub fn codes(&self) -> Vec<Code> {
        let mut codes = self.errors.clone();
        codes.extend([Code::Unavailable, Code::Internal, Code::RateLimited]);
        if !matches!(self.access, Audience::Anyone | Audience::Partners) {
            // `forbidden` also rejects a cookie from an origin that is not allowed.
            codes.extend([Code::Unauthenticated, Code::Forbidden]);
        }
        match self.cache {
            None => {}
            Some(ResponseCache::Stored) => codes.extend([
                Code::KeyRequired,
                Code::IdConflict,
                Code::InFlight,
                Code::Malformed,
                Code::TooLarge,
                Code::StorageFull,
            ]),
            Some(ResponseCache::NotStored) => {
                codes.extend([Code::KeyRequired, Code::Malformed, Code::TooLarge, Code::StorageFull]);
            }
        }
        if self.body.is_some() {
            codes.extend([Code::Malformed, Code::Invalid, Code::TooLarge]);
        }
        if self.query.is_some() {
            codes.extend([Code::Malformed, Code::Invalid]);
        }
        if self.path.contains('{') {
            // `malformed` is an id in another spelling.
            codes.extend([Code::NotFound, Code::Malformed]);
        }
        match self.matching {
            Matching::Never => {}
            Matching::Optional => codes.push(Code::PreconditionFailed),
            Matching::Required => codes.extend([Code::PreconditionFailed, Code::PreconditionRequired]),
        }
        codes.sort();
        codes.dedup();
        codes
    }

    /// Returns the route without the router's middleware.
    pub fn into_route(self) -> MethodRouter<AppState> {
        self.route
    }
}
