//! Folds texts for search.
//!
//! The databases fold case differently: SQLite folds ASCII letters only, PostgreSQL those that its locale knows. So the hub
//! folds texts and queries itself, and stores folded texts in columns of their own.

use unicode_normalization::UnicodeNormalization;

/// Folds a text for search: without case, accents, and differences between composed and decomposed letters.
pub(super) fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for letter in text.nfkd().filter(|it| !is_accent(*it)).flat_map(char::to_lowercase) {
        match letter {
            // Letters that have no decomposition, as people type them without the special key.
            'ł' => folded.push('l'),
            'ø' => folded.push('o'),
            'đ' | 'ð' => folded.push('d'),
            'ħ' => folded.push('h'),
            'ŧ' => folded.push('t'),
            'ı' => folded.push('i'),
            'ς' => folded.push('σ'),
            'ß' => folded.push_str("ss"),
            'æ' => folded.push_str("ae"),
            'œ' => folded.push_str("oe"),
            'þ' => folded.push_str("th"),
            other if is_accent(other) => {}
            other => folded.push(other),
        }
    }
    folded
}

/// Whether this is a combining accent. Vowel signs, which other scripts also write as combining marks, are none.
fn is_accent(letter: char) -> bool {
    matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}
