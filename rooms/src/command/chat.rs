//! Commands to the conversations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::party::Thread;
use crate::text::Prose;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chat {
    pub text: Prose,
    #[serde(default)]
    pub thread: Thread,
}
