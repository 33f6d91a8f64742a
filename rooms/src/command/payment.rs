//! Commands to the payment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::PaymentState;
use crate::text::Line;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    pub to: PaymentState,
    /// In the currency's minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Line,
    /// The provider's own reference.
    pub reference: Line,
}
