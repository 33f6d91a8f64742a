//! What REST handlers and sockets share: the application's state, errors as problems, origins, extractors.

pub mod extract;
pub mod origin;
pub mod problem;
mod state;

pub use self::extract::Body;
pub use self::problem::Problem;
pub use self::state::{AppState, Documents};

/// The cookie with the access token, for sibling services of a parent domain.
pub const ACCESS_COOKIE: &str = "wardroom_access";
