//! Texts from people: one length rule for all languages, and nothing that is not to be seen.

use proptest::prelude::*;
use rooms::event::Event;
use rooms::text::{Line, Name, Paragraph, Prose, Text, TextError};

/// Any text, with the characters that the rules are about more often than chance would bring them.
fn raw() -> impl Strategy<Value = String> {
    let special = prop::sample::select(
        "\r\n\t\u{0}\u{7}\u{85}\u{2028}\u{ad}\u{200b}\u{200c}\u{200d}\u{200e}\u{202e}\u{2066}\u{feff}\u{3164}\u{2800}\u{115f}\u{fe0f}\u{301}\u{1100}\u{1161}\u{e000}\u{958}./:@ aé가"
            .chars()
            .collect::<Vec<_>>(),
    );
    prop::collection::vec(prop_oneof![special, any::<char>(), prop::char::range('a', 'z')], 0..40)
        .prop_map(|chars| chars.into_iter().collect())
}

fn is_hidden_in_a_line(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(
            c,
            '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{3164}' | '\u{2800}' | '\u{115f}' | '\u{1160}' | '\u{ffa0}'
        )
}

proptest! {
    #[test]
    fn a_parsed_text_is_stable_bounded_and_visible(raw in raw()) {
        if let Ok(prose) = Prose::parse(&raw) {
            let text = prose.as_str();
            prop_assert_eq!(&Prose::parse(text).expect("it was parsed before"), &prose);
            const BREAKS: [char; 5] = ['\r', '\0', '\u{85}', '\u{2028}', '\u{2029}'];
            prop_assert!(!text.contains(BREAKS));
            prop_assert!(text.chars().any(|c| !c.is_whitespace()));
            prop_assert!(Text::<4000>::stored(text).is_ok(), "what is accepted can be read back");
        }
        if let Ok(line) = Line::parse(&raw) {
            prop_assert_eq!(&Line::parse(line.as_str()).expect("it was parsed before"), &line);
            prop_assert!(!line.as_str().contains(is_hidden_in_a_line));
            prop_assert!(Prose::parse(line.as_str()).is_ok(), "a line is prose");
        }
        if let Ok(name) = Name::parse(&raw) {
            prop_assert!(!name.as_str().contains("://"));
            let line = Line::parse(name.as_str()).expect("a name is a line");
            prop_assert_eq!(line.as_str(), name.as_str());
        }
    }

    #[test]
    fn json_and_the_parser_agree(raw in raw()) {
        let json = serde_json::to_string(&raw).expect("a string");
        prop_assert_eq!(serde_json::from_str::<Name>(&json).ok(), Name::parse(&raw).ok());
        prop_assert_eq!(serde_json::from_str::<Prose>(&json).ok(), Prose::parse(&raw).ok());
    }

    #[test]
    fn every_language_may_write_the_same_number_of_characters(letter in "[a가中é😀ไม]", n in 1_usize..=4000) {
        prop_assume!(letter.chars().all(char::is_alphabetic) || letter == "😀");
        prop_assert_eq!(Prose::parse(&letter.repeat(n)).expect("within the limit").as_str().chars().count(), n);
        prop_assert_eq!(Prose::parse(&letter.repeat(4001)), Err(TextError::TooLong { max: 4000, len: 4001 }));
    }

    #[test]
    fn composed_and_decomposed_forms_are_one_text(raw in "[A-Za-zÀ-ž가-힣 ]{1,40}") {
        prop_assume!(!raw.trim().is_empty());
        use unicode_normalization::UnicodeNormalization;
        let decomposed: String = raw.nfd().collect();
        prop_assert_eq!(Name::parse(&decomposed), Name::parse(&raw));
    }
}

