//! Where one connection stands in one room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rooms::event::Event;
use rooms::feed::Feed;
use rooms::permission::{View, sees};
use serde::Deserialize;

/// A joined room.
pub struct Reader {
    pub view: View,
    /// Which frames follow on what the client has.
    pub feed: Feed,
    pub state: State,
}

/// How the reader gets its events.
pub enum State {
    /// From the store, which was read up to `raw`.
    Replaying { raw: u64 },
    /// From the room itself; `head` is the last event that the view sees.
    Live { head: Arc<AtomicU64> },
}

impl Reader {
    /// A reader who has everything up to `cursor`.
    pub fn replaying(view: View, cursor: u64) -> Self {
        Self { view, feed: Feed::new(cursor), state: State::Replaying { raw: cursor } }
    }

    pub fn is_replaying(&self) -> bool {
        matches!(self.state, State::Replaying { .. })
    }

    /// The last event this reader should have, for beats; `None` while it still reads the store.
    pub fn head(&self) -> Option<u64> {
        match &self.state {
            State::Live { head } => Some(head.load(Ordering::Relaxed)),
            State::Replaying { .. } => None,
        }
    }

    /// Whether the reader may see a stored event. The patient and the doctor see all, so for them nothing is parsed.
    pub fn may_see(&self, canonical: &str) -> bool {
        #[derive(Deserialize)]
        struct Body {
            #[serde(flatten)]
            event: Event,
        }
        match self.view {
            View::Care => true,
            View::Pharmacy(_) | View::Courier(_) => {
                serde_json::from_str::<Body>(canonical).is_ok_and(|body| sees(&self.view, &body.event))
            }
        }
    }
}
