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
        let (text, len) = match self {
            Rule::Prose => clean_prose(text)?,
            Rule::Name | Rule::Line => check_line(&text).map(|len| (text, len))?,
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

/// What becomes a line feed: CR, NEL, and Unicode's line and paragraph separators. CR LF is one of them.
const LINE_BREAKS: [char; 4] = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Checks text of several lines in one pass, and returns it with line feeds as its only line breaks, and its length in
/// characters.
fn clean_prose(text: Cow<'_, str>) -> Result<(Cow<'_, str>, usize), TextError> {
    let (mut len, mut is_visible, mut has_breaks) = (0, false, false);
    for c in text.chars() {
        len += 1;
        if LINE_BREAKS.contains(&c) {
            has_breaks = true;
        } else if c.is_control() && !matches!(c, '\n' | '\t') {
            return Err(TextError::Control);
        }
        is_visible = is_visible || class(c) == Class::Visible;
    }
    if !is_visible {
        return Err(TextError::Invisible);
    }
    if !has_breaks {
        return Ok((text, len));
    }
    let text = text.replace("\r\n", "\n").replace(LINE_BREAKS, "\n");
    let len = text.chars().count();
    Ok((Cow::Owned(text), len))
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
