//! Ports for servers of the tests' own. Below those that the system gives away by itself: a server that comes back, or one
//! that is told its port, does not find that another test was given it meanwhile.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 10_000;
/// Up to where Linux begins.
const COUNT: u16 = 22_000;

static GIVEN: AtomicU16 = AtomicU16::new(0);

/// A port of loopback on which nobody listens, and that is not given a second time.
pub fn free() -> u16 {
    // Another run of the tests beside this one begins elsewhere.
    let begin = std::process::id() % u32::from(COUNT);
    loop {
        let at = (begin + u32::from(GIVEN.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(at).expect("below the count");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
