//! What is wrong with JSON that was not understood, in words that repeat no value: a value may be a patient's.

use serde_json::error::Category;

use super::code::Code;

/// The code and the sentence for JSON that could not be read. Field names and expected types may be named, for they are
/// the protocol's; serde's own message is not passed on, because it can quote what was sent.
pub fn parse_error(error: &serde_json::Error) -> (Code, String) {
    let text = error.to_string();
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => (
            Code::Malformed,
            format!("not JSON, or nested too deeply, at line {} column {}", error.line(), error.column()),
        ),
        Category::Data if RULES.iter().any(|rule| text.starts_with(rule)) => {
            (Code::Invalid, sentence(&text).to_owned())
        }
        Category::Data if text.starts_with("missing field ") => (Code::Malformed, sentence(&text).to_owned()),
        Category::Data => match (unknown_field(&text), text.rsplit_once("expected ")) {
            (true, _) => (Code::Malformed, "an unknown field: the protocol names every field".to_owned()),
            (false, Some((_, expected))) => {
                (Code::Malformed, format!("a wrong value: expected {}", sentence(expected)))
            }
            (false, None) => (Code::Malformed, "a wrong value".to_owned()),
        },
    }
}

/// How the sentences about values begin that break a rule; they are the engine's own and quote nothing.
const RULES: [&str; 3] = ["text must ", "sdp must ", "candidate must "];

fn unknown_field(text: &str) -> bool {
    text.starts_with("unknown field ")
}

/// Without the position that serde appends.
fn sentence(text: &str) -> &str {
    text.split(" at line ").next().unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::client::ClientFrame;

    fn explained(json: &str) -> (Code, String) {
        parse_error(&serde_json::from_str::<ClientFrame>(json).expect_err("hostile"))
    }

    #[test]
    fn no_value_that_was_sent_is_repeated() {
        for json in [
            r#"{"type":"join","room":"SECRET","after":1}"#,
            r#"{"type":"join","room":"00000000-0000-0000-0000-000000000000","after":"SECRET"}"#,
            r#"{"type":"SECRET"}"#,
            r#"{"type":"beat","SECRET":1}"#,
            r#"{"type":"beat""SECRET"#,
            r#"["SECRET"]"#,
        ] {
            let (_, message) = explained(json);
            assert!(!message.contains("SECRET"), "{message}");
        }
    }

    #[test]
    fn a_rule_about_text_is_told_apart_from_a_wrong_frame() {
        let chat = |text: &str| {
            format!(
                r#"{{"type":"command","id":"{0}","room":"{0}","command":{{"kind":"chat.send","data":{{"text":"{text}"}}}}}}"#,
                uuid::Uuid::nil()
            )
        };
        assert_eq!(explained(&chat("   ")), (Code::Invalid, "text must not be empty".to_owned()));
        assert_eq!(explained(r#"{"type":"leave"}"#), (Code::Malformed, "missing field `room`".to_owned()));
    }
}
