//! Shared by REST handlers and WebSockets: the application's state, problems, origin checks and extractors.

pub mod client_address;
pub mod client_stream;
pub mod extract;
pub mod origin;
pub mod problem;
mod state;

pub use self::extract::Body;
pub use self::problem::Problem;
pub use self::state::{AppState, Document, Documents};

/// The cookie that carries the access token to other services of the same parent domain.
pub const ACCESS_COOKIE: &str = "wardroom_access";
