//! Commands to the payment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::PaymentState;
use crate::text::Text;

/// No person sends this, so its texts are those that the log or the provider already holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPayment {
    pub to: PaymentState,
    /// In the currency's minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Text<200>,
    /// The provider's own reference.
    pub reference: Text<200>,
}
