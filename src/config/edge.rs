//! The fixed limits at the hub's edge, in one table. `docs/operations.md` lists them under "Fixed limits".

use std::num::NonZeroU32;
use std::time::Duration;

/// Subjects (addresses, accounts, people) that one rate limiter counts separately.
pub const MAX_LIMITED_SUBJECTS: usize = 50_000;
/// While a rate limiter's table is full, all subjects together have this many times the limit of one.
pub const SHARED_LIMIT_FACTOR: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");

/// Maximum size of a request's head. Also the size of a connection's read buffer.
pub const MAX_REQUEST_HEAD_BYTES: usize = 32 * 1024;
/// Maximum size of a body in a request that needs no token: sign-in, registration, refresh, guest links.
pub const MAX_ANONYMOUS_BODY_BYTES: usize = 16 * 1024;
/// How long a client may read nothing of a response before the hub closes the connection.
pub const RESPONSE_WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the hub reads the rest of a request's body after it has rejected the request.
pub const BODY_DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// File descriptors that stay free of clients' connections: database, keys, logs, outgoing requests.
pub const RESERVED_DESCRIPTORS: usize = 128;
/// Sockets and streams that one person may have, over all of their devices.
pub const MAX_CONNECTIONS_PER_PERSON: usize = 32;
/// The part of `limits.connections` that one person may use at most: one quarter.
pub const CONNECTION_SHARE_PER_PERSON: usize = 4;
/// The part of `limits.connections` that one address may use for sockets and streams: one quarter.
pub const CONNECTION_SHARE_PER_ADDRESS: usize = 4;

/// What a WebSocket client may send per second, in bytes; the hub reads more only in the next second. Each read counts as
/// `MIN_READ_BYTES` at least, because many small packets cost as much as large ones.
pub const MAX_RECEIVED_BYTES_PER_SECOND: usize = 256 * 1024;
pub const MIN_READ_BYTES: usize = 256;
/// Messages that a client may send before its `hello`.
pub const MAX_MESSAGES_BEFORE_HELLO: usize = 8;

/// Sign-ins that may wait for a hashing thread. Others are asked to retry.
pub const MAX_HASHING_QUEUE: usize = 64;
/// When a sign-in that found the hashing queue full may retry.
pub const HASHING_RETRY_AFTER: Duration = Duration::from_secs(3);
