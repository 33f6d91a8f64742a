//! Who somebody is: tokens, passwords, sign-ins.

mod keys;
mod password;
mod provider;
mod refresh;
mod revocations;
mod token;

pub use self::keys::KeyError;
pub use self::revocations::Revocation;
pub use self::token::{AuthError, Claims};
