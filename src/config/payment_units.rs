//! The payment provider's units of money: which prices it can charge, and how amounts are converted. They differ from ISO 4217 for a few currencies: see "Zero-decimal currencies", "Special
//! cases" and "Three-decimal currencies" on <https://docs.stripe.com/currencies>.

use rooms::money::Currency;

/// How the provider counts a currency.
struct ProviderUnit {
    /// The decimals of its amounts.
    exponent: u32,
    /// Its amounts are multiples of this.
    step: u64,
}

/// Returns the provider's unit, or `None` if it charges nothing in this currency.
fn provider_unit(currency: Currency) -> Option<ProviderUnit> {
    let (exponent, step) = match (currency.code(), currency.exponent()) {
        // Without decimals, but kept in hundredths for older integrations.
        ("ISK" | "UGX", _) => (2, 100),
        // Two decimals by ISO 4217, but the ariary has fifths and no hundredths.
        ("MGA", _) => (0, 1),
        (
            "BIF" | "CLP" | "DJF" | "GNF" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "VND" | "VUV" | "XAF" | "XOF"
            | "XPF",
            _,
        ) => (0, 1),
        // The last digit must be 0.
        ("BHD" | "JOD" | "KWD" | "OMR" | "TND", _) => (3, 10),
        (_, 2) => (2, 1),
        _ => return None,
    };
    Some(ProviderUnit { exponent, step })
}

/// Converts an amount of minor units into the provider's amount; `None` if the provider cannot charge exactly this.
pub fn to_provider(amount: u64, currency: Currency) -> Option<u64> {
    let unit = provider_unit(currency)?;
    let converted = rescale(amount, currency.exponent(), unit.exponent)?;
    converted.is_multiple_of(unit.step).then_some(converted)
}

/// Converts a provider's amount into minor units; `None` if there is no such amount.
pub fn from_provider(amount: u64, currency: Currency) -> Option<u64> {
    rescale(amount, provider_unit(currency)?.exponent, currency.exponent())
}

fn rescale(amount: u64, from: u32, to: u32) -> Option<u64> {
    let factor = 10_u64.pow(from.abs_diff(to));
    if to >= from { amount.checked_mul(factor) } else { amount.is_multiple_of(factor).then(|| amount / factor) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).expect("a currency")
    }

    #[test]
    fn exceptions_of_the_provider_are_converted() {
        for (code, amount, provider) in [
            ("EUR", 2_500, Some(2_500)),
            ("HUF", 250_000, Some(250_000)),
            ("JPY", 3_000, Some(3_000)),
            ("ISK", 5_000, Some(500_000)),
            ("UGX", 90_000, Some(9_000_000)),
            ("MGA", 500_000, Some(5_000)),
            ("MGA", 500_050, None),
            ("KWD", 1_250, Some(1_250)),
            ("KWD", 1_255, None),
            ("IQD", 25_000_000, None),
            ("CLF", 10_000, None),
            ("ISK", u64::MAX, None),
        ] {
            assert_eq!(to_provider(amount, currency(code)), provider, "{amount} {code}");
        }
    }

    proptest! {
        #[test]
        fn what_is_charged_is_what_is_reported(
            amount in any::<u64>(),
            code in prop::sample::select(vec!["EUR", "ISK", "UGX", "MGA", "KRW", "KWD", "HUF", "VND", "OMR"]),
        ) {
            if let Some(charged) = to_provider(amount, currency(code)) {
                prop_assert_eq!(from_provider(charged, currency(code)), Some(amount));
            }
        }
    }
}
