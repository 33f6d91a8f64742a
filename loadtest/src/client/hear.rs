//! What each frame means for the order of its room, and what the client does about it by itself.

use rooms::id::CommandId;
use rooms::wire::client::ClientFrame;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{Client, ClientError, Heard};
use crate::frame::Brief;
use crate::tally::Order;

impl Client {
    pub(super) fn hear(&mut self, text: Utf8Bytes) -> Result<Heard, ClientError> {
        let brief = Brief::read(&text)?;
        let mut order = None;
        let mut settles = None;
        match &brief {
            Brief::Event { room, prev, seq, .. } => {
                let Some(member) = self.rooms.get_mut(room) else {
                    return Err(ClientError::Protocol("an event of a room that was not joined"));
                };
                let offered = if member.healing && *prev > member.tally.cursor() {
                    Order::Gap
                } else {
                    member.tally.offer(*prev, *seq)
                };
                order = Some(offered);
                if offered == Order::Gap && !member.healing {
                    self.ask(*room);
                }
            }
            Brief::Joined { room, .. } => {
                if let Some(member) = self.rooms.get_mut(room) {
                    if member.healing {
                        member.tally.forgive();
                    }
                    member.healing = false;
                }
            }
            Brief::Live { room, head } => {
                if let Some(member) = self.rooms.get_mut(room)
                    && !member.healing
                {
                    member.live = true;
                    if !member.tally.is_complete(*head) {
                        self.ask(*room);
                    }
                }
            }
            Brief::Beat { heads } => {
                self.queue(&ClientFrame::Beat {});
                for head in heads {
                    if let Some(member) = self.rooms.get_mut(&head.room)
                        && member.live
                        && !member.tally.is_complete(head.head)
                    {
                        self.ask(head.room);
                    }
                }
            }
            Brief::Ack { id, .. } => settles = self.settled(*id),
            Brief::Error(error) => {
                if let (Some(id), false) = (error.id, error.retryable) {
                    settles = self.settled(id);
                }
                if let (Some(member), None) = (error.room.and_then(|room| self.rooms.get_mut(&room)), error.id) {
                    member.healing = false;
                }
            }
            _ => {}
        }
        Ok(Heard { text, brief, order, settles })
    }

    fn settled(&mut self, id: CommandId) -> Option<CommandId> {
        let at = self.unanswered.iter().position(|(known, _)| *known == id)?;
        self.unanswered.remove(at);
        Some(id)
    }
}
