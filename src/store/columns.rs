//! Conversions between columns and the program's types.

use rooms::record::Hash;
use rooms::text::Text;
use rooms::time::Timestamp;

use super::StoreError;

/// Converts a number for a `bigint` column; caps it at the column's maximum.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads a `bigint` column that is never negative.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Unexpected("a negative number".into()))
}

/// Reads a column with a SHA-256.
pub(super) fn hash(bytes: Vec<u8>) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unexpected("a hash that is not 32 bytes long".into()))
}

/// Reads a column with microseconds since 1970.
pub(super) fn timestamp(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Reads an enum by its name, which is the same on the wire and in the database.
pub(super) fn named<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(name.to_owned()))
        .map_err(|_| StoreError::Unexpected("a name that this version does not know".into()))
}

/// Reads a text that was validated before it was stored.
pub(super) fn text<const MAX: usize>(text: &str) -> Result<Text<MAX>, StoreError> {
    Text::stored(text).map_err(|_| StoreError::Unexpected("a text that violates its own rules".into()))
}
