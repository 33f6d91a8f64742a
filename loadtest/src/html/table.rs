//! Tables and numbers.

use std::fmt::Write as _;

use super::plot::escape;

/// A table that scrolls by itself where it is too wide. The cells are markup.
pub fn table(out: &mut String, caption: &str, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let caption = escape(caption);
    let _ = write!(
        out,
        "<div class=\"scroll\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\"><table><caption>{caption}</caption>\
         <thead><tr>"
    );
    for head in heads {
        let _ = match *head {
            "" => write!(out, "<td></td>"),
            head => write!(out, "<th scope=\"col\">{}</th>", escape(head)),
        };
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

/// A long table, shown on demand.
pub fn folded(out: &mut String, caption: &str, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<details><summary>{}: {} rows</summary>", escape(caption), rows.len());
    table(out, caption, heads, rows);
    out.push_str("</details>");
}

/// Milliseconds of microseconds.
pub fn ms(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

/// A quantile as a percentage, with as many nines as it has.
pub fn percent(quantile: f64) -> String {
    let text = format!("{:.4}", quantile * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A number for people: three digits that count, thousands apart.
pub fn number(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if !value.is_finite() => return "–".to_owned(),
        _ if size >= 100.0 || size.fract() == 0.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let mut out = String::new();
    let length = whole.trim_start_matches('-').len();
    for (at, digit) in whole.char_indices() {
        let left = whole.len() - at;
        if digit.is_ascii_digit() && left < length && left.is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if part.is_empty() { out } else { format!("{out}.{part}") }
}
