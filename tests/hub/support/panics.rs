//! Nothing in the hub panics. In a task of its own that would end a connection, a room or a job, and no test would notice.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

/// Where something other than a test panicked.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to note them, or fails for what came behind the last [`none`].
pub fn record() {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(String::new, ToString::to_string);
            // What tests expect fails themselves.
            if !place.contains("tests/") {
                SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            }
            before(info);
        }));
    });
    assert_none();
}

/// Fails if there was one since the last time.
pub fn assert_none() {
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(
        seen.is_empty() || std::thread::panicking(),
        "there was a panic in {seen:?}, in this test, or one beside or before it"
    );
}
