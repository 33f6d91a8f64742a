//! Tables.

use std::fmt::Write as _;

use super::text::escape;

/// Renders a table that scrolls horizontally if it is too wide. Cells are markup.
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

/// Renders a collapsed table.
pub fn folded(out: &mut String, caption: &str, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "<details><summary>{}: {} rows</summary>", escape(caption), rows.len());
    table(out, caption, heads, rows);
    out.push_str("</details>");
}
