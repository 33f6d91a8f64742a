//! How each kind of notification is delivered: its grace period, lifetime, urgency, and topic.

use std::time::Duration;

use web_push::Urgency;

use crate::store::devices::NoticeKind;

/// How long a recipient has to see an event before a notification is sent. Long enough to turn to an open tab.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);
/// How long a recipient has to see or answer a ringing call before a notification is sent.
const CALL_GRACE: Duration = Duration::from_secs(2);

impl NoticeKind {
    /// Returns how long recipients have to see the event before a notification is sent.
    pub fn grace_period(self) -> Duration {
        match self {
            NoticeKind::Call => CALL_GRACE,
            NoticeKind::MissedCall
            | NoticeKind::Message
            | NoticeKind::Consultation
            | NoticeKind::Prescription
            | NoticeKind::Delivery
            | NoticeKind::Payment => DEFAULT_GRACE,
        }
    }

    /// Returns how long the push service keeps the notification for an offline device. A call that rings sets its own end.
    pub fn lifetime(self) -> Duration {
        match self {
            NoticeKind::Call => Duration::from_secs(120),
            NoticeKind::MissedCall | NoticeKind::Message | NoticeKind::Consultation => Duration::from_secs(12 * 3600),
            NoticeKind::Prescription | NoticeKind::Delivery | NoticeKind::Payment => Duration::from_secs(24 * 3600),
        }
    }

    /// Returns whether the notification wakes a device that saves power.
    pub fn urgency(self) -> Urgency {
        match self {
            NoticeKind::Call | NoticeKind::MissedCall => Urgency::High,
            NoticeKind::Message
            | NoticeKind::Consultation
            | NoticeKind::Prescription
            | NoticeKind::Delivery
            | NoticeKind::Payment => Urgency::Normal,
        }
    }

    /// Returns the topic within which the push service keeps only the last notification for an offline device. A missed
    /// call replaces the ring before it.
    pub fn topic(self) -> &'static str {
        match self {
            NoticeKind::Call | NoticeKind::MissedCall => "call",
            other => other.as_str(),
        }
    }
}
