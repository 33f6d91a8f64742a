//! Properties of mails for every name, address, time, amount and language that their types admit, also of rows from before
//! today's rules.

use chrono_tz::{TZ_VARIANTS, Tz};
use lettre::Address;
use lettre::message::Mailbox;
use proptest::prelude::*;
use rooms::time::Timestamp;
use uuid::Uuid;

use super::recipient::presentable_name;
use super::template::{MailKind, MailTemplate};
use super::transport::{OutgoingMail, message};
use crate::store::users::Language;

/// The headers of every mail, in lower case. Any other one would come from foreign text.
const HEADERS: [&str; 8] =
    ["message-id", "from", "to", "subject", "mime-version", "date", "content-type", "content-transfer-encoding"];

/// Text as hostile as a stored name, currency or address can be.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        any::<String>(),
        "\\PC{0,40}",
        Just("\r\nBcc: everybody@example.org\r\n\r\n".to_owned()),
        Just("\n.\n".to_owned()),
        Just("\u{202e}\u{2066}\u{200b}\u{0}".to_owned()),
        Just("<script>alert(1)</script>\"'&".to_owned()),
        Just("http://evil.example/ evil.example a@evil.example".to_owned()),
        Just("=?utf-8?q?=0D=0ABcc:_x?=".to_owned()),
        Just("김민수 Łukasz 😀".to_owned()),
    ];
    prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

/// Returns the names of the headers before the first empty line.
fn header_names(formatted: &str) -> Vec<String> {
    let head = formatted.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    lines.map(|line| line.split(':').next().unwrap_or(line).to_lowercase()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_stored_value_breaks_a_mail_or_adds_to_it(
        name in hostile_text(),
        local in "[a-z0-9.+]{1,20}",
        kind in prop::sample::select(MailKind::ALL.to_vec()),
        language in prop::sample::select(Language::ALL.to_vec()),
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        starts_at in prop::option::of(any::<i64>()),
        amount in any::<u64>(),
        currency in hostile_text(),
    ) {
        let shown = presentable_name(&name);
        let starts_at = starts_at.map(Timestamp::from_micros);
        let link = "https://hub.example.org/#/room/1";
        let template = MailTemplate { kind, name: shown, starts_at, zone, amount: Some((amount, &currency)), link };
        let rendered = template.render(language);
        prop_assert!(!rendered.subject.contains(['\r', '\n']));
        prop_assert!(!rendered.html.contains("<script"));
        prop_assert_eq!(rendered.html.matches("href=").count(), 1);
        if !matches!(kind, MailKind::Receipt | MailKind::Refund) {
            prop_assert!(!rendered.text.contains("evil"), "{}", rendered.text);
        }
        let Ok(address) = format!("{local}@example.org").parse::<Address>() else { return Ok(()) };
        let from: Mailbox = "Wardroom <no-reply@clinic.example>".parse().expect("a sender");
        let to = Mailbox::new(shown.map(str::to_owned), address.clone());
        let mail = OutgoingMail { id: Uuid::nil(), at: Timestamp::from_micros(0), from: &from, to, rendered };
        let message = message(&mail).expect("it can be encoded");
        prop_assert_eq!(message.envelope().to(), [address]);
        let formatted = String::from_utf8_lossy(&message.formatted()).into_owned();
        for header in header_names(&formatted) {
            prop_assert!(HEADERS.contains(&header.as_str()), "{}: {}", header, formatted);
        }
    }

    #[test]
    fn every_zone_renders_every_time(micros in any::<i64>(), zone in prop::sample::select(TZ_VARIANTS.to_vec())) {
        let _: Tz = zone;
        let starts_at = Some(Timestamp::from_micros(micros));
        let template =
            MailTemplate { kind: MailKind::Booked, name: None, starts_at, zone, amount: None, link: "https://a" };
        for language in Language::ALL {
            prop_assert!(template.render(language).text.contains("UTC"));
        }
    }
}
