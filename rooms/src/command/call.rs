//! Commands to a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CallId, UserId};
use crate::media::{Media, Quality};
use crate::reason::{InterruptionCause, LeaveReason};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartCall {
    pub media: Media,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "OfCall")]
pub struct CallRef {
    pub call: CallId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveCall {
    pub call: CallId,
    pub why: LeaveReason,
}

/// The sender's media started or stopped flowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MediaChange {
    pub call: CallId,
    pub connected: bool,
    /// Required if media stopped; not allowed otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<InterruptionCause>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportCall {
    pub call: CallId,
    /// The person at the other end.
    pub peer: UserId,
    pub quality: Quality,
}
