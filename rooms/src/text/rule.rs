//! The rules of texts: what is normalized, what is refused.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::TextError;
use super::character::{Class, class};
use super::link::contains_link;

/// What a text may contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// A line without a web address.
    Name,
    /// One visible line.
    Line,
    /// At least one visible character.
    Prose,
}

impl Rule {
    /// Returns the text in the form that is stored: trimmed, in NFC, with line feeds as its only line breaks.
    pub(super) fn clean(self, raw: &str, max: usize) -> Result<Box<str>, TextError> {
        let text = raw.trim();
        if text.is_empty() {
            return Err(TextError::Empty);
        }
        let text = normalize(text);
        let text = match self {
            Rule::Prose => unify_line_breaks(text),
            Rule::Name | Rule::Line => text,
        };
        let len = match self {
            Rule::Prose => check_prose(&text)?,
            Rule::Name | Rule::Line => check_line(&text)?,
        };
        check_length(len, max)?;
        if self == Rule::Name && contains_link(&text) {
            return Err(TextError::Link);
        }
        Ok(text.into())
    }
}

pub(super) fn check_length(len: usize, max: usize) -> Result<(), TextError> {
    if len > max { Err(TextError::TooLong { max, len }) } else { Ok(()) }
}

/// Normalizes to NFC. Text that already is, which means nearly all, is only looked at.
fn normalize(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Turns CR LF, CR and Unicode's line and paragraph separators into line feeds.
fn unify_line_breaks(text: Cow<'_, str>) -> Cow<'_, str> {
    const BREAKS: [char; 4] = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];
    if !text.contains(BREAKS) {
        return text;
    }
    Cow::Owned(text.replace("\r\n", "\n").replace(BREAKS, "\n"))
}

/// Checks text of several lines, and returns its length in characters.
fn check_prose(text: &str) -> Result<usize, TextError> {
    let (mut len, mut visible) = (0, false);
    for c in text.chars() {
        len += 1;
        if c.is_control() && !matches!(c, '\n' | '\t') {
            return Err(TextError::Control);
        }
        visible = visible || class(c) == Class::Visible;
    }
    if visible { Ok(len) } else { Err(TextError::Invisible) }
}

/// Checks one line, and returns its length in characters.
fn check_line(text: &str) -> Result<usize, TextError> {
    let (mut len, mut visible, mut previous) = (0, false, None);
    for c in text.chars() {
        len += 1;
        let this = class(c);
        let takes_joiner = || previous.is_some_and(|(class, c): (Class, char)| class.has_glyph() && !c.is_ascii());
        match this {
            Class::Visible => visible = true,
            Class::Mark | Class::Space => {}
            // Without a letter of a script that needs them, they only make two names look alike.
            Class::Joiner | Class::Selector if takes_joiner() => {}
            Class::Joiner | Class::Selector | Class::Hidden => return Err(TextError::NotOneLine),
        }
        previous = Some((this, c));
    }
    match previous {
        Some((Class::Joiner, _)) => Err(TextError::NotOneLine),
        _ if visible => Ok(len),
        _ => Err(TextError::Invisible),
    }
}
