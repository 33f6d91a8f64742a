//! Which field of a JSON value is at fault.

use serde::{Deserialize, Deserializer};

/// Returns the path of the field at which the input is no `T`, e.g. `items[1].dosage`. Parses the input once more, so it is
/// for errors only. Inside a tagged enum a path is lost.
pub(crate) fn invalid_field<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Option<String> {
    let path = serde_path_to_error::deserialize::<_, T>(input).err()?.path().to_string();
    (path != ".").then_some(path)
}
