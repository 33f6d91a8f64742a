//! The frames of `wardroom.v1`: JSON text frames, each one object with a `type`.
//!
//! `docs/protocol.md` describes them; the AsyncAPI document is generated from these types.

pub mod call;
pub mod client;
pub mod close;
pub mod code;
pub mod feed;
pub mod parse_error;
pub mod server;

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "wardroom.v1";

/// The largest frame a client may send, in bytes.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
