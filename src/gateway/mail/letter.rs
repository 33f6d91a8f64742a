//! What is written, in each language, as text and as HTML.

use rooms::text::Line;
use rooms::time::Timestamp;

use crate::store::people::Language;

/// A kind of mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Booked,
    Moved,
    Reminder,
    Receipt,
    Refund,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Booked, Kind::Moved, Kind::Reminder, Kind::Receipt, Kind::Refund];

    /// The name of its dispatches.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Booked => "booked",
            Kind::Moved => "moved",
            Kind::Reminder => "reminder",
            Kind::Receipt => "receipt",
            Kind::Refund => "refund",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a letter says.
#[derive(Clone, Debug)]
pub struct Letter<'a> {
    pub kind: Kind,
    /// Whom it is to.
    pub name: &'a Line,
    /// When the consultation begins, as the clinic's clock shows it; absent without an appointment.
    pub starts_at: Option<Timestamp>,
    /// How far the clinic's clock is ahead of UTC, in minutes.
    pub offset_minutes: i32,
    /// In minor units, and the currency.
    pub amount: Option<(u64, &'a str)>,
    /// Where the consultation's page is.
    pub link: &'a str,
}

/// A letter in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub subject: String,
    pub text: String,
    pub html: String,
}

/// The sentences of a letter.
struct Words {
    subject: &'static str,
    greeting: String,
    says: String,
    link: &'static str,
    goodbye: &'static str,
}

impl Letter<'_> {
    pub fn write(&self, language: Language) -> Written {
        let words = match language {
            Language::En => self.english(),
            Language::Ko => self.korean(),
        };
        let Words { subject, greeting, says, link, goodbye } = words;
        let text = format!("{greeting}\n\n{says}\n\n{link}\n{}\n\n{goodbye}\n", self.link);
        let html = format!(
            "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><title>{}</title></head>\
             <body style=\"font-family:sans-serif;line-height:1.5;max-width:36em;margin:2em auto;padding:0 1em\">\
             <p>{}</p><p>{}</p><p><a href=\"{}\">{}</a></p><p>{}</p></body></html>\n",
            language.as_str(),
            escaped(subject),
            escaped(&greeting),
            escaped(&says),
            escaped(self.link),
            escaped(link),
            escaped(goodbye),
        );
        Written { subject: subject.to_owned(), text, html }
    }

    fn english(&self) -> Words {
        let when = self.starts_at.map_or_else(String::new, |at| format!(" on {}", self.when(at, "%-d %B %Y, %H:%M")));
        let amount = self.amount.map_or_else(String::new, |(amount, currency)| money(amount, currency));
        let (subject, says) = match self.kind {
            Kind::Booked => ("Your appointment is booked", format!("your consultation is booked{when}.")),
            Kind::Moved => ("Your appointment has moved", format!("your consultation now begins{when}.")),
            Kind::Reminder => ("Your appointment is near", format!("your consultation begins{when}.")),
            Kind::Receipt => ("Receipt", format!("we received {amount} for your consultation{when}. Thank you.")),
            Kind::Refund => {
                ("Your payment goes back to you", format!("{amount} for your consultation{when} goes back to you."))
            }
        };
        Words {
            subject,
            greeting: format!("Hello {},", self.name.as_str()),
            says,
            link: "Open your consultation",
            goodbye: "This mail was written by Wardroom. Nobody reads answers to it.",
        }
    }

    fn korean(&self) -> Words {
        let when = self.starts_at.map_or_else(String::new, |at| self.when(at, "%Y년 %-m월 %-d일 %H:%M"));
        let amount = self.amount.map_or_else(String::new, |(amount, currency)| money(amount, currency));
        let of = if when.is_empty() { String::new() } else { format!("{when} ") };
        let (subject, says) = match self.kind {
            Kind::Booked => ("예약이 확정되었습니다", format!("{of}상담 예약이 확정되었습니다.")),
            Kind::Moved => ("예약 시간이 변경되었습니다", format!("상담 시간이 {when}(으)로 변경되었습니다.")),
            Kind::Reminder => ("상담 시간이 다가옵니다", format!("{of}상담이 시작됩니다.")),
            Kind::Receipt => ("영수증", format!("{of}상담 요금 {amount}을(를) 결제하셨습니다. 감사합니다.")),
            Kind::Refund => ("결제 금액이 환불됩니다", format!("{of}상담 요금 {amount}이(가) 환불됩니다.")),
        };
        Words {
            subject,
            greeting: format!("{}님, 안녕하세요.", self.name.as_str()),
            says,
            link: "상담 열기",
            goodbye: "Wardroom이 보낸 메일입니다. 회신은 확인하지 않습니다.",
        }
    }

    /// An instant by the clinic's clock, with its distance from UTC.
    fn when(&self, at: Timestamp, format: &str) -> String {
        let minutes = self.offset_minutes;
        let local = at.utc() + chrono::TimeDelta::minutes(minutes.into());
        let sign = if minutes < 0 { '-' } else { '+' };
        let (hours, rest) = (minutes.unsigned_abs() / 60, minutes.unsigned_abs() % 60);
        let zone = match (hours, rest) {
            (0, 0) => "UTC".to_owned(),
            (hours, 0) => format!("UTC{sign}{hours}"),
            (hours, rest) => format!("UTC{sign}{hours}:{rest:02}"),
        };
        format!("{} ({zone})", local.format(format))
    }
}

/// An amount with its currency's decimals (ISO 4217).
fn money(amount: u64, currency: &str) -> String {
    let decimals: u32 = match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "VND" | "VUV"
        | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let unit = 10_u64.pow(decimals);
    match decimals {
        0 => format!("{amount} {currency}"),
        _ => format!("{}.{:0width$} {currency}", amount / unit, amount % unit, width = decimals as usize),
    }
}

/// Text in HTML.
fn escaped(text: &str) -> String {
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

    fn letter(kind: Kind, name: &Line) -> Letter<'_> {
        Letter {
            kind,
            name,
            starts_at: Some(Timestamp::from_micros(1_772_442_000_000_000)),
            offset_minutes: 540,
            amount: Some((2500, "EUR")),
            link: "https://hub.example.org/#/room/1",
        }
    }

    #[test]
    fn every_letter_is_written_in_every_language_with_its_facts() {
        let name = Line::parse("Pat <Ient>").expect("a name");
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.as_str()), Some(kind));
            let written = Language::ALL.map(|language| letter(kind, &name).write(language));
            assert_ne!(written[0].subject, written[1].subject);
            for written in written {
                assert!(written.text.contains("Pat <Ient>") && written.html.contains("Pat &lt;Ient&gt;"));
                assert!(written.text.contains("18:00 (UTC+9)"), "{}", written.text);
                assert!(written.html.contains("href=\"https://hub.example.org/#/room/1\""));
                let has_amount = written.text.contains("25.00 EUR");
                assert_eq!(has_amount, matches!(kind, Kind::Receipt | Kind::Refund), "{}", written.text);
            }
        }
        let walk_in = Letter { starts_at: None, ..letter(Kind::Receipt, &name) }.write(Language::En);
        assert!(walk_in.text.contains("for your consultation. Thank you."));
    }

    #[test]
    fn amounts_have_their_currencys_decimals() {
        assert_eq!(money(2505, "EUR"), "25.05 EUR");
        assert_eq!(money(30_000, "KRW"), "30000 KRW");
        assert_eq!(money(1_250, "KWD"), "1.250 KWD");
    }
}
