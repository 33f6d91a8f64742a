//! Decisions about chat messages.

use super::Case;
use crate::command::Chat;
use crate::event::{ChatSent, Event};
use crate::party::Thread;
use crate::permission::View;
use crate::refusal::Refusal;

impl Case {
    /// Accepts a message in a thread that the sender's view contains.
    pub(super) fn chat(&self, chat: &Chat, view: &View) -> Result<Vec<Event>, Refusal> {
        match (view, chat.thread) {
            (View::Care, Thread::Care) => {}
            (View::Guest { after, .. }, Thread::Care) if *after < u64::MAX => {}
            (View::Care, Thread::Pharmacy(pharmacy)) if self.serves(pharmacy) => {}
            (View::Care, Thread::Pharmacy(_)) => return Err(Refusal::NoSuch("pharmacy")),
            (View::Pharmacy(own), Thread::Pharmacy(pharmacy)) if *own == pharmacy => {}
            (View::Pharmacy(_) | View::Courier(_) | View::Guest { .. }, _) => return Err(Refusal::Forbidden),
        }
        Ok(vec![Event::ChatSent(ChatSent { text: chat.text.clone().into(), thread: chat.thread })])
    }
}
