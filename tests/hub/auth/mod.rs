//! Accounts, sign-ins, revocation, and the protection of browsers.

mod browser_security;
mod log_secrecy;
mod revocation;
mod sign_in;
