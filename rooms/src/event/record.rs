//! Events of access to the record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::text::Text;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Text<4000>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOpened {
    pub by: UserId,
    pub reason: Text<4000>,
    pub until: Timestamp,
}
