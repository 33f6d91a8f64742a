//! House rules that the compiler does not check: the direction of imports, unique names, and what no file contains.
//!
//! Each part of the server has a row in [`ALLOWED_IMPORTS`], each library one in [`LIBRARY_HOMES`].

mod adapter_walls;
mod circles;
mod folder_layers;
mod names;
mod source;

use source::{Source, assert_none, code, root, sources};

const MAX_FILE_LINES: usize = 450;

/// The parts of the server, and the parts that each may import beside `config`, `clock`, and `telemetry`. Single files
/// on top, such as `demo`, `seed`, `app`, and `main`, may import anything.
const ALLOWED_IMPORTS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("clock", &[]),
    ("telemetry", &[]),
    ("subject_limiter", &[]),
    ("store", &["keyfile"]),
    ("turn", &["egress", "subject_limiter"]),
    ("echo", &["egress", "turn"]),
    ("archive", &["store"]),
    ("auth", &["bus", "keyfile", "store", "subject_limiter"]),
    ("bus", &[]),
    ("hub", &["store", "bus"]),
    ("integrations", &["egress", "hub", "keyfile", "store"]),
    ("outbound", &["integrations", "hub", "store"]),
    ("egress", &[]),
    ("keyfile", &[]),
    ("jobs", &["hub", "store", "integrations"]),
    ("web", &["hub", "auth", "store", "echo", "integrations", "outbound", "turn"]),
    ("ws", &["hub", "auth", "web"]),
    ("http", &["web", "hub", "auth", "store", "ws", "archive", "echo", "integrations", "outbound", "bus"]),
    ("lifecycle", &["auth", "hub", "web"]),
    ("doctor", &["bus", "lifecycle", "integrations", "store"]),
];

/// The layers of the engine, lowest first. A module imports modules of lower layers only. Modules of the lowest layer, the
/// vocabulary, also import each other.
const ENGINE_LAYERS: &[&[&str]] = &[
    &[
        "cursor",
        "field_path",
        "id",
        "limits",
        "media",
        "money",
        "party",
        "reason",
        "refusal",
        "role",
        "sdp",
        "signal",
        "state",
        "text",
        "time",
    ],
    &["event", "command"],
    &["permission", "record"],
    &["case"],
    &["room"],
    &["wire"],
];

/// The parts of the load generator, each with the parts that it may import: only rows above its own.
const LOADTEST_IMPORTS: &[(&str, &[&str])] = &[
    ("arrivals", &[]),
    ("delivery_check", &[]),
    ("fixture", &[]),
    ("frame", &[]),
    ("latency", &[]),
    ("meter", &[]),
    ("search", &[]),
    ("send_time", &[]),
    ("target", &[]),
    ("socket", &["target"]),
    ("client", &["delivery_check", "frame", "socket", "target"]),
    ("webrtc", &["client", "latency"]),
    ("load", &["arrivals", "fixture", "latency", "send_time", "target"]),
    ("competitors", &["fixture", "load", "socket", "target"]),
    (
        "fleet",
        &[
            "arrivals",
            "client",
            "competitors",
            "delivery_check",
            "fixture",
            "frame",
            "latency",
            "load",
            "send_time",
            "target",
        ],
    ),
    ("fault", &["load", "meter"]),
    ("calls", &["arrivals", "client", "fixture", "latency", "target", "webrtc"]),
    ("report", &["calls", "fault", "fleet", "latency", "load"]),
    ("html", &["report"]),
    ("watch", &["fault", "load", "meter", "report"]),
    ("run", &["fault", "fleet", "load", "meter", "report", "watch"]),
    ("cli", &[]),
    ("profiles", &["cli"]),
];

/// Libraries and the parts of the server that may name them.
const LIBRARY_HOMES: &[(&str, &[&str])] = &[
    ("sqlx::", &["store"]),
    ("axum::", &["web", "http", "ws", "auth", "lifecycle"]),
    ("redis::", &["bus"]),
    ("web_push::", &["integrations"]),
    ("reqwest::", &["egress", "config", "integrations"]),
];

/// Returns the lines of code that break a rule, with their places. Comment lines are exempt.
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

#[test]
fn imports_point_down_only() {
    let all = code();
    let breaks = |source: &Source, line: &str| {
        let Some(own) = source.part() else { return false };
        let Some((_, below)) = ALLOWED_IMPORTS.iter().find(|(part, _)| *part == own) else { return false };
        line.split("crate::").skip(1).any(|rest| {
            let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(rest.len());
            let other = &rest[..end];
            other != own && !matches!(other, "config" | "clock" | "telemetry") && !below.contains(&other)
        })
    };
    assert_none(&breaches(&all, breaks), "a part imports another that is not below it");
    let crates = |source: &Source, line: &str| {
        let engine = source.path.starts_with("rooms/")
            && ["wardroom::", "loadtest::", "tokio::"].iter().any(|name| line.contains(name));
        let load = source.path.starts_with("loadtest/") && line.contains("wardroom::");
        engine || load
    };
    assert_none(&breaches(&all, crates), "rooms imports no crate of the workspace, and loadtest only rooms");
}

/// Returns the modules that a line imports from the root of its crate. A group of imports yields an empty name, which no rule
/// allows.
fn imported_parts(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line.split("crate::").skip(1).map(move |rest| rest.split(|letter| !is_word(letter)).next().unwrap_or(rest))
}

