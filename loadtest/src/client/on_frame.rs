//! Applies each received frame to the state of its room, and sends the client's automatic replies.

use rooms::id::CommandId;
use rooms::wire::client::ClientFrame;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Client, ClientError, ReceivedFrame};
use crate::delivery_check::EventOrder;
use crate::frame::FrameSummary;

impl Client {
    pub(super) fn on_frame(&mut self, text: Utf8Bytes) -> Result<ReceivedFrame, ClientError> {
        let summary = FrameSummary::read(&text)?;
        let mut order = None;
        let mut answers = None;
        match &summary {
            FrameSummary::Event { room, prev, seq, .. } => {
                let Some(joined) = self.rooms.get_mut(room) else {
                    return Err(ClientError::Protocol("an event of a room that the client has not joined"));
                };
                let offered = if joined.replaying && *prev > joined.check.cursor() {
                    EventOrder::Gap
                } else {
                    joined.check.record(*prev, *seq)
                };
                order = Some(offered);
                if offered == EventOrder::Gap && !joined.replaying {
                    self.request_join(*room);
                }
            }
            FrameSummary::Joined { room, .. } => {
                if let Some(joined) = self.rooms.get_mut(room) {
                    if joined.replaying {
                        joined.check.expect_replay();
                    }
                    joined.replaying = false;
                }
            }
            FrameSummary::Live { room, head } => {
                if let Some(joined) = self.rooms.get_mut(room)
                    && !joined.replaying
                {
                    joined.live = true;
                    if !joined.check.is_complete(*head) {
                        self.request_join(*room);
                    }
                }
            }
            FrameSummary::Beat { heads } => {
                self.queue(&ClientFrame::Beat {});
                for head in heads {
                    if let Some(joined) = self.rooms.get_mut(&head.room)
                        && joined.live
                        && !joined.check.is_complete(head.head)
                    {
                        self.request_join(head.room);
                    }
                }
            }
            FrameSummary::Ack { id, .. } => answers = self.remove_unanswered(*id),
            FrameSummary::Error(error) => {
                if let (Some(id), false) = (error.id, error.retryable) {
                    answers = self.remove_unanswered(id);
                }
                if let (Some(joined), None) = (error.room.and_then(|room| self.rooms.get_mut(&room)), error.id) {
                    joined.replaying = false;
                }
            }
            _ => {}
        }
        Ok(ReceivedFrame { text, summary, order, answers })
    }

    fn remove_unanswered(&mut self, id: CommandId) -> Option<CommandId> {
        let at = self.unanswered.iter().position(|(known, _)| *known == id)?;
        self.unanswered.remove(at);
        Some(id)
    }
}