#[test]
fn a_name_is_one_visible_line() {
    let names = [
        "Dr. Dana Okafor",
        "J.R.R.Tolkien",
        "St.Mary's Pharmacy",
        "Dr.Kim",
        "Łukasz Żółć",
        "Иван Петров",
        "김민준",
        "葛\u{e0100}城 太郎",
        "山田　太郎",
        "علی\u{200c}رضا",
        "O’Neill-Sørensen (Jr.)",
        "ක්\u{200d}රිස්",
        "Corner Pharmacy No. 5, Ltd.",
        "X",
    ];
    for name in names {
        assert!(Name::parse(name).is_ok(), "{name}: {:?}", Name::parse(name));
    }
    for (name, why) in [
        ("", TextError::Empty),
        ("  ", TextError::Empty),
        ("\u{200b}", TextError::NotOneLine),
        ("\u{3164}", TextError::NotOneLine),
        ("\u{2800}", TextError::NotOneLine),
        ("\u{301}", TextError::Invisible),
        ("Alice\u{202e}eviL", TextError::NotOneLine),
        ("Pat\u{200b} Ient", TextError::NotOneLine),
        ("Pa\u{200d}t", TextError::NotOneLine),
        ("علی\u{200c}", TextError::NotOneLine),
        ("Pat\nBcc: all@example.org", TextError::NotOneLine),
        ("Pat\r\nIent", TextError::NotOneLine),
        ("Pat\u{2028}Ient", TextError::NotOneLine),
        ("Your account is locked: visit http://evil.example", TextError::Link),
        ("go to www.example.org now", TextError::Link),
        ("EVIL-CLINIC.COM", TextError::Link),
        ("(evil.example)", TextError::Link),
        ("t.me/x", TextError::Link),
        ("T.Me/x", TextError::Link),
        ("пример.рф", TextError::Link),
        ("me@example.org", TextError::Link),
    ] {
        assert_eq!(Name::parse(name), Err(why), "{name:?}");
    }
    assert!(Line::parse("see www.example.org").is_ok(), "only names end up in letters");
    let long = TextError::TooLong { max: 200, len: 201 };
    assert!(Name::parse(&"김".repeat(200)).is_ok());
    assert_eq!(Name::parse(&"김".repeat(201)), Err(long));
}

#[test]
fn prose_is_visible_and_its_only_line_break_is_the_line_feed() {
    assert_eq!(Prose::parse("a\r\nb\rc\u{2028}d\u{85}e\n").unwrap().as_str(), "a\nb\nc\nd\ne");
    assert_eq!(Paragraph::parse("1 Main Street\r\nTown").unwrap().as_str(), "1 Main Street\nTown");
    for invisible in ["\u{200b}", "\u{3164}\u{3164}", "\u{2800}", "\u{202e}\u{2066}", "\u{301}", "\u{ad}\n\u{feff}"] {
        assert_eq!(Prose::parse(invisible), Err(TextError::Invisible), "{invisible:?}");
    }
    assert_eq!(Prose::parse("a\u{0}b"), Err(TextError::Control));
    assert_eq!(Prose::parse("e\u{301}").unwrap().as_str(), "é");
    assert!(Prose::parse("👩\u{200d}⚕\u{fe0f}").is_ok());
}

/// What earlier versions accepted, as their logs hold it.
#[test]
fn stored_text_that_broke_no_rule_of_its_time_stays_readable() {
    for text in ["\u{200b}", "\u{3164}", "Alice\u{202e}eviL", "Pat\nIent", "http://example.org", "e\u{301}"] {
        let json = format!(
            r#"{{"kind":"chat.sent","data":{{"text":{},"thread":"care"}}}}"#,
            serde_json::to_string(text).unwrap()
        );
        let event: Event = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            json,
            "and keeps its bytes, which the chain of hashes covers"
        );
        assert!(
            serde_json::from_str::<rooms::party::Person>(&format!(
                r#"{{"id":"{}","name":{}}}"#,
                uuid::Uuid::nil(),
                serde_json::to_string(text).unwrap()
            ))
            .is_ok()
        );
    }
}
