//! Parse errors, in sentences that never quote a value: a value may be patient data.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::call::{SendCandidate, SendDescription};
use super::client::ClientFrame;
use super::code::Code;
use crate::command::Command;
use crate::field_path::invalid_field;
use crate::text::JSON_ERROR_PREFIX;

/// Why JSON from outside is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    pub code: Code,
    /// May name fields and expected types, which belong to the protocol. Does not repeat serde's message, which can quote the
    /// input.
    pub message: String,
    /// The path of the field that breaks a rule, e.g. `items[1].dosage`; always present with [`Code::Invalid`]. In a command
    /// or a call signal it is relative to `data`.
    pub field: Option<String>,
}

/// Explains why `json` is no `T`. Inside a tagged enum a path is lost, unless it is a command in `command` or a frame in
/// `frames`.
pub fn body_error<T: DeserializeOwned>(json: &[u8], error: &serde_json::Error) -> ParseError {
    explain(error, || {
        let body: Value = serde_json::from_slice(json).ok()?;
        let mut frames = body["frames"].as_array().into_iter().flatten().enumerate();
        let frame = frames.find(|(_, frame)| ClientFrame::deserialize(*frame).is_err());
        let in_frame = frame.and_then(|(at, frame)| Some(format!("frames[{at}].{}", field_of_frame(frame)?)));
        in_frame
            .or_else(|| field_of_command(&body["command"]))
            .or_else(|| invalid_field::<T, _>(&mut serde_json::Deserializer::from_slice(json)))
    })
}

/// Explains why `json` is no frame of a client.
pub fn frame_error(json: &str, error: &serde_json::Error) -> ParseError {
    explain(error, || field_of_frame(&serde_json::from_str(json).ok()?))
}

fn field_of_frame(frame: &Value) -> Option<String> {
    let signal = &frame["signal"];
    match (frame["type"].as_str()?, signal["kind"].as_str()) {
        ("hello", _) => Some("replaces".to_owned()),
        ("command", _) => field_of_command(&frame["command"]),
        ("call", Some("candidate")) => invalid_field::<SendCandidate, _>(&signal["data"]),
        ("call", Some("description")) => invalid_field::<SendDescription, _>(&signal["data"]),
        _ => None,
    }
}

fn field_of_command(command: &Value) -> Option<String> {
    Command::invalid_field(command["kind"].as_str()?, &command["data"])
}

fn explain(error: &serde_json::Error, path: impl FnOnce() -> Option<String>) -> ParseError {
    let text = error.to_string();
    let malformed = |message: String| ParseError { code: Code::Malformed, message, field: None };
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => {
            malformed(format!("invalid JSON, or nested too deeply, at line {} column {}", error.line(), error.column()))
        }
        Category::Data if RULE_PREFIXES.iter().any(|rule| text.starts_with(rule)) => {
            let field = path();
            let sentence = sentence(&text);
            let message = match (sentence.strip_prefix(JSON_ERROR_PREFIX), &field) {
                (Some(why), Some(field)) => format!("{field} {why}"),
                _ => sentence.to_owned(),
            };
            ParseError { code: Code::Invalid, message, field }
        }
        Category::Data if text.starts_with("missing field ") => malformed(sentence(&text).to_owned()),
        Category::Data => match (unknown_field(&text), text.rsplit_once("expected ")) {
            (true, _) => malformed("unknown field: use only the fields that the protocol defines".to_owned()),
            (false, Some((_, expected))) => malformed(format!("wrong value: expected {}", sentence(expected))),
            (false, None) => malformed("wrong value".to_owned()),
        },
    }
}

/// The beginnings of the engine's own sentences about invalid values. These sentences quote nothing.
const RULE_PREFIXES: [&str; 3] = ["text must ", "sdp must ", "candidate must "];

fn unknown_field(text: &str) -> bool {
    text.starts_with("unknown field ")
}

/// Strips the position that serde appends.
fn sentence(text: &str) -> &str {
    text.split(" at line ").next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: &str) -> ParseError {
        frame_error(json, &serde_json::from_str::<ClientFrame>(json).expect_err("the frame is invalid"))
    }

    fn command(kind: &str, data: &str) -> String {
        let id = uuid::Uuid::nil();
        format!(r#"{{"type":"command","id":"{id}","room":"{id}","command":{{"kind":"{kind}","data":{data}}}}}"#)
    }

    #[test]
    fn no_message_quotes_the_input() {
        for json in [
            r#"{"type":"join","room":"SECRET","after":1}"#,
            r#"{"type":"join","room":"00000000-0000-0000-0000-000000000000","after":"SECRET"}"#,
            r#"{"type":"SECRET"}"#,
            r#"{"type":"beat","SECRET":1}"#,
            r#"{"type":"beat""SECRET"#,
            r#"["SECRET"]"#,
        ] {
            let ParseError { message, .. } = parsed(json);
            assert!(!message.contains("SECRET"), "{message}");
        }
    }

    #[test]
    fn invalid_text_and_a_malformed_frame_have_different_codes() {
        let invalid = parsed(&command("chat.send", r#"{"text":"  "}"#));
        assert_eq!((invalid.code, invalid.message.as_str()), (Code::Invalid, "text must not be empty"));
        let malformed = parsed(r#"{"type":"leave"}"#);
        assert_eq!((malformed.code, malformed.message.as_str()), (Code::Malformed, "missing field `room`"));
    }

    #[test]
    fn an_invalid_text_names_its_field() {
        let id = uuid::Uuid::nil();
        let item = |medicine: &str, dosage: &str| {
            format!(r#"{{"medicine":"{medicine}","dosage":"{dosage}","quantity":1,"days":1}}"#)
        };
        let items = format!(r#"{{"items":[{},{}]}}"#, item("A", "b"), item("A", ""));
        let address = format!(r#"{{"prescription":"{id}","pharmacy":"{id}","hand_over":{{"delivery":"\u200b"}}}}"#);
        let candidate = format!(
            r#"{{"type":"call","room":"{id}","call":"{id}","signal":{{"kind":"candidate","data":
            {{"to":"{id}","epoch":1,"candidate":{{"candidate":"","sdp_mid":""}}}}}}}}"#
        );
        for (json, field) in [
            (command("chat.send", r#"{"text":""}"#), "text"),
            (command("consultation.cancel", r#"{"reason":""}"#), "reason"),
            (command("guest.invite", r#"{"name":"a\nb","kind":"relative"}"#), "name"),
            (command("consultation.complete", r#"{"note":"\u3164"}"#), "note"),
            (command("prescription.draft", &items), "items[1].dosage"),
            (command("prescription.send", &address), "hand_over.delivery"),
            (r#"{"type":"hello","replaces":""}"#.to_owned(), "replaces"),
            (candidate, "candidate.sdp_mid"),
        ] {
            let error = parsed(&json);
            assert_eq!((error.code, error.field.as_deref()), (Code::Invalid, Some(field)), "{json}");
            assert!(error.message.starts_with(&format!("{field} must ")), "{}", error.message);
        }
    }
}
