//! Hostile input: a malformed frame is an error, never a panic, and the error never quotes it.

use proptest::prelude::*;
use rooms::command::Command;
use rooms::record::Record;
use rooms::wire::client::ClientFrame;

use crate::support::*;

const ID: &str = "01900000-0000-7000-8000-000000000001";

fn frame(command: &str) -> String {
    format!(r#"{{"type":"command","id":"{ID}","room":"{ID}","command":{command}}}"#)
}

/// Well-formed frames: they prove that the malformed ones fail for the intended reason.
fn good() -> Vec<String> {
    vec![
        r#"{"type":"hello","token":"t"}"#.into(),
        r#"{"type":"beat"}"#.into(),
        format!(r#"{{"type":"join","room":"{ID}","after":0}}"#),
        r#"{"type":"subscribe","feed":{"name":"me"}}"#.into(),
        frame(r#"{"kind":"chat.send","data":{"text":"hello"}}"#),
        frame(r#"{"kind":"chat.send","data":{"text":"hello","thread":"care"}}"#),
        frame(&format!(r#"{{"kind":"chat.send","data":{{"text":"hello","thread":{{"pharmacy":"{ID}"}}}}}}"#)),
        frame(r#"{"kind":"consultation.admit","data":{}}"#),
    ]
}

fn bad() -> Vec<(&'static str, String)> {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let chat = |text: &str| frame(&format!(r#"{{"kind":"chat.send","data":{{"text":{text}}}}}"#));
    vec![
        ("nothing", String::new()),
        ("no JSON", "hello".into()),
        ("half a frame", good()[4][..30].into()),
        ("two frames", good()[1].repeat(2)),
        ("an array", "[]".into()),
        ("null", "null".into()),
        ("unknown type", r#"{"type":"root"}"#.into()),
        ("no type", "{}".into()),
        ("unknown field in the frame", r#"{"type":"beat","extra":1}"#.into()),
        ("unknown field beside the command", frame(r#"{"kind":"chat.send","data":{"text":"a"},"as":"doctor"}"#)),
        ("unknown field in the command", frame(r#"{"kind":"chat.send","data":{"text":"a","by":"doctor"}}"#)),
        ("unknown kind", frame(r#"{"kind":"chat.delete","data":{}}"#)),
        ("no data", frame(r#"{"kind":"consultation.admit"}"#)),
        ("data for a command without any", frame(r#"{"kind":"consultation.admit","data":{"now":true}}"#)),
        ("wrong type", frame(r#"{"kind":"chat.send","data":{"text":7}}"#)),
        ("wrong type of an id", good()[2].replace(&format!("\"{ID}\""), "7")),
        ("not an id", good()[2].replace(ID, "../../etc/passwd")),
        ("negative number", good()[2].replace("\"after\":0", "\"after\":-1")),
        ("fraction", good()[2].replace("\"after\":0", "\"after\":0.5")),
        ("too large a number", good()[2].replace("\"after\":0", "\"after\":1e30")),
        ("repeated field", r#"{"type":"hello","token":"a","token":"b"}"#.into()),
        ("empty text", chat(r#""""#)),
        ("blank text", chat(r#""  \n ""#)),
        ("NUL in text", chat(r#""a\u0000b""#)),
        ("bell in text", chat(r#""a\u0007b""#)),
        ("raw line feed in a string", chat("\"a\nb\"")),
        ("half a surrogate pair", chat(r#""\ud800""#)),
        ("too long a text", chat(&format!("\"{}\"", "a".repeat(4001)))),
        ("too long in characters of four bytes", chat(&format!("\"{}\"", "\u{1f600}".repeat(4001)))),
        ("deep array", deep("[", "]")),
        ("deep object", deep(r#"{"a":"#, "}").replace("}}", "1}}")),
        ("deep array as data", frame(&format!(r#"{{"kind":"chat.send","data":{}}}"#, deep("[", "]")))),
        ("deep array as text", chat(&deep("[", "]"))),
        (
            "a time before 1970",
            frame(&format!(
                r#"{{"kind":"delivery.move","data":{{"delivery":"{ID}","to":"picked_up","occurred_at":"-0044-03-15T12:00:00Z"}}}}"#
            )),
        ),
        (
            "a time after 9999",
            frame(&format!(
                r#"{{"kind":"delivery.move","data":{{"delivery":"{ID}","to":"rescheduled","window":"+12026-03-15T12:00:00Z"}}}}"#
            )),
        ),
        (
            "a quantity beyond its type",
            frame(
                r#"{"kind":"prescription.draft","data":{"items":[{"medicine":"a","dosage":"b","quantity":70000,"days":1}]}}"#,
            ),
        ),
    ]
}

#[test]
fn malformed_frames_are_rejected() {
    for text in good() {
        serde_json::from_str::<ClientFrame>(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for (what, text) in bad() {
        assert!(serde_json::from_str::<ClientFrame>(&text).is_err(), "{what} was accepted");
        assert!(serde_json::from_str::<Record>(&text).is_err(), "{what} was accepted as a record");
    }
}

#[test]
fn texts_are_trimmed_and_never_printed() {
    let parsed: rooms::text::Line = text("  Ünïcode\t ");
    assert_eq!(parsed.as_str(), "Ünïcode");
    assert!(!format!("{parsed:?}").contains("code"));
    let secret = frame(&format!(r#"{{"kind":"chat.send","data":{{"text":"I have{}"}}}}"#, " HIV".repeat(2000)));
    let error = serde_json::from_str::<ClientFrame>(&secret).expect_err("too long");
    assert!(!error.to_string().contains("HIV"), "{error}");
}

/// Arbitrary JSON, a few levels deep, with some of the protocol's own names.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let word = prop_oneof![
        prop::sample::select(vec![
            "kind",
            "data",
            "text",
            "thread",
            "care",
            "pharmacy",
            "chat.send",
            "type",
            "command",
            "items"
        ]),
        prop::sample::select(vec!["", "\u{0}", "a\u{7}", "\u{202e}", "null", "record.open", "reason", "delivery.move"]),
    ]
    .prop_map(str::to_owned);
    let text = prop_oneof![word.clone(), "\\PC{0,8}"];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        text.prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 6, move |inner| {
        let members = prop::collection::hash_map(word.clone(), inner.clone(), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(serde_json::Value::Array),
            members.prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Parses the input. If it is accepted, it must parse back unchanged.
fn parses_back_or_is_rejected(bytes: &[u8]) {
    if let Ok(frame) = serde_json::from_slice::<ClientFrame>(bytes) {
        let again = serde_json::to_vec(&frame).expect("frames are JSON");
        assert_eq!(serde_json::from_slice::<ClientFrame>(&again).expect("reads back"), frame);
    }
    if let Ok(record) = serde_json::from_slice::<Record>(bytes) {
        assert_eq!(serde_json::from_str::<Record>(&record.canonical()).expect("reads back"), record);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Replaces, truncates and inserts bytes anywhere.
    #[test]
    fn mangled_frames_never_panic(
        which in 0usize..8,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let mut bytes = good()[which].clone().into_bytes();
        for (at, with, how) in edits {
            let at = at.index(bytes.len() + 1);
            match how {
                0 if at < bytes.len() => bytes[at] = with,
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, with),
            }
        }
        parses_back_or_is_rejected(&bytes);
    }

    /// Uses any text as a message, and any JSON in place of any part of a frame.
    #[test]
    fn arbitrary_content_never_panics(text in any::<String>(), value in json()) {
        parses_back_or_is_rejected(text.as_bytes());
        let chat = serde_json::json!({"kind": "chat.send", "data": {"text": text}});
        let frames = [
            frame(&chat.to_string()),
            frame(&value.to_string()),
            frame(&serde_json::json!({"kind": "chat.send", "data": value}).to_string()),
            frame(&serde_json::json!({"kind": "chat.send", "data": {"text": "a", "thread": value}}).to_string()),
            serde_json::json!({"kind": "chat.sent", "data": value, "room": ID, "seq": 1, "at": value}).to_string(),
            value.to_string(),
        ];
        for frame in frames {
            parses_back_or_is_rejected(frame.as_bytes());
        }
        let _ = serde_json::from_value::<Command>(chat);
    }
}
