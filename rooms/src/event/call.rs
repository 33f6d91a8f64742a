//! Events of a call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{CallId, UserId};
use crate::media::{Check, Media, Quality};
use crate::reason::{EndReason, InterruptionCause, LeaveReason};
use crate::time::Timestamp;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Started")]
pub struct CallStarted {
    pub call: CallId,
    pub by: UserId,
    pub media: Media,
    /// When the ringing ends.
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Joined")]
pub struct CallJoined {
    pub call: CallId,
    pub user: UserId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Left")]
pub struct CallLeft {
    pub call: CallId,
    pub user: UserId,
    pub why: LeaveReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Connected")]
pub struct CallConnected {
    pub call: CallId,
    pub user: UserId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Interrupted")]
pub struct CallInterrupted {
    pub call: CallId,
    pub user: UserId,
    pub cause: InterruptionCause,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Ended")]
pub struct CallEnded {
    pub call: CallId,
    pub why: EndReason,
    /// How long the call had two or more members, in seconds.
    pub lasted_s: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Reported")]
pub struct CallReported {
    pub call: CallId,
    pub user: UserId,
    pub peer: UserId,
    pub quality: Quality,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Checked")]
pub struct DevicesChecked {
    pub user: UserId,
    pub check: Check,
}
