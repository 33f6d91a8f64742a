//! The walls inside the hub: which of its parts each part may import.

use super::source::{Source, assert_none, code};

/// The parts of the hub from bottom to top, and the parts that each may import. `mod.rs` assembles them.
const HUB_IMPORTS: &[(&str, &[&str])] = &[
    ("admission", &[]),
    ("appender", &[]),
    ("fair_queue", &[]),
    ("marks", &[]),
    ("send_queue", &[]),
    ("submission", &[]),
    ("connection", &["send_queue"]),
    ("feeds", &["connection", "send_queue", "submission"]),
    ("cluster", &["feeds"]),
    ("call", &[]),
    ("services", &["appender", "cluster", "connection", "fair_queue", "feeds", "marks", "submission"]),
    ("room", &["call", "cluster", "connection", "feeds", "send_queue", "services", "submission"]),
    ("sync", &["Hub", "call", "cluster", "room"]),
];

/// Returns the part of the hub that a file belongs to, and whether `super` names the hub in it.
fn hub_part(path: &str) -> Option<(&str, bool)> {
    let rest = path.strip_prefix("src/hub/")?;
    let (part, file) = rest.split_once('/').unwrap_or((rest.trim_end_matches(".rs"), "mod.rs"));
    (part != "mod").then_some((part, file == "mod.rs"))
}

/// Returns the names that a line imports directly from the hub.
fn imported(line: &str, super_is_hub: bool) -> Vec<&str> {
    let mut rests: Vec<&str> = line.split("crate::hub::").skip(1).collect();
    if super_is_hub {
        rests.extend(line.split("super::").skip(1));
    }
    rests
        .into_iter()
        .map(|rest| {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            &rest[..end]
        })
        .collect()
}

fn breaches(all: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in all {
        let Some((part, super_is_hub)) = hub_part(&source.path) else { continue };
        let Some((_, allowed)) = HUB_IMPORTS.iter().find(|(row, _)| *row == part) else {
            found.push(format!("{}: add a row for {part}", source.path));
            continue;
        };
        for line in source.code().lines().filter(|line| !line.trim_start().starts_with("//")) {
            let mut names = imported(line, super_is_hub).into_iter();
            if names.any(|name| name != part && !allowed.contains(&name)) {
                found.push(format!("{}: {}", source.path, line.trim()));
            }
        }
    }
    found
}

#[test]
fn parts_of_the_hub_import_only_those_below() {
    assert_none(&breaches(&code()), "a part of the hub imports another that is not below it");
}

#[test]
fn rows_of_the_hub_form_no_circle() {
    let position = |part: &str| HUB_IMPORTS.iter().position(|(row, _)| *row == part);
    for (at, (part, allowed)) in HUB_IMPORTS.iter().enumerate() {
        for below in allowed.iter().filter(|name| **name != "Hub") {
            assert!(position(below).is_some_and(|below| below < at), "{below} has no row above that of {part}");
        }
    }
}

#[test]
fn forbidden_imports_inside_the_hub_are_found() {
    let source = |path: &str, line: &str| Source { path: path.to_owned(), text: format!("//! Doc.\n{line}\n") };
    let broken = [
        source("src/hub/call/mod.rs", "use super::room::Request;"),
        source("src/hub/call/session.rs", "use crate::hub::room::Request;"),
        source("src/hub/cluster/message.rs", "use crate::hub::room::task::RoomTask;"),
        source("src/hub/feeds.rs", "use super::{Hub, SubmitError};"),
        source("src/hub/novelty.rs", ""),
    ];
    for source in broken {
        assert_eq!(breaches(std::slice::from_ref(&source)).len(), 1, "{}: {}", source.path, source.text);
    }
    let fine = source("src/hub/room/task.rs", "use super::state::RoomState;\nuse crate::hub::call::RoomCalls;");
    assert!(breaches(&[fine]).is_empty());
}
