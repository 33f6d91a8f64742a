//! The walls inside the largest folders of the server: which of its parts each part may import.

use super::source::{Source, assert_none, code};

/// A folder with its parts from bottom to top. `mod.rs` assembles them.
struct Folder {
    name: &'static str,
    /// Each part, and the parts that it may import.
    parts: &'static [(&'static str, &'static [&'static str])],
    /// Whether parts may import what `mod.rs` declares itself in a braced list, such as `super::{Store, read}`.
    imports_root: bool,
}

const FOLDERS: [Folder; 2] = [
    Folder {
        name: "hub",
        parts: &[
            ("admission", &[]),
            ("appender", &[]),
            ("fair_queue", &[]),
            ("marks", &[]),
            ("send_queue", &[]),
            ("submission", &[]),
            ("wakes", &[]),
            ("access_log", &["submission"]),
            ("connection", &["send_queue"]),
            ("connection_pool", &[]),
            ("feeds", &["connection", "send_queue", "submission"]),
            ("cluster", &["feeds"]),
            ("call", &[]),
            (
                "services",
                &["access_log", "appender", "cluster", "connection", "fair_queue", "feeds", "marks", "submission"],
            ),
            ("room", &["call", "cluster", "connection", "feeds", "send_queue", "services", "submission"]),
            ("sync", &["Hub", "call", "cluster", "room"]),
        ],
        imports_root: false,
    },
    Folder {
        name: "store",
        parts: &[
            ("batching", &[]),
            ("columns", &[]),
            ("error", &[]),
            ("folding", &[]),
            ("page", &[]),
            ("record", &[]),
            ("audit", &["columns", "page"]),
            ("devices", &["batching", "columns"]),
            ("dispatches", &["batching", "columns", "page"]),
            ("feeds", &["columns", "page"]),
            ("idempotency", &[]),
            ("maintenance", &[]),
            ("marks", &[]),
            ("partners", &[]),
            ("room_lookup", &["columns", "page"]),
            ("sandbox", &["columns"]),
            ("sessions", &["columns"]),
            ("slots", &["columns"]),
            ("users", &["columns", "folding", "page"]),
            ("search", &["columns", "folding", "page", "users"]),
            ("webhooks", &["columns"]),
            ("outbox", &["batching", "columns", "record"]),
            ("projection", &["batching", "columns", "record"]),
            ("log", &["batching", "columns", "outbox", "projection", "record"]),
            ("connect", &["log"]),
            ("history", &["connect", "record"]),
        ],
        imports_root: true,
    },
];

impl Folder {
    /// Returns the part that a file belongs to, and whether `super` names the folder in it.
    fn part<'a>(&self, path: &'a str) -> Option<(&'a str, bool)> {
        let rest = path.strip_prefix("src/")?.strip_prefix(self.name)?.strip_prefix('/')?;
        let (part, file) = rest.split_once('/').unwrap_or((rest.trim_end_matches(".rs"), "mod.rs"));
        (part != "mod").then_some((part, file == "mod.rs"))
    }

    /// Returns the names that a line imports directly from the folder.
    fn imported<'a>(&self, line: &'a str, super_is_folder: bool) -> Vec<&'a str> {
        let prefix = format!("crate::{}::", self.name);
        let mut rests: Vec<&str> = line.split(prefix.as_str()).skip(1).collect();
        if super_is_folder {
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

    fn breaches(&self, all: &[Source]) -> Vec<String> {
        let mut found = Vec::new();
        for source in all {
            let Some((part, super_is_folder)) = self.part(&source.path) else { continue };
            let Some((_, allowed)) = self.parts.iter().find(|(row, _)| *row == part) else {
                found.push(format!("{}: add a row for {part}", source.path));
                continue;
            };
            let is_allowed = |name: &str| {
                name == part || allowed.contains(&name) || (self.imports_root && (name.is_empty() || is_item(name)))
            };
            for line in source.code().lines().filter(|line| !line.trim_start().starts_with("//")) {
                if self.imported(line, super_is_folder).into_iter().any(|name| !is_allowed(name)) {
                    found.push(format!("{}: {}", source.path, line.trim()));
                }
            }
        }
        found
    }
}

/// Returns whether a name is that of a type or a constant, not of a module.
fn is_item(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_uppercase())
}

#[test]
fn parts_of_a_folder_import_only_those_below() {
    let all = code();
    let found: Vec<String> = FOLDERS.iter().flat_map(|folder| folder.breaches(&all)).collect();
    assert_none(&found, "a part of a folder imports another that is not below it");
}

#[test]
fn rows_of_a_folder_form_no_circle() {
    for Folder { parts, .. } in &FOLDERS {
        let position = |part: &str| parts.iter().position(|(row, _)| *row == part);
        for (at, (part, allowed)) in parts.iter().enumerate() {
            for below in allowed.iter().filter(|name| !is_item(name)) {
                assert!(position(below).is_some_and(|below| below < at), "{below} has no row above that of {part}");
            }
        }
    }
}

#[test]
fn forbidden_imports_inside_a_folder_are_found() {
    let source = |path: &str, line: &str| Source { path: path.to_owned(), text: format!("//! Doc.\n{line}\n") };
    let found = |source: Source| -> usize {
        FOLDERS.iter().map(|folder| folder.breaches(std::slice::from_ref(&source)).len()).sum()
    };
    let broken = [
        source("src/hub/call/mod.rs", "use super::room::Request;"),
        source("src/hub/call/session.rs", "use crate::hub::room::Request;"),
        source("src/hub/cluster/message.rs", "use crate::hub::room::task::RoomTask;"),
        source("src/hub/feeds.rs", "use super::{Hub, SubmitError};"),
        source("src/hub/novelty.rs", ""),
        source("src/store/projection/write.rs", "use crate::store::log::append::Batch;"),
        source("src/store/outbox.rs", "use super::log::append::Batch;"),
    ];
    for source in broken {
        let line = format!("{}: {}", source.path, source.text);
        assert_eq!(found(source), 1, "{line}");
    }
    let fine = [
        source("src/hub/room/task.rs", "use super::state::RoomState;\nuse crate::hub::call::RoomCalls;"),
        source("src/store/outbox.rs", "use super::record::Append;\nuse super::{Store, StoreError, read};"),
    ];
    for source in fine {
        assert_eq!(found(source), 0);
    }
}
