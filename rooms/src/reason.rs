//! Closed lists of reasons: why work is held, a call ends, a guest is dismissed; and the verdict of a review.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a dispensing is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    OutOfStock,
    /// A question to the doctor, asked in the dispensing thread.
    Clarification,
    Payment,
}

/// A pharmacist's verdict on a prescription under review.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Verdict")]
pub enum ReviewVerdict {
    Approve,
    Query,
    Reject,
}

/// Why a guest's access ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DismissReason {
    /// The patient or the doctor revoked the invitation.
    Removed,
    /// The link expired.
    Expired,
    /// The conversation ended.
    Consultation,
}

/// Why a member left a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    Hangup,
    /// ICE found no path between the two networks.
    IceFailed,
    /// Camera or microphone cannot be used.
    Device,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    Hangup,
    IceFailed,
    Device,
    Declined,
    /// Nobody answered before the ringing ended.
    Missed,
    /// The consultation left the conversation.
    Consultation,
}

impl From<LeaveReason> for EndReason {
    fn from(why: LeaveReason) -> Self {
        match why {
            LeaveReason::Hangup => EndReason::Hangup,
            LeaveReason::IceFailed => EndReason::IceFailed,
            LeaveReason::Device => EndReason::Device,
        }
    }
}

/// The presumed cause of interrupted media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Cause")]
pub enum InterruptionCause {
    /// The path between the peers broke.
    Network,
    /// The sender's own camera or microphone stopped working.
    Device,
    Unknown,
}
