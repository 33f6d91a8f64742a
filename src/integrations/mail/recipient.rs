//! A recipient's name as a mail may show it. People choose their names, so a name is foreign text in a mail that the clinic
//! signs: it must not carry a message of its own.

/// Characters of the longest name that a mail shows.
const MAX_NAME_CHARS: usize = 80;

/// Returns the name, or `None` if the mail must do without it: if it is long, not one visible line, or contains something
/// that a mail program shows as a link.
pub fn presentable_name(name: &str) -> Option<&str> {
    let name = name.trim();
    let is_short = (1..=MAX_NAME_CHARS).contains(&name.chars().count());
    let is_visible = name.chars().any(char::is_alphanumeric) && !name.chars().any(is_invisible);
    (is_short && is_visible && !has_link(name)).then_some(name)
}

/// Whether a character is a control character, or changes the direction or visibility of its neighbours.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Whether a mail program may show a part of the name as a link: an address, a URL, or a host name.
fn has_link(name: &str) -> bool {
    let is_dot = |letter: char| matches!(letter, '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    let has_host = name.split(char::is_whitespace).any(|word| {
        // At least two letters follow the last dot: "example.org", and not "J.R." or "Dr.".
        word.rsplit_once(is_dot).is_some_and(|(host, end)| !host.is_empty() && end.chars().count() >= 2)
    });
    has_host || name.contains(['@', '/', '\\', ':', '\u{ff20}', '\u{ff0f}', '\u{ff1a}'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_and_messages_are_not() {
        for name in ["Pat Ient", "Dr. Dana O'Kafor-Łukasz", "J.R. Smith", "김민수", "Anne Marie (Ann) <3", "Ali 2"]
        {
            assert_eq!(presentable_name(name), Some(name));
        }
        for name in [
            "Your account is locked: visit http://evil.example",
            "evil.example",
            "go to evil.example now",
            "help@evil.example",
            "Pat\nBcc: everybody@example.org",
            "Alice\u{202e}eviL",
            "\u{200b}",
            "\u{3164}",
            "...",
            "evil。example",
            &"x".repeat(81),
        ] {
            assert_eq!(presentable_name(name), None, "{name}");
        }
    }
}
