//! A payment provider by the public API of payment intents (`/v1/payment_intents`), as Stripe and others speak it.

use reqwest::Method;
use rooms::text::Line;
use serde::Deserialize;
use uuid::Uuid;

use super::{Intent, Order, Said, Standing};
use crate::gateway::partner::{Content, Failure, Partner, reference};

/// The provider.
#[derive(Clone, Debug)]
pub struct Stripe {
    partner: Partner,
    /// Where people pay, with `{intent}` in place of the intent's id; for intents that name no page of their own.
    checkout: Option<String>,
}

/// A payment intent, as far as the hub reads it.
#[derive(Deserialize)]
pub(super) struct IntentBody {
    pub id: String,
    pub amount: u64,
    #[serde(default)]
    pub amount_received: u64,
    pub currency: String,
    pub status: String,
    #[serde(default)]
    next_action: Option<NextAction>,
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Deserialize, Default)]
pub(super) struct Metadata {
    /// The room, which the hub put there.
    #[serde(default)]
    pub room: Option<Uuid>,
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
    pub fn new(partner: Partner, checkout: Option<String>) -> Self {
        Self { partner, checkout }
    }

    /// Makes an intent that reserves the price when the patient pays, and takes it only when told.
    pub async fn authorize(&self, order: &Order, key: Uuid) -> Result<Intent, Failure> {
        let Order { room, amount, currency } = order;
        let currency = currency.as_str().to_ascii_lowercase();
        // Digits, letters and a UUID: nothing in it needs to be escaped.
        let form = format!("amount={amount}&currency={currency}&capture_method=manual&metadata%5Broom%5D={room}");
        let body: IntentBody =
            self.partner.call(Method::POST, "/v1/payment_intents", Some(key), Content::Form(form)).await?;
        let own = body.next_action.and_then(|action| action.redirect_to_url).map(|redirect| redirect.url);
        let page = own.or_else(|| self.checkout.as_ref().map(|page| page.replace("{intent}", &body.id)));
        Ok(Intent { reference: reference(&body.id)?, checkout_url: page.filter(|page| is_page(page)) })
    }

    /// Takes what is reserved.
    pub async fn capture(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        self.change(reference, "capture", key).await
    }

    /// Lets go of what is asked for or reserved.
    pub async fn release(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        self.change(reference, "cancel", key).await
    }

    /// Pays back what was taken.
    pub async fn refund(&self, reference: &str, key: Uuid) -> Result<Said, Failure> {
        let form = format!("payment_intent={reference}");
        let body: RefundBody = self.partner.call(Method::POST, "/v1/refunds", Some(key), Content::Form(form)).await?;
        match body.status.as_str() {
            "succeeded" | "pending" => {
                Ok(Said { standing: Standing::Refunded, amount: body.amount, currency: currency(&body.currency)? })
            }
            _ => Err(Failure::Refused("the provider did not pay back".to_owned())),
        }
    }

    /// Asks for a change. If the intent is past it, a lost answer is made up for by what the intent says now.
    async fn change(&self, reference: &str, what: &str, key: Uuid) -> Result<Said, Failure> {
        let path = format!("/v1/payment_intents/{reference}");
        let asked: Result<IntentBody, _> =
            self.partner.call(Method::POST, &format!("{path}/{what}"), Some(key), Content::Nothing).await;
        let body = match asked {
            Ok(body) => body,
            Err(Failure::Refused(why)) => {
                let body: IntentBody = self.partner.call(Method::GET, &path, None, Content::Nothing).await?;
                if matches!(standing(&body.status), None | Some(Standing::Authorized)) {
                    return Err(Failure::Refused(why));
                }
                body
            }
            Err(later) => return Err(later),
        };
        let standing = standing(&body.status).ok_or_else(|| Failure::later("the intent is in no settled state"))?;
        let amount = if standing == Standing::Captured { body.amount_received } else { body.amount };
        Ok(Said { standing, amount, currency: currency(&body.currency)? })
    }
}

/// What a status of an intent means; nothing where the patient still has to do something.
pub(super) fn standing(status: &str) -> Option<Standing> {
    match status {
        "requires_capture" => Some(Standing::Authorized),
        "succeeded" => Some(Standing::Captured),
        "canceled" => Some(Standing::Released),
        _ => None,
    }
}

/// A currency as the rooms write it.
pub(super) fn currency(text: &str) -> Result<Line, Failure> {
    Line::parse(&text.to_ascii_uppercase()).map_err(|_| Failure::later("the provider names no currency"))
}

/// A page that a browser may be sent to.
fn is_page(url: &str) -> bool {
    url.len() <= 2000 && (url.starts_with("https://") || url.starts_with("http://127.0.0.1:"))
}
