//! What a character shows on a screen.

use unicode_properties::{GeneralCategory as Category, UnicodeGeneralCategory};

/// What a character shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Something by itself: a letter, a digit, punctuation, a symbol.
    Visible,
    /// Something on the character before it.
    Mark,
    /// A space within a line.
    Space,
    /// Nothing, but Persian, Indic scripts and emoji need it between two characters: ZWNJ, ZWJ.
    Joiner,
    /// Nothing, but it chooses the shape of the character before it. Japanese names need it.
    Selector,
    /// Nothing, or a line break, or a change of direction, or nobody knows what.
    Hidden,
}

impl Class {
    /// Whether something of it is to be seen.
    pub(super) fn has_glyph(self) -> bool {
        matches!(self, Class::Visible | Class::Mark)
    }
}

pub(super) fn class(c: char) -> Class {
    match c {
        ' ' => Class::Space,
        '!'..='~' => Class::Visible,
        '\u{200c}' | '\u{200d}' => Class::Joiner,
        // Mongolian, general and ideographic variation selectors.
        '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' => Class::Selector,
        // Letters, marks and symbols without a shape: the Hangul fillers, the grapheme joiner, two Khmer vowels, the empty
        // Braille pattern, a null note head.
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{34f}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}'
        | '\u{1d159}' => Class::Hidden,
        _ => by_category(c.general_category()),
    }
}

fn by_category(category: Category) -> Class {
    match category {
        Category::UppercaseLetter
        | Category::LowercaseLetter
        | Category::TitlecaseLetter
        | Category::ModifierLetter
        | Category::OtherLetter
        | Category::DecimalNumber
        | Category::LetterNumber
        | Category::OtherNumber
        | Category::ConnectorPunctuation
        | Category::DashPunctuation
        | Category::OpenPunctuation
        | Category::ClosePunctuation
        | Category::InitialPunctuation
        | Category::FinalPunctuation
        | Category::OtherPunctuation
        | Category::MathSymbol
        | Category::CurrencySymbol
        | Category::ModifierSymbol
        | Category::OtherSymbol => Class::Visible,
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark => Class::Mark,
        Category::SpaceSeparator => Class::Space,
        Category::LineSeparator
        | Category::ParagraphSeparator
        | Category::Control
        | Category::Format
        | Category::Surrogate
        | Category::PrivateUse
        | Category::Unassigned => Class::Hidden,
    }
}
