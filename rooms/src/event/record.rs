//! Events of access to the record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::UserId;
use crate::text::Prose;
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exported {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Prose>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordOpened {
    pub by: UserId,
    pub reason: Prose,
    pub until: Timestamp,
}
