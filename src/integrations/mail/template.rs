//! The texts of mails, in each language, as plain text and as HTML.

use chrono::{Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use rooms::money::format_amount;
use rooms::time::Timestamp;

use crate::store::users::Language;

/// A kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailKind {
    Booked,
    Moved,
    Reminder,
    Receipt,
    Refund,
}

impl MailKind {
    pub const ALL: [MailKind; 5] =
        [MailKind::Booked, MailKind::Moved, MailKind::Reminder, MailKind::Receipt, MailKind::Refund];

    /// Returns the `kind` of its dispatches.
    pub fn as_str(self) -> &'static str {
        match self {
            MailKind::Booked => "booked",
            MailKind::Moved => "moved",
            MailKind::Reminder => "reminder",
            MailKind::Receipt => "receipt",
            MailKind::Refund => "refund",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// The facts that a mail states.
#[derive(Clone, Debug)]
pub struct MailTemplate<'a> {
    pub kind: MailKind,
    /// The recipient's name, if the mail may show it.
    pub name: Option<&'a str>,
    /// When the consultation begins; absent without an appointment.
    pub starts_at: Option<Timestamp>,
    /// The clinic's time zone. The hub does not know the reader's own, so each time names its zone.
    pub zone: Tz,
    /// In minor units, and the currency.
    pub amount: Option<(u64, &'a str)>,
    /// The URL of the consultation's page.
    pub link: &'a str,
}

/// A mail in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedMail {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The sentences of a mail.
struct MailText {
    subject: &'static str,
    greeting: String,
    body: String,
    link: &'static str,
    goodbye: &'static str,
}

impl MailTemplate<'_> {
    pub fn render(&self, language: Language) -> RenderedMail {
        let words = match language {
            Language::En => self.english(),
            Language::Ko => self.korean(),
        };
        let MailText { subject, greeting, body, link, goodbye } = words;
        let text = format!("{greeting}\n\n{body}\n\n{link}\n{}\n\n{goodbye}\n", self.link);
        let html = format!(
            "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{}</title></head>\
             <body style=\"font-family:sans-serif;line-height:1.5;max-width:36em;margin:2em auto;padding:0 1em\">\
             <p>{}</p><p>{}</p><p><a href=\"{}\">{}</a></p><p>{}</p></body></html>\n",
            language.as_str(),
            escape_html(subject),
            escape_html(&greeting),
            escape_html(&body),
            escape_html(self.link),
            escape_html(link),
            escape_html(goodbye),
        );
        RenderedMail { subject: subject.to_owned(), text, html }
    }

    fn english(&self) -> MailText {
        let when =
            self.starts_at.map_or_else(String::new, |at| format!(" on {}", self.local_time(at, "%-d %B %Y, %H:%M")));
        let amount = self.amount.map_or_else(String::new, |(amount, currency)| format_amount(amount, currency));
        let (subject, body) = match self.kind {
            MailKind::Booked => ("Your appointment is booked", format!("your consultation is booked{when}.")),
            MailKind::Moved => ("Your appointment has moved", format!("your consultation now begins{when}.")),
            MailKind::Reminder => ("Your appointment is coming up", format!("your consultation begins{when}.")),
            MailKind::Receipt => ("Receipt", format!("we received {amount} for your consultation{when}. Thank you.")),
            MailKind::Refund => {
                ("Your payment is refunded", format!("we refunded {amount} for your consultation{when}."))
            }
        };
        MailText {
            subject,
            greeting: self.name.map_or_else(|| "Hello,".to_owned(), |name| format!("Hello {name},")),
            body,
            link: "Open your consultation",
            goodbye: "Wardroom sent this mail automatically. Please do not reply to it.",
        }
    }

    fn korean(&self) -> MailText {
        let when = self.starts_at.map_or_else(String::new, |at| self.local_time(at, "%Y년 %-m월 %-d일 %H:%M"));
        let amount = self.amount.map_or_else(String::new, |(amount, currency)| format_amount(amount, currency));
        let of = if when.is_empty() { String::new() } else { format!("{when} ") };
        let (subject, body) = match self.kind {
            MailKind::Booked => ("예약이 확정되었습니다", format!("{of}상담 예약이 확정되었습니다.")),
            MailKind::Moved => ("예약 시간이 변경되었습니다", format!("상담 시간이 {when}(으)로 변경되었습니다.")),
            MailKind::Reminder => ("상담 시간이 다가옵니다", format!("{of}상담이 시작됩니다.")),
            MailKind::Receipt => ("영수증", format!("{of}상담 요금 {amount}을(를) 결제하셨습니다. 감사합니다.")),
            MailKind::Refund => ("결제 금액이 환불됩니다", format!("{of}상담 요금 {amount}이(가) 환불됩니다.")),
        };
        MailText {
            subject,
            greeting: self.name.map_or_else(|| "안녕하세요.".to_owned(), |name| format!("{name}님, 안녕하세요.")),
            body,
            link: "상담 열기",
            goodbye: "Wardroom이 보낸 메일입니다. 회신은 확인하지 않습니다.",
        }
    }

    /// Formats an instant in the clinic's local time, with the zone and its UTC offset at that instant.
    fn local_time(&self, at: Timestamp, format: &str) -> String {
        let utc = at.utc().naive_utc();
        let offset = self.zone.offset_from_utc_datetime(&utc).fix().local_minus_utc();
        // No sum only at the ends of the calendar, a quarter of a million years away.
        let local = utc.checked_add_signed(TimeDelta::seconds(offset.into())).unwrap_or(utc);
        let sign = if offset < 0 { '-' } else { '+' };
        let (hours, minutes) = (offset.unsigned_abs() / 3600, offset.unsigned_abs() / 60 % 60);
        let zone = match (self.zone, hours, minutes) {
            (Tz::UTC, ..) => "UTC".to_owned(),
            (zone, hours, 0) => format!("{zone}, UTC{sign}{hours}"),
            (zone, hours, minutes) => format!("{zone}, UTC{sign}{hours}:{minutes:02}"),
        };
        format!("{} ({zone})", local.format(format))
    }
}

/// Escapes text for HTML.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(kind: MailKind, name: &str) -> MailTemplate<'_> {
        MailTemplate {
            kind,
            name: Some(name),
            starts_at: Some(Timestamp::from_micros(1_772_442_000_000_000)),
            zone: Tz::Asia__Seoul,
            amount: Some((2500, "EUR")),
            link: "https://hub.example.org/#/room/1",
        }
    }

    #[test]
    fn every_mail_states_its_facts_in_every_language() {
        let name = "Pat <Ient>";
        for kind in MailKind::ALL {
            assert_eq!(MailKind::from_name(kind.as_str()), Some(kind));
            let rendered = Language::ALL.map(|language| template(kind, name).render(language));
            assert_ne!(rendered[0].subject, rendered[1].subject);
            for rendered in rendered {
                assert!(rendered.text.contains("Pat <Ient>") && rendered.html.contains("Pat &lt;Ient&gt;"));
                assert!(rendered.text.contains("18:00 (Asia/Seoul, UTC+9)"), "{}", rendered.text);
                assert!(rendered.html.contains("href=\"https://hub.example.org/#/room/1\""));
                let has_amount = rendered.text.contains("25.00 EUR");
                assert_eq!(has_amount, matches!(kind, MailKind::Receipt | MailKind::Refund), "{}", rendered.text);
            }
        }
        let walk_in = MailTemplate { starts_at: None, ..template(MailKind::Receipt, name) }.render(Language::En);
        assert!(walk_in.text.contains("for your consultation. Thank you."));
    }

    #[test]
    fn times_follow_daylight_saving_and_name_their_zone() {
        let line = |zone: Tz, micros: i64| {
            let starts_at = Some(Timestamp::from_micros(micros));
            MailTemplate { starts_at, zone, ..template(MailKind::Booked, "Pat") }.render(Language::En).text
        };
        let (winter, summer) = (1_768_478_400_000_000, 1_784_116_800_000_000);
        assert!(line(Tz::Europe__Berlin, winter).contains("15 January 2026, 13:00 (Europe/Berlin, UTC+1)"));
        assert!(line(Tz::Europe__Berlin, summer).contains("15 July 2026, 14:00 (Europe/Berlin, UTC+2)"));
        assert!(line(Tz::America__St_Johns, winter).contains("08:30 (America/St_Johns, UTC-3:30)"));
        assert!(line(Tz::UTC, summer).contains("15 July 2026, 12:00 (UTC)"));
        // The hour that the change to winter time repeats: 02:30 comes twice, an hour apart.
        let twice = [1_792_888_200_000_000, 1_792_891_800_000_000].map(|at| line(Tz::Europe__Berlin, at));
        assert!(twice[0].contains("02:30 (Europe/Berlin, UTC+2)"), "{}", twice[0]);
        assert!(twice[1].contains("02:30 (Europe/Berlin, UTC+1)"), "{}", twice[1]);
    }
}
