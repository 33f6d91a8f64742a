//! Accounts, sign-ins, revocation, and the protection of browsers.

mod access_log;
mod browser_security;
mod log_secrecy;
mod revocation;
mod security_events;
mod sign_in;
