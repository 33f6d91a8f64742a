//! Recently answered commands, so that a repeated command gets its first answer without reading the log.

use std::collections::VecDeque;

use rooms::id::{CommandId, UserId};
use rooms::record::Hash;

use crate::hub::submission::{Committed, SubmitError};

/// Commands that are remembered. Older ones are found in the store.
const CAPACITY: usize = 32;

/// A bounded memory of answered commands.
#[derive(Default)]
pub struct AnsweredCommands {
    recent: VecDeque<AnsweredCommand>,
}

struct AnsweredCommand {
    sender: UserId,
    id: CommandId,
    hash: Hash,
    committed: Committed,
}

impl AnsweredCommands {
    /// Returns the answer to a repeated command. Another command with the same id is a conflict, and so is another sender:
    /// what is acknowledged is the sender's own.
    pub fn find(&self, sender: UserId, id: CommandId, hash: &Hash) -> Option<Result<Committed, SubmitError>> {
        let known = self.recent.iter().find(|known| known.id == id)?;
        Some(if known.sender == sender && known.hash == *hash {
            Ok(known.committed)
        } else {
            Err(SubmitError::IdConflict)
        })
    }

    pub fn remember(&mut self, sender: UserId, id: CommandId, hash: Hash, committed: Committed) {
        if self.recent.len() == CAPACITY {
            self.recent.pop_front();
        }
        self.recent.push_back(AnsweredCommand { sender, id, hash, committed });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn repeated_command_gets_its_first_answer_and_a_reused_id_conflicts() {
        let (sender, id) = (UserId(Uuid::from_u128(1)), CommandId(Uuid::from_u128(2)));
        let committed = Committed { first: 4, last: 5 };
        let mut answered = AnsweredCommands::default();
        assert_eq!(answered.find(sender, id, &[1; 32]), None);
        answered.remember(sender, id, [1; 32], committed);
        assert_eq!(answered.find(sender, id, &[1; 32]), Some(Ok(committed)));
        assert_eq!(answered.find(sender, id, &[2; 32]), Some(Err(SubmitError::IdConflict)));
        let other = answered.find(UserId(Uuid::from_u128(3)), id, &[1; 32]);
        assert_eq!(other, Some(Err(SubmitError::IdConflict)), "an id belongs to its sender");
        for n in 0..CAPACITY {
            answered.remember(sender, CommandId(Uuid::from_u128(10 + n as u128)), [0; 32], committed);
        }
        assert_eq!(answered.find(sender, id, &[1; 32]), None, "the oldest is forgotten");
    }
}
