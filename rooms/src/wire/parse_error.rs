//! Parse errors, in sentences that never quote a value: a value may be patient data.

use serde_json::error::Category;

use super::code::Code;

/// Returns the code and the sentence for JSON that does not parse. It may name fields and expected types, which belong to the
/// protocol. It does not repeat serde's message, which can quote the input.
pub fn parse_error(error: &serde_json::Error) -> (Code, String) {
    let text = error.to_string();
    match error.classify() {
        Category::Syntax | Category::Eof | Category::Io => (
            Code::Malformed,
            format!("invalid JSON, or nested too deeply, at line {} column {}", error.line(), error.column()),
        ),
        Category::Data if RULE_PREFIXES.iter().any(|rule| text.starts_with(rule)) => {
            (Code::Invalid, sentence(&text).to_owned())
        }
        Category::Data if text.starts_with("missing field ") => (Code::Malformed, sentence(&text).to_owned()),
        Category::Data => match (unknown_field(&text), text.rsplit_once("expected ")) {
            (true, _) => (Code::Malformed, "unknown field: use only the fields that the protocol defines".to_owned()),
            (false, Some((_, expected))) => (Code::Malformed, format!("wrong value: expected {}", sentence(expected))),
            (false, None) => (Code::Malformed, "wrong value".to_owned()),
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
    use crate::wire::client::ClientFrame;

    fn parsed(json: &str) -> (Code, String) {
        parse_error(&serde_json::from_str::<ClientFrame>(json).expect_err("the frame is invalid"))
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
            let (_, message) = parsed(json);
            assert!(!message.contains("SECRET"), "{message}");
        }
    }

    #[test]
    fn invalid_text_and_a_malformed_frame_have_different_codes() {
        let chat = |text: &str| {
            format!(
                r#"{{"type":"command","id":"{0}","room":"{0}","command":{{"kind":"chat.send","data":{{"text":"{text}"}}}}}}"#,
                uuid::Uuid::nil()
            )
        };
        assert_eq!(parsed(&chat("   ")), (Code::Invalid, "text must not be empty".to_owned()));
        assert_eq!(parsed(r#"{"type":"leave"}"#), (Code::Malformed, "missing field `room`".to_owned()));
    }
}
