//! Instants, in UTC with microseconds.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Datelike, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An instant in UTC, cut to microseconds when it is made, because PostgreSQL keeps no more and a hash must not change
/// on the way through a database. RFC 3339 on the wire, always with six decimals and `Z`; read from the years 1970 to
/// 9999 only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
#[schemars(with = "DateTime<Utc>")]
pub struct Timestamp(DateTime<Utc>);

/// What RFC 3339 and every database can say.
const OUT_OF_RANGE: &str = "a time must lie in the years 1970 to 9999";

impl Timestamp {
    /// Cuts `at` to microseconds.
    pub fn new(at: DateTime<Utc>) -> Self {
        Self::from_micros(at.timestamp_micros())
    }

    /// Microseconds since 1970; what lies outside chrono's range becomes 1970.
    pub fn from_micros(micros: i64) -> Self {
        Self(DateTime::from_timestamp_micros(micros).unwrap_or_default())
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The instant as chrono knows it.
    pub fn utc(self) -> DateTime<Utc> {
        self.0
    }

    /// `self + span`, at most the end of chrono's range.
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.micros().saturating_add(micros))
    }

    /// How long after `earlier` this is; zero when it is not.
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
