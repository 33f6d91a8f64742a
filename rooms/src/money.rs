//! Money: currencies by ISO 4217, and amounts in their minor units.

/// A currency in which a price can be: an ISO 4217 code that has a minor unit. Gold, for one, has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency {
    iso: iso_currency::Currency,
    exponent: u32,
}

impl Currency {
    /// Reads a code in capitals, e.g. `EUR`.
    pub fn parse(code: &str) -> Option<Self> {
        let iso = iso_currency::Currency::from_code(code)?;
        Some(Self { iso, exponent: iso.exponent()?.into() })
    }

    pub fn code(&self) -> &str {
        self.iso.code()
    }

    /// How many decimals an amount has: 2 for `EUR`, 0 for `JPY`, 3 for `KWD`.
    pub fn exponent(self) -> u32 {
        self.exponent
    }
}

/// Formats an amount of minor units with the decimals of its currency, e.g. `25.05 EUR`. A code that is no currency may stand
/// in an old record; like most currencies it gets two decimals.
pub fn format_amount(amount: u64, code: &str) -> String {
    let exponent = Currency::parse(code).map_or(2, Currency::exponent);
    let unit = 10_u64.pow(exponent);
    match exponent {
        0 => format!("{amount} {code}"),
        _ => format!("{}.{:0width$} {code}", amount / unit, amount % unit, width = exponent as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_iso_4217() {
        for (amount, code, text) in [
            (2_505, "EUR", "25.05 EUR"),
            (30_000, "KRW", "30000 KRW"),
            (1_250, "KWD", "1.250 KWD"),
            (250_000, "HUF", "2500.00 HUF"),
            (15_000_000, "IDR", "150000.00 IDR"),
            (25_000_000, "IQD", "25000.000 IQD"),
            (500, "MGA", "5.00 MGA"),
            (5, "UGX", "5 UGX"),
            (1, "CLF", "0.0001 CLF"),
            (100, "no currency", "1.00 no currency"),
        ] {
            assert_eq!(format_amount(amount, code), text);
        }
        for code in ["XAU", "eur", "", "EURO", "ZZZ"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }
}