#[test]
fn imports_of_the_engine_point_to_lower_layers_only() {
    let all = sources(&["rooms/src"], &[".rs"]);
    let layer = |part: &str| ENGINE_LAYERS.iter().position(|parts| parts.contains(&part));
    let part = |source: &Source| {
        let rest = source.path.strip_prefix("rooms/src/").expect("the path is below the folder");
        rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs").to_owned()
    };
    let breaks = |source: &Source, line: &str| {
        let own = part(source);
        let Some(own_layer) = layer(&own) else { return own != "lib" };
        imported_parts(line).any(|other| match layer(other) {
            Some(0) if own_layer == 0 => false,
            Some(other_layer) => other_layer >= own_layer && other != own,
            None => true,
        })
    };
    assert_none(&breaches(&all, breaks), "a module of the engine imports another that is not in a lower layer");
    let machines = |source: &Source, line: &str| {
        let Some(rest) = source.path.strip_prefix("rooms/src/case/") else { return false };
        let parent = if rest.contains('/') { "super::super::" } else { "super::" };
        line.contains("crate::case::") || line.contains(parent)
    };
    assert_none(&breaches(&all, machines), "the state machines do not import each other; the room connects them");
}

#[test]
fn loadtest_imports_point_down_only() {
    let part = |source: &Source| -> Option<String> {
        let rest = source.path.strip_prefix("loadtest/src/")?;
        let name = rest.split('/').next()?.trim_end_matches(".rs");
        (!matches!(name, "lib" | "main")).then(|| name.to_owned())
    };
    let all = code();
    let own: Vec<String> = all.iter().filter_map(part).collect();
    let is_row = |name: &str| LOADTEST_IMPORTS.iter().position(|(row, _)| *row == name);
    let missing: Vec<String> = own.iter().filter(|name| is_row(name).is_none()).cloned().collect();
    assert_none(&missing, "a part of loadtest without a row imports what it likes");
    for (at, (row, below)) in LOADTEST_IMPORTS.iter().enumerate() {
        assert!(own.iter().any(|name| name == row), "the row {row} names a part that does not exist");
        assert!(below.iter().all(|name| is_row(name).is_some_and(|other| other < at)), "{row} imports a row below it");
    }
    let breaks = |source: &Source, line: &str| {
        let Some(own) = part(source) else { return false };
        let below = is_row(&own).map_or(&[] as &[&str], |at| LOADTEST_IMPORTS[at].1);
        imported_parts(line).any(|other| other != own && !below.contains(&other))
    };
    assert_none(&breaches(&all, breaks), "a part of loadtest imports another that is not below it");
}

#[test]
fn every_folder_of_the_server_has_a_row() {
    let all = code();
    let parts: std::collections::BTreeSet<&str> =
        all.iter().filter(|it| it.path.matches('/').count() > 1).filter_map(Source::part).collect();
    let has_no_row = |part: &&&str| !ALLOWED_IMPORTS.iter().any(|(row, _)| row == *part);
    let missing: Vec<String> = parts.iter().filter(has_no_row).map(|part| format!("src/{part}")).collect();
    assert_none(&missing, "a folder without a row imports what it likes");
    let stale = ALLOWED_IMPORTS.iter().filter(|(row, _)| !all.iter().any(|it| it.part() == Some(row)));
    assert_none(&stale.map(|(row, _)| (*row).to_owned()).collect::<Vec<_>>(), "a row names a part that does not exist");
}

#[test]
fn libraries_are_used_only_in_their_homes() {
    for (library, homes) in LIBRARY_HOMES {
        let breaks = |source: &Source, line: &str| {
            let before = line.split(library).next().filter(|_| line.contains(library)).unwrap_or("x");
            let named =
                line.contains(library) && !before.ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            named && source.part().is_none_or(|part| !homes.contains(&part))
        };
        assert_none(&breaches(&code(), breaks), &format!("{library} belongs to {homes:?}"));
    }
}

#[test]
fn code_has_no_unwrap_and_nothing_unfinished() {
    let words = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", "println!(\"DEBUG"];
    assert_none(
        &breaches(&code(), |_, line| words.iter().any(|before| line.contains(before))),
        "only tests may do this",
    );
    let all = sources(
        &["src", "benches", "rooms", "loadtest", "tests", "static", "docs", "migrations"],
        &[".rs", ".js", ".md", ".sql"],
    );
    let marks = [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:")];
    let found: Vec<String> =
        all.iter().filter(|it| marks.iter().any(|mark| it.text.contains(mark))).map(|it| it.path.clone()).collect();
    assert_none(&found, "unfinished work is marked");
}

#[test]
fn files_are_short_and_open_with_a_description() {
    let all = sources(&["src", "benches", "rooms", "loadtest", "tests"], &[".rs"]);
    let long: Vec<String> = all
        .iter()
        .map(|it| (it.text.lines().count(), &it.path))
        .filter(|(lines, _)| *lines > MAX_FILE_LINES)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert_none(&long, "a file has at most 450 lines");
    let undescribed: Vec<String> =
        all.iter().filter(|it| !it.text.starts_with("//!")).map(|it| it.path.clone()).collect();
    assert_none(&undescribed, "a file opens with //!");
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let folders = ["src", "benches", "rooms", "loadtest", "tests", "static", "docs", "migrations", ".ci"];
    let mut all = sources(&folders, &[""]);
    all.extend(
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Cargo.toml", "clippy.toml", "deny.toml"].map(
            |name| Source {
                path: name.to_owned(),
                text: std::fs::read_to_string(root().join(name)).expect("the file exists"),
            },
        ),
    );
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let found: Vec<String> =
        all.iter().filter(|it| paths.iter().any(|path| it.text.contains(path))).map(|it| it.path.clone()).collect();
    assert_none(&found, "a path of one machine");
}
