//! E-mail addresses: an account has only an address that the mail sink can send to.

use std::fmt;

use lettre::Address;

/// The most bytes of an address (RFC 5321), in the form in which it is stored.
pub(super) const MAX_EMAIL_BYTES: usize = 254;
/// The most bytes before the `@` (RFC 5321).
const MAX_LOCAL_BYTES: usize = 64;

/// An address in lower case, with an international domain in its ASCII form (`xn--…`): the form that is stored and sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress(String);

/// Why an address is invalid. The sentence continues the name of its field, and never repeats the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    #[error("must be an e-mail address of at most 254 bytes, e.g. name@example.org")]
    Form,
    #[error("must not have quotes before the @; use an address without them")]
    Quoted,
    #[error("must have only letters a to z, digits and signs before the @: many mail servers accept no others")]
    NotAscii,
}

impl EmailAddress {
    /// Parses by the rules of the library that sends mail. Only the recipient's mail server knows whether it exists.
    pub fn parse(raw: &str) -> Result<Self, EmailError> {
        let raw = raw.trim();
        // Bounded before it is parsed: the ASCII form of a domain is never shorter.
        if raw.len() > MAX_EMAIL_BYTES {
            return Err(EmailError::Form);
        }
        let (local, domain) = raw.rsplit_once('@').ok_or(EmailError::Form)?;
        if local.starts_with('"') {
            return Err(EmailError::Quoted);
        }
        if !local.is_ascii() {
            return Err(EmailError::NotAscii);
        }
        let domain = idna::domain_to_ascii(domain).map_err(|_| EmailError::Form)?;
        let is_host =
            domain.contains('.') && domain.rsplit('.').next().is_some_and(|last| last.contains(char::is_alphabetic));
        let address = Address::new(local.to_ascii_lowercase(), domain).map_err(|_| EmailError::Form)?;
        let text = address.to_string();
        let fits = text.len() <= MAX_EMAIL_BYTES && local.len() <= MAX_LOCAL_BYTES;
        if is_host && fits { Ok(Self(text)) } else { Err(EmailError::Form) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// Omits the address: it is personal data and must not leak into a log.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_is_stored_in_the_form_that_mail_is_sent_to() {
        for (raw, stored) in [
            (" Some.One@Example.ORG ", "some.one@example.org"),
            ("a+b_c@mail.example.org", "a+b_c@mail.example.org"),
            ("user@exämple.org", "user@xn--exmple-cua.org"),
            ("user@Exa\u{308}mple.org", "user@xn--exmple-cua.org"),
            ("o'neill@example.org", "o'neill@example.org"),
        ] {
            assert_eq!(EmailAddress::parse(raw).unwrap().as_str(), stored);
        }
    }

    #[test]
    fn an_address_that_mail_cannot_be_sent_to_is_refused() {
        for bad in [
            "",
            "a",
            "@b.cd",
            "a@",
            "a@b",
            "a b@c.de",
            "a@b@c.de",
            "a@.cd",
            "a@b.",
            "a\u{0}@b.cd",
            "user..name@example.org",
            ".user@example.org",
            "user.@example.org",
            "a,b@example.org",
            "user@example..org",
            "user@[127.0.0.1]",
            "user@127.0.0.1",
            "a\nb@example.org",
            "user@exam ple.org",
            "user@-example.org",
        ] {
            assert_eq!(EmailAddress::parse(bad), Err(EmailError::Form), "{bad:?}");
        }
        assert_eq!(EmailAddress::parse("\"a b\"@example.org"), Err(EmailError::Quoted));
        assert_eq!(EmailAddress::parse("josé@example.org"), Err(EmailError::NotAscii));
        assert_eq!(EmailAddress::parse(&format!("{}@example.org", "x".repeat(65))), Err(EmailError::Form));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_ascii_and_can_be_sent_to(raw in "[a-zA-Z0-9.,+\"'@ éä한_-]{1,12}@[a-zA-Z0-9.äé한 -]{1,12}\\.[a-zA-Zä]{1,4}") {
            if let Ok(address) = EmailAddress::parse(&raw) {
                prop_assert!(address.as_str().is_ascii());
                prop_assert!(address.as_str().parse::<Address>().is_ok());
                prop_assert_eq!(EmailAddress::parse(address.as_str()).expect("it was parsed before"), address);
            }
        }
    }
}
