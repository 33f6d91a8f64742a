//! The house rules that a compiler does not know: where imports may point, and what may not stand in the code.

use std::path::{Path, PathBuf};

/// Lines a file may have.
const LONGEST: usize = 450;

/// Parts of the server, and what of it each may import beside `config`, `clock` and `telemetry`. Files that stand alone (`demo`,
/// `seed`, `app`, `main`) are on top and import what they like.
const BELOW: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("clock", &[]),
    ("telemetry", &[]),
    ("store", &[]),
    ("turn", &[]),
    ("echo", &["turn"]),
    ("archive", &["store"]),
    ("auth", &["bus", "keyfile", "store"]),
    ("bus", &[]),
    ("hub", &["store", "bus"]),
    ("gateway", &["egress", "hub", "keyfile", "push", "store"]),
    ("push", &["egress", "keyfile", "store"]),
    ("egress", &["turn"]),
    ("keyfile", &[]),
    ("jobs", &["hub", "store", "gateway", "push"]),
    ("web", &["hub", "auth", "store", "echo", "gateway", "turn"]),
    ("ws", &["hub", "auth", "web"]),
    ("http", &["web", "hub", "auth", "store", "ws", "archive", "echo", "gateway", "push", "bus"]),
    ("lifecycle", &["hub"]),
    ("doctor", &["bus", "lifecycle", "push", "store"]),
];

/// Libraries and the parts of the server that may name them.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    ("axum::", &["web", "http", "ws", "auth", "lifecycle"]),
    ("redis::", &["bus"]),
    ("web_push::", &["push"]),
    ("reqwest::", &["egress", "config", "push", "gateway"]),
];

struct Source {
    /// From the root of the workspace.
    path: String,
    text: String,
}

impl Source {
    /// The part of the server: `src/hub/room.rs` and `src/hub.rs` are of `hub`.
    fn part(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        rest.split('/').next().map(|name| name.trim_end_matches(".rs"))
    }

    /// The code without its unit tests, which stand at the end.
    fn code(&self) -> &str {
        if self.path.contains("/tests") {
            return "";
        }
        let tests = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        &self.text[..tests]
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("node_modules") {
            walk(&path, found);
        }
    }
}

/// Every file below these folders whose name ends so.
fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut paths);
    }
    paths.retain(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    paths.sort();
    let read = |path: PathBuf| {
        // A picture among them may hold anything but a path that reads as one.
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a source can be read")).into_owned();
        let path = path.strip_prefix(root()).expect("it is below the root").display().to_string();
        Source { path, text }
    };
    paths.into_iter().map(read).collect()
}

fn code() -> Vec<Source> {
    let all = sources(&["src", "rooms/src", "loadtest/src"], &[".rs"]);
    assert!(all.len() > 60, "the sources are found");
    all
}

/// The lines of code, comments left out, that break a rule, with where they are.
fn breaches(all: &[Source], breaks: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in all {
        for (number, line) in source.code().lines().enumerate() {
            if !line.trim_start().starts_with("//") && breaks(source, line) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    found
}

#[track_caller]
fn none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn imports_point_down_only() {
    let all = code();
    let breaks = |source: &Source, line: &str| {
        let Some(own) = source.part() else { return false };
        let Some((_, below)) = BELOW.iter().find(|(part, _)| *part == own) else { return false };
        line.split("crate::").skip(1).any(|rest| {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            let other = &rest[..end];
            other != own && !matches!(other, "config" | "clock" | "telemetry") && !below.contains(&other)
        })
    };
    none(&breaches(&all, breaks), "a part imports what is not below it");
    let crates = |source: &Source, line: &str| {
        let engine = source.path.starts_with("rooms/")
            && ["wardroom::", "loadtest::", "tokio::"].iter().any(|name| line.contains(name));
        let load = source.path.starts_with("loadtest/") && line.contains("wardroom::");
        engine || load
    };
    none(&breaches(&all, crates), "rooms knows nothing of ours, and loadtest only rooms");
}

#[test]
fn each_library_has_its_home() {
    for (library, homes) in HOMES {
        let breaks = |source: &Source, line: &str| {
            let word = line.split(library).next().filter(|_| line.contains(library)).unwrap_or("x");
            let named =
                line.contains(library) && !word.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            named && source.part().is_none_or(|part| !homes.contains(&part))
        };
        none(&breaches(&code(), breaks), &format!("{library} is for {homes:?} only"));
    }
}

#[test]
fn nothing_gives_up_by_unwrap_or_is_left_unfinished() {
    let words = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "println!(\"DEBUG"];
    none(&breaches(&code(), |_, line| words.iter().any(|word| line.contains(word))), "not outside tests");
    let all = sources(
        &["src", "benches", "rooms", "loadtest", "tests", "static", "docs", "migrations"],
        &[".rs", ".js", ".md", ".sql"],
    );
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];
    let found: Vec<String> =
        all.iter().filter(|it| marks.iter().any(|mark| it.text.contains(mark))).map(|it| it.path.clone()).collect();
    none(&found, "something is left to do");
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let all = sources(&["src", "benches", "rooms", "loadtest", "tests"], &[".rs"]);
    let long: Vec<String> = all
        .iter()
        .map(|it| (it.text.lines().count(), &it.path))
        .filter(|(lines, _)| *lines > LONGEST)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    none(&long, "a file has one job");
    let silent: Vec<String> = all.iter().filter(|it| !it.text.starts_with("//!")).map(|it| it.path.clone()).collect();
    none(&silent, "a module opens with //!");
}

#[test]
fn nothing_names_one_machine() {
    let folders = ["src", "benches", "rooms", "loadtest", "tests", "static", "docs", "migrations", ".ci"];
    let mut all = sources(&folders, &[""]);
    all.extend(["README.md", "Cargo.toml"].map(|name| Source {
        path: name.to_owned(),
        text: std::fs::read_to_string(root().join(name)).expect("it is there"),
    }));
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let found: Vec<String> =
        all.iter().filter(|it| paths.iter().any(|path| it.text.contains(path))).map(|it| it.path.clone()).collect();
    none(&found, "a path of one machine");
}
