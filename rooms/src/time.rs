//! Instants in UTC, with microsecond precision.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in UTC, truncated to microseconds: PostgreSQL stores no more, and a database must not change a hash.
/// RFC 3339 on the wire, always with six decimals and `Z`. Only the years 1970 to 9999 are accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "DateTime<Utc>")]
pub struct Timestamp(DateTime<Utc>);

/// The range that RFC 3339 and every database can represent.
const OUT_OF_RANGE: &str = "a time must lie in the years 1970 to 9999";

impl Timestamp {
    /// Truncates `at` to microseconds.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }

    /// Converts microseconds since 1970. Values outside chrono's range become 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros).unwrap_or_default())
    }

    /// Returns the microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// Returns the instant as a chrono value.
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// Returns `self + span`; a sum beyond chrono's range becomes 1970.
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.micros().saturating_add(micros))
    }

    /// Returns `self - span`; a difference beyond chrono's range becomes 1970.
    pub fn minus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.micros().saturating_sub(micros))
    }

    /// Returns this instant plus whole seconds, the unit of every policy.
    pub fn plus_seconds(self, seconds: u32) -> Self {
        self.plus(Duration::from_secs(seconds.into()))
    }

    /// Returns this instant minus whole seconds; an instant before 1970 becomes 1970.
    pub fn minus_seconds(self, seconds: u32) -> Self {
        Self::from_micros(self.micros().saturating_sub(i64::from(seconds) * 1_000_000).max(0))
    }

    /// Returns the time since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.micros().saturating_sub(earlier.micros())).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let at = DateTime::<Utc>::deserialize(deserializer)?;
        if (1970..=9999).contains(&at.year()) { Ok(Self::new(at)) } else { Err(de::Error::custom(OUT_OF_RANGE)) }
    }
}
