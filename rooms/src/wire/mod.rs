//! The frames of `wardroom.v1`: JSON text frames, one object each, told apart by `type`.
//!
//! `docs/protocol.md` explains them in words; the AsyncAPI document is made from these types.

pub mod call;
pub mod client;
pub mod close;
pub mod code;
pub mod explain;
pub mod server;
pub mod snapshot;

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "wardroom.v1";

/// The largest frame a client may send, in bytes.
pub const MAX_FRAME: usize = 64 * 1024;
