//! The source files that the house rules read: found, read, and stripped of what is no code.

use std::path::{Path, PathBuf};

/// The crates of the workspace and the folders of their sources.
pub const CRATES: &[(&str, &str)] = &[("wardroom", "src"), ("rooms", "rooms/src"), ("loadtest", "loadtest/src")];

pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    pub text: String,
}

impl Source {
    /// Returns the part of the server: `src/hub/room.rs` and `src/hub.rs` belong to `hub`.
    pub fn part(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("src/")?;
        rest.split('/').next().map(|name| name.trim_end_matches(".rs"))
    }

    /// Returns the code without its unit tests, which are at the end.
    pub fn code(&self) -> &str {
        if self.is_test() {
            return "";
        }
        let tests = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        &self.text[..tests]
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests")
    }
}

/// Returns the root of the workspace.
pub fn root() -> &'static Path {
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

/// Returns every file below these folders whose name has one of these endings.
pub fn sources(folders: &[&str], endings: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in folders {
        walk(&root().join(folder), &mut paths);
    }
    paths.retain(|path| endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)));
    paths.sort();
    let read = |path: PathBuf| {
        // Images are read, too; no byte sequence of theirs looks like a rule's words.
        let text = String::from_utf8_lossy(&std::fs::read(&path).expect("a source can be read")).into_owned();
        let path = path.strip_prefix(root()).expect("the path is below the root").display().to_string();
        Source { path, text }
    };
    paths.into_iter().map(read).collect()
}

/// Returns the sources of all crates.
pub fn code() -> Vec<Source> {
    let folders: Vec<&str> = CRATES.iter().map(|(_, folder)| *folder).collect();
    let all = sources(&folders, &[".rs"]);
    assert!(all.len() > 60, "the sources are found");
    all
}

/// Splits code into identifiers and single other characters; leaves out comments, strings, and white space. `::` is one
/// token.
pub fn tokens(code: &str) -> Vec<String> {
    let letters: Vec<char> = code.chars().collect();
    let (mut found, mut at) = (Vec::new(), 0);
    let starts = |at: usize, text: &str| text.chars().enumerate().all(|(n, it)| letters.get(at + n) == Some(&it));
    while at < letters.len() {
        let letter = letters[at];
        if starts(at, "//") {
            while at < letters.len() && letters[at] != '\n' {
                at += 1;
            }
        } else if starts(at, "/*") {
            while at < letters.len() && !starts(at, "*/") {
                at += 1;
            }
            at += 2;
        } else if let Some(hashes) = raw_string(&letters[at..]) {
            let end = format!("\"{}", "#".repeat(hashes));
            at += 2 + hashes;
            while at < letters.len() && !starts(at, &end) {
                at += 1;
            }
            at += end.len();
        } else if letter == '"' {
            at += 1;
            while at < letters.len() && letters[at] != '"' {
                at += if letters[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if letter == '\'' {
            // A character, or the quote of a lifetime.
            at += if letters.get(at + 1) == Some(&'\\') {
                letters[at + 2..].iter().skip(1).position(|it| *it == '\'').map_or(1, |end| end + 4)
            } else if letters.get(at + 2) == Some(&'\'') {
                3
            } else {
                1
            };
        } else if letter.is_alphanumeric() || letter == '_' {
            let begin = at;
            while at < letters.len() && (letters[at].is_alphanumeric() || letters[at] == '_') {
                at += 1;
            }
            found.push(letters[begin..at].iter().collect());
        } else if starts(at, "::") {
            found.push("::".to_owned());
            at += 2;
        } else {
            if !letter.is_whitespace() {
                found.push(letter.to_string());
            }
            at += 1;
        }
    }
    found
}

/// Returns the number of `#` of a raw string that begins here.
fn raw_string(letters: &[char]) -> Option<usize> {
    let hashes = letters.strip_prefix(&['r'])?.iter().take_while(|it| **it == '#').count();
    (letters.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

#[track_caller]
pub fn assert_none(found: &[String], rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}
