//! Events of the conversations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::party::Thread;
use crate::text::Text;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChatSent {
    pub text: Text<4000>,
    pub thread: Thread,
}
