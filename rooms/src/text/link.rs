//! Web addresses in names. A mail program turns `example.org` into a link, so a name with one would make the clinic's own
//! letters lead anywhere.

/// Whether a mail program may show a part of this line as a link.
pub(super) fn contains_link(line: &str) -> bool {
    line.contains("://") || line.split_whitespace().any(is_link)
}

/// Whether a word contains a host name. `J.R.R. Tolkien`, `St.Mary` and `Dr.Kim` are none: their last label has a capital and
/// follows a label of at most two letters.
fn is_link(word: &str) -> bool {
    let is_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '\u{3002}' | '\u{ff0e}' | '\u{ff61}');
    word.split(|c| !is_host(c)).any(|part| {
        let mut labels = part.rsplit(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']).skip_while(|label| label.is_empty());
        let (Some(last), Some(before)) = (labels.next(), labels.next()) else { return false };
        if before.is_empty() || last.chars().count() < 2 || !last.chars().any(char::is_alphabetic) {
            return false;
        }
        let is_abbreviation = before.chars().count() <= 2 && last.starts_with(char::is_uppercase);
        !is_abbreviation || word.contains(['/', '@', ':'])
    })
}
