//! Commands about the record.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::Prose;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Required of administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Prose>,
}
