//! The walls inside `integrations`: adapters know nothing of each other. Only `integrations/mod.rs` assembles them.

use super::source::{Source, assert_none, code};

const ADAPTERS: [&str; 5] = ["courier", "mail", "payment", "push", "webhook"];

/// Returns whether a line of code names another adapter than the one that the file belongs to.
fn names_other_adapter(path: &str, line: &str) -> bool {
    let Some(rest) = path.strip_prefix("src/integrations/").filter(|rest| *rest != "mod.rs") else { return false };
    let (own, to_integrations) = match rest.split_once('/') {
        Some((folder, _)) => (folder, "super::super::"),
        None => (rest.trim_end_matches(".rs"), "super::"),
    };
    ["crate::integrations::", to_integrations].iter().any(|prefix| {
        line.split(prefix).skip(1).any(|rest| {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            rest[..end] != *own && ADAPTERS.contains(&&rest[..end])
        })
    })
}

fn breaches(all: &[Source]) -> Vec<String> {
    let lines = all.iter().flat_map(|source| source.code().lines().map(move |line| (source, line.trim())));
    lines
        .filter(|(source, line)| !line.starts_with("//") && names_other_adapter(&source.path, line))
        .map(|(source, line)| format!("{}: {line}", source.path))
        .collect()
}

#[test]
fn adapters_do_not_import_each_other() {
    let all = code();
    for adapter in ADAPTERS {
        let (folder, file) = (format!("src/integrations/{adapter}/"), format!("src/integrations/{adapter}.rs"));
        assert!(all.iter().any(|it| it.path.starts_with(&folder) || it.path == file), "{adapter} exists");
    }
    assert_none(&breaches(&all), "an adapter imports another");
}

#[test]
fn adapters_that_import_each_other_are_found() {
    let source = |path: &str, line: &str| Source { path: path.to_owned(), text: format!("//! Doc.\n{line}\n") };
    let broken = [
        source("src/integrations/payment/adapter.rs", "use crate::integrations::courier::CourierClient;"),
        source("src/integrations/mail/adapter.rs", "use super::super::push::recipients::Notice;"),
        source("src/integrations/webhook.rs", "use super::payment::PaymentClient;"),
        source("src/integrations/inbound.rs", "use super::courier::CourierEvent;"),
    ];
    for source in broken {
        assert_eq!(breaches(std::slice::from_ref(&source)).len(), 1, "{}: {}", source.path, source.text);
    }
    let fine = source("src/integrations/push/adapter.rs", "use crate::integrations::push::recipients::Notice;");
    assert!(breaches(&[fine]).is_empty());
}
