//! Ports for the tests' own servers, below the ephemeral range. A server that restarts on its port, or is assigned
//! one, must not find that the kernel has given it to another test.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST_PORT: u16 = 10_000;
/// Ends where Linux's ephemeral ports begin.
const PORT_COUNT: u16 = 22_000;

static NEXT_OFFSET: AtomicU16 = AtomicU16::new(0);

/// Returns a free loopback port and never returns it again.
pub fn free() -> u16 {
    // Concurrent test runs start at different offsets.
    let begin = std::process::id() % u32::from(PORT_COUNT);
    loop {
        let at = (begin + u32::from(NEXT_OFFSET.fetch_add(1, Ordering::Relaxed))) % u32::from(PORT_COUNT);
        let port = FIRST_PORT + u16::try_from(at).expect("less than PORT_COUNT");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
