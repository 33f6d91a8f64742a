//! Events of the payment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::state::PaymentState;
use crate::text::Text;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentMoved {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PaymentState>,
    pub to: PaymentState,
    /// In minor units of `currency`.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Text<200>,
    pub reference: Text<200>,
}
