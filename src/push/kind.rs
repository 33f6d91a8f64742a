//! How each kind of notification travels.

use std::time::Duration;

use web_push::Urgency;

use crate::store::devices::NoticeKind;

/// How long somebody has to confirm an event before they are notified of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same, when it rings.
const RING_PATIENCE: Duration = Duration::from_secs(2);

impl NoticeKind {
    /// How long after the event it is seen whether somebody has it already.
    pub fn patience(self) -> Duration {
        match self {
            NoticeKind::Call => RING_PATIENCE,
            NoticeKind::MissedCall
            | NoticeKind::Message
            | NoticeKind::Consultation
            | NoticeKind::Prescription
            | NoticeKind::Delivery
            | NoticeKind::Payment => PATIENCE,
        }
    }

    /// How long a device that is off may be late. A call's is over when it has rung.
    pub fn life(self) -> Duration {
        match self {
            NoticeKind::Call => Duration::from_secs(120),
            NoticeKind::MissedCall | NoticeKind::Message | NoticeKind::Consultation => Duration::from_secs(12 * 3600),
            NoticeKind::Prescription | NoticeKind::Delivery | NoticeKind::Payment => Duration::from_secs(24 * 3600),
        }
    }

    /// Whether a device that saves power is woken up.
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

    /// What replaces what, while a device is off: a missed call stands for the ring before it, and of the others the
    /// last of each kind stands for all.
    pub fn topic(self) -> &'static str {
        match self {
            NoticeKind::Call | NoticeKind::MissedCall => "call",
            other => other.as_str(),
        }
    }
}
