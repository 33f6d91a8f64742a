//! A client for the payment intents API (`/v1/payment_intents`) that Stripe and compatible providers offer.

use reqwest::Method;
use rooms::money::Currency;
use serde::Deserialize;
use uuid::Uuid;

use super::{Intent, IntentReport, IntentStatus, PaymentOrder};
use crate::config::payment_units;
use crate::integrations::partner::{PartnerClient, PartnerError, RequestBody, reference};

/// A client of the provider's API.
#[derive(Clone, Debug)]
pub struct Stripe {
    partner: PartnerClient,
    /// The checkout page for intents that name none. `{intent}` stands for the intent's id.
    checkout: Option<String>,
}

/// The fields of a payment intent that the hub reads.
#[derive(Deserialize)]
struct IntentBody {
    id: String,
    amount: u64,
    #[serde(default)]
    amount_received: Option<u64>,
    currency: String,
    status: String,
    #[serde(default)]
    next_action: Option<NextAction>,
}

#[derive(Deserialize)]
struct NextAction {
    #[serde(default)]
    redirect_to_url: Option<Redirect>,
}

#[derive(Deserialize)]
struct Redirect {
    url: String,
}

#[derive(Deserialize)]
struct RefundBody {
    amount: u64,
    currency: String,
    status: String,
}

impl Stripe {
    pub fn new(partner: PartnerClient, checkout: Option<String>) -> Self {
        Self { partner, checkout }
    }

    /// Creates an intent that reserves the price once the patient pays. The hub captures it later.
    pub async fn authorize(&self, order: &PaymentOrder, key: Uuid) -> Result<Intent, PartnerError> {
        let form = intent_form(order)?;
        let body: IntentBody =
            self.partner.call(Method::POST, "/v1/payment_intents", Some(key), RequestBody::Form(form)).await?;
        let own = body.next_action.and_then(|action| action.redirect_to_url).map(|redirect| redirect.url);
        let page = own.or_else(|| self.checkout.as_ref().map(|page| page.replace("{intent}", &body.id)));
        Ok(Intent { reference: reference(&body.id)?, checkout_url: page.filter(|page| is_page(page)) })
    }

    /// Collects the reserved money.
    pub async fn capture(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        self.change(reference, "capture", key).await
    }

    /// Cancels an intent, and with it any reservation.
    pub async fn release(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        self.change(reference, "cancel", key).await
    }

    /// Returns collected money.
    pub async fn refund(&self, reference: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        let form = format!("payment_intent={}", checked_reference(reference)?);
        let body: RefundBody =
            self.partner.call(Method::POST, "/v1/refunds", Some(key), RequestBody::Form(form)).await?;
        match body.status.as_str() {
            "succeeded" | "pending" => IntentReport::from_provider(IntentStatus::Refunded, body.amount, &body.currency),
            _ => Err(PartnerError::Refused("the provider refused the refund".to_owned())),
        }
    }

    /// Requests a transition. If the provider refuses, reads the intent: an earlier request may have succeeded although its
    /// answer was lost.
    async fn change(&self, reference: &str, action: &str, key: Uuid) -> Result<IntentReport, PartnerError> {
        let path = format!("/v1/payment_intents/{}", checked_reference(reference)?);
        let answer: Result<IntentBody, _> =
            self.partner.call(Method::POST, &format!("{path}/{action}"), Some(key), RequestBody::Empty).await;
        let body = match answer {
            Ok(body) => body,
            Err(PartnerError::Refused(why)) => {
                let body: IntentBody = self.partner.call(Method::GET, &path, None, RequestBody::Empty).await?;
                if matches!(intent_status(&body.status), None | Some(IntentStatus::Authorized)) {
                    return Err(PartnerError::Refused(why));
                }
                body
            }
            Err(error) => return Err(error),
        };
        let status =
            intent_status(&body.status).ok_or_else(|| PartnerError::retryable("the intent has not settled yet"))?;
        let received = body.amount_received.filter(|_| status == IntentStatus::Captured);
        let amount = received.unwrap_or(body.amount);
        IntentReport::from_provider(status, amount, &body.currency)
    }
}

/// Builds the form of a new intent. Nothing but a code of ISO 4217 may enter it as the currency.
fn intent_form(order: &PaymentOrder) -> Result<String, PartnerError> {
    let PaymentOrder { room, amount, currency } = order;
    let charged = Currency::parse(currency.as_str()).and_then(|it| payment_units::to_provider(*amount, it));
    let amount = charged.ok_or_else(|| PartnerError::Unsendable("the provider cannot charge this price".to_owned()))?;
    let currency = currency.as_str().to_ascii_lowercase();
    // Digits, letters, and a UUID need no escaping.
    Ok(format!("amount={amount}&currency={currency}&capture_method=manual&metadata%5Broom%5D={room}"))
}

/// Checks a stored reference again before it becomes a part of a path or form.
fn checked_reference(stored: &str) -> Result<String, PartnerError> {
    reference(stored).map_err(|error| PartnerError::Unsendable(error.to_string()))
}

/// Maps the API's status; `None` while the patient still has to act.
pub(super) fn intent_status(status: &str) -> Option<IntentStatus> {
    match status {
        "requires_capture" => Some(IntentStatus::Authorized),
        "succeeded" => Some(IntentStatus::Captured),
        "canceled" => Some(IntentStatus::Released),
        _ => None,
    }
}

/// Returns whether a browser may be sent to this page.
fn is_page(url: &str) -> bool {
    url.len() <= 2000 && (url.starts_with("https://") || url.starts_with("http://127.0.0.1:"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rooms::id::RoomId;
    use rooms::text::Text;

    use super::*;

    proptest! {
        #[test]
        fn no_order_or_reference_adds_to_a_request(
            amount in any::<u64>(),
            currency in prop_oneof![any::<String>(), "[A-Za-z]{3}", Just("eur&amount=1".to_owned()), Just("e=\n".to_owned())],
            stored in prop_oneof![any::<String>(), "[a-zA-Z0-9_]{1,100}", Just("pi_1/../refunds".to_owned())],
        ) {
            let Ok(currency) = Text::stored(&currency) else { return Ok(()) };
            let order = PaymentOrder { room: RoomId(Uuid::nil()), amount, currency };
            if let Ok(form) = intent_form(&order) {
                let names: Vec<&str> = form.split('&').filter_map(|field| Some(field.split_once('=')?.0)).collect();
                prop_assert_eq!(names, ["amount", "currency", "capture_method", "metadata%5Broom%5D"]);
                prop_assert!(form.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=&%_-".contains(&byte)));
            }
            if let Ok(reference) = checked_reference(&stored) {
                prop_assert!(reference.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
            }
        }

        #[test]
        fn no_signed_body_breaks_the_parser(body in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{0,200}") {
            let _ = super::super::parse_event(&body);
            let _ = super::super::parse_event(text.as_bytes());
        }
    }
}
