//! Detects panics in the hub. In a task they would end a connection, room, or job without failing any test.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

/// Where code other than a test panicked.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Installs the recorder, or fails for panics since the last [`assert_none`].
pub fn record() {
    static NOTED: Once = Once::new();
    NOTED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or_else(String::new, ToString::to_string);
            // Panics of the tests themselves are failures already.
            if !place.contains("tests/") {
                SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(place);
            }
            before(info);
        }));
    });
    assert_none();
}

/// Fails if anything panicked since the last call.
pub fn assert_none() {
    let seen = std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner));
    assert!(
        seen.is_empty() || std::thread::panicking(),
        "panic at {seen:?}, in this test or in one before or beside it"
    );
}
