//! Names are unique within a crate, and constants say what they bound and in which unit.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{CRATES, Source, assert_none, code, sources, tokens};

/// Types that several modules of one crate may declare, each with the reason.
const SHARED_TYPE_NAMES: &[(&str, &str)] = &[("Result", "the usual alias for a module's own error type")];

/// Names that state neither the subject of a constant nor its unit. As part of a longer name these words are fine.
const BARE_CONSTANT_NAMES: &[&str] = &[
    "AGAIN", "AT_ONCE", "BACK", "BOUND", "CAP", "CEILING", "CLOSE", "DELAY", "EACH", "EVERY", "FEW", "FIRST", "FLOOR",
    "GIVE_UP", "GRACE", "IDLE", "INBOX", "INTERVAL", "LARGEST", "LAST", "LATE", "LEASE", "LENGTH", "LIMIT", "LONG",
    "LONGEST", "MANY", "MAX", "MIN", "MOST", "OFTEN", "ONCE", "OUTBOX", "OVERDUE", "PATIENCE", "PAUSE", "PERIOD",
    "QUEUE", "QUICK", "RETRY", "SHORT", "SHORTEST", "SIZE", "SLOW", "SOON", "SPAN", "STEP", "TICK", "TIMEOUT", "WAIT",
    "WINDOW",
];

/// Words of time, one of which is in the name of each constant of the type `Duration`.
const TIME_WORDS: &[&str] = &[
    "TIMEOUT",
    "INTERVAL",
    "PERIOD",
    "AFTER",
    "TTL",
    "DELAY",
    "WINDOW",
    "GRACE",
    "AGE",
    "LIFETIME",
    "BACKOFF",
    "DEADLINE",
    "DURATION",
    "LEASE",
    "COOLDOWN",
    "LATENCY",
    "LENGTH",
    "RETENTION",
    "SKEW",
    "THRESHOLD",
    "VALIDITY",
    "WAIT",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "DAYS",
    "TIME",
    "TOLERANCE",
];

/// Returns the names that a file declares with one of these keywords, at any depth.
fn declared(source: &Source, keywords: &[&str]) -> Vec<String> {
    let tokens = tokens(source.code());
    let follows = |pair: &[String]| keywords.contains(&pair[0].as_str()).then(|| pair[1].clone());
    tokens.windows(2).filter_map(follows).filter(|name| name.starts_with(|it: char| it.is_uppercase())).collect()
}

/// Returns the constants of a file with their types. Those of an `impl` or a trait are left out: their type names the subject.
fn constants(source: &Source) -> Vec<(String, String)> {
    let tokens = tokens(source.code());
    let (mut found, mut blocks, mut opening) = (Vec::new(), Vec::new(), None);
    for (at, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "impl" | "trait" | "fn" if opening.is_none() => opening = Some(token != "fn"),
            "{" => blocks.push(opening.take().unwrap_or(false)),
            "}" => {
                blocks.pop();
                opening = None;
            }
            ";" => opening = None,
            "const" | "static" if blocks.last() != Some(&true) && !follows_generics(&tokens, at) => {
                let name = if tokens.get(at + 1).is_some_and(|it| it == "mut") { at + 2 } else { at + 1 };
                let end = tokens[at..].iter().position(|it| it == "=" || it == ";").map_or(at, |end| at + end);
                if name + 1 < end && tokens[name + 1] == ":" {
                    found.push((tokens[name].clone(), tokens[name + 2..end].concat()));
                }
            }
            _ => {}
        }
    }
    found
}

fn follows_generics(tokens: &[String], at: usize) -> bool {
    at > 0 && matches!(tokens[at - 1].as_str(), "<" | ",")
}

#[test]
fn type_names_are_unique_within_a_crate() {
    let all = code();
    let mut found = Vec::new();
    for (name, folder) in CRATES {
        let mut places: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for source in all.iter().filter(|it| it.path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))) {
            for declared in declared(source, &["struct", "enum", "trait", "union"]) {
                places.entry(declared).or_default().insert(&source.path);
            }
            for declared in type_aliases(source) {
                places.entry(declared).or_default().insert(&source.path);
            }
        }
        let repeated = places
            .into_iter()
            .filter(|(name, files)| files.len() > 1 && !SHARED_TYPE_NAMES.iter().any(|(allowed, _)| allowed == name));
        found.extend(repeated.map(|(type_name, files)| format!("{name}: {type_name} in {files:?}")));
    }
    assert_none(&found, "type names are unique within a crate");
}

/// Returns the type aliases at the top of a file; those within an `impl` belong to a trait.
fn type_aliases(source: &Source) -> Vec<String> {
    let line = |line: &str| {
        let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let name = rest.strip_prefix("type ")?;
        Some(name.split(|it: char| !it.is_alphanumeric()).next()?.to_owned())
    };
    source.code().lines().filter_map(line).collect()
}

#[test]
fn constants_name_their_subject_and_durations_their_kind() {
    let mut all = code();
    all.extend(sources(&["tests/hub"], &[".rs"]));
    let mut found = Vec::new();
    for source in &all {
        for (name, kind) in constants(source) {
            if BARE_CONSTANT_NAMES.contains(&name.as_str()) {
                found.push(format!("{}: {name} lacks its subject or unit", source.path));
            } else if kind.ends_with("Duration") && !name.split('_').any(|word| TIME_WORDS.contains(&word)) {
                found.push(format!("{}: {name} is a duration without a word of time", source.path));
            }
        }
    }
    assert_none(&found, "a constant names its subject and unit");
}

#[test]
fn declarations_are_found_where_they_are() {
    let text = "pub struct A; enum B {} // struct C;\nconst D: Duration = x; static mut E: u8 = 1;\n\
                impl A { const F: u8 = 1; fn f(it: impl Fn()) { const G: u8 = 1; } } fn f<const N: usize>() {}";
    let source = Source { path: "x/a.rs".to_owned(), text: text.to_owned() };
    assert_eq!(declared(&source, &["struct", "enum"]), ["A", "B"]);
    let pair = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(constants(&source), [pair("D", "Duration"), pair("E", "u8"), pair("G", "u8")]);
}
