//! Imports between folders, and between files of different folders, form no circle of any length.
//!
//! A small resolver follows `crate::`, `super::`, and `self::` paths, child modules, imported modules, and `pub use`.
//! It does not resolve types, so a method call counts as no import.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::{CRATES, Source, assert_none, code, tokens};

/// Files whose imports of modules below their own do not count, each with a reason. All other files import nothing that
/// imports them, not even through a third file, unless both are in one folder.
const ASSEMBLERS: &[(&str, &str)] = &[];

type Path = Vec<String>;

/// A module that is a file.
struct Module {
    path: Path,
    file: String,
    /// The folder of its submodules, or else the one that it is in. A file at the top of the crate counts as a folder.
    folder: String,
    uses: Vec<Use>,
    /// Other paths in the code.
    mentions: Vec<Path>,
}

struct Use {
    path: Path,
    name: String,
    is_public: bool,
}

/// One crate's modules by path, and what each imports.
struct Graph {
    modules: BTreeMap<Path, Module>,
}

impl Graph {
    fn of<'a>(sources: impl IntoIterator<Item = &'a Source>, folder: &str) -> Self {
        let mut modules = BTreeMap::new();
        for source in sources {
            let Some(rest) = source.path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) else { continue };
            let mut path: Path = rest.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            if path == ["main"] || source.code().is_empty() || path[0] == "bin" {
                continue;
            }
            if path.last().is_some_and(|last| last == "mod") || path == ["lib"] {
                path.pop();
            }
            let (uses, mentions) = paths(&tokens(source.code()));
            modules.insert(
                path.clone(),
                Module { path, file: source.path.clone(), folder: String::new(), uses, mentions },
            );
        }
        let all: Vec<Path> = modules.keys().cloned().collect();
        for module in modules.values_mut() {
            let has_children = all.iter().any(|it| it.len() > module.path.len() && it.starts_with(&module.path));
            let is_folder = has_children || module.path.len() <= 1;
            let own = if is_folder { &module.path[..] } else { &module.path[..module.path.len() - 1] };
            module.folder = own.iter().fold(folder.to_owned(), |folder, name| format!("{folder}/{name}"));
        }
        Self { modules }
    }

    /// Returns the module that a path from `module` leads to, through re-exports.
    fn resolve(&self, module: &Module, path: &[String], depth: usize) -> Option<&Module> {
        let mut at = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.path.clone(),
            first => {
                let child: Path = module.path.iter().cloned().chain([first.to_owned()]).collect();
                if self.modules.contains_key(&child) {
                    module.path.clone()
                } else {
                    // A module that was imported by name.
                    let imported = module.uses.iter().find(|it| it.name == first && it.path[0] != first)?;
                    let whole: Path = imported.path.iter().chain(&path[1..]).cloned().collect();
                    return if depth < 8 { self.resolve(module, &whole, depth + 1) } else { None };
                }
            }
        };
        let mut rest = path;
        while let [first, others @ ..] = rest {
            match first.as_str() {
                "crate" | "self" => {}
                "super" => _ = at.pop(),
                name => {
                    let child: Path = at.iter().cloned().chain([name.to_owned()]).collect();
                    if self.modules.contains_key(&child) {
                        at = child;
                    } else {
                        let here = self.modules.get(&at)?;
                        let again = here.uses.iter().find(|it| it.is_public && it.name == name);
                        return match again {
                            Some(again) if depth < 8 => self.resolve(here, &again.path, depth + 1).or(Some(here)),
                            _ => Some(here),
                        };
                    }
                }
            }
            rest = others;
        }
        self.modules.get(&at)
    }

    /// Returns the files that each file imports, by file.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for module in self.modules.values() {
            let own = module.uses.iter().filter(|it| !it.is_public).map(|it| &it.path);
            let targets = own.chain(&module.mentions).filter_map(|path| self.resolve(module, path, 0));
            let assembles = ASSEMBLERS.iter().any(|(file, _)| *file == module.file);
            let counts = |it: &&Module| it.file != module.file && !(assembles && it.path.starts_with(&module.path));
            let targets = targets.filter(counts).map(|it| it.file.as_str());
            imports.entry(&module.file).or_default().extend(targets);
        }
        imports
    }

    fn folders(&self) -> BTreeMap<&str, &str> {
        self.modules.values().map(|it| (it.file.as_str(), it.folder.as_str())).collect()
    }
}

/// Returns the imports of a file and all other paths that may name a module.
fn paths(tokens: &[String]) -> (Vec<Use>, Vec<Path>) {
    let (mut uses, mut mentions, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        let is_name =
            |at: usize| tokens.get(at).is_some_and(|it| it.starts_with(|it: char| it.is_alphabetic() || it == '_'));
        if tokens[at] == "use" && (at == 0 || [";", "}", "]", "{", "pub", ")"].contains(&tokens[at - 1].as_str())) {
            let is_public = at > 0 && ["pub", ")"].contains(&tokens[at - 1].as_str());
            at = tree(tokens, at + 1, &mut Vec::new(), is_public, &mut uses);
        } else if is_name(at) && tokens.get(at + 1).is_some_and(|it| it == "::") && (at == 0 || tokens[at - 1] != "::")
        {
            let mut path = vec![tokens[at].clone()];
            at += 1;
            while tokens.get(at).is_some_and(|it| it == "::") && is_name(at + 1) {
                path.push(tokens[at + 1].clone());
                at += 2;
            }
            mentions.push(path);
        } else {
            at += 1;
        }
    }
    (uses, mentions)
}

/// Reads one tree of a `use` and returns where it ends.
fn tree(tokens: &[String], mut at: usize, before: &mut Path, is_public: bool, uses: &mut Vec<Use>) -> usize {
    let depth = before.len();
    let mut name = None;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "::" => {}
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, before, is_public, uses);
                    if tokens[at] == "," {
                        at += 1;
                    }
                }
                before.truncate(depth);
                return at + 1;
            }
            "," | "}" | ";" => break,
            "as" => {
                name = tokens.get(at + 1).cloned();
                at += 1;
            }
            "self" if !before.is_empty() => {}
            word => before.push(word.to_owned()),
        }
        at += 1;
    }
    if let Some(last) = before.last() {
        let name = name.unwrap_or_else(|| last.clone());
        uses.push(Use { path: before.clone(), name, is_public });
    }
    before.truncate(depth);
    at
}

/// Returns the shortest way from one node to another.
fn shortest_path<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut predecessors = BTreeMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut shortest_path = vec![node];
            while let Some(Some(before)) = shortest_path.last().map(|last| predecessors[last]) {
                shortest_path.push(before);
            }
            shortest_path.reverse();
            return Some(shortest_path);
        }
        for next in edges.get(node).into_iter().flatten() {
            if !predecessors.contains_key(next) {
                predecessors.insert(next, Some(node));
                queue.push_back(next);
            }
        }
    }
    None
}

/// Returns the shortest circle through each edge that satisfies the condition; each circle once.
fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>, counts: impl Fn(&str, &str) -> bool) -> Vec<Vec<String>> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    for (from, targets) in edges {
        for to in targets.iter().filter(|to| counts(from, to)) {
            if let Some(back) = shortest_path(edges, to, from) {
                let set: BTreeSet<&str> = back.iter().copied().collect();
                if seen.insert(set) {
                    found.push(std::iter::once(*from).chain(back).map(str::to_owned).collect());
                }
            }
        }
    }
    found
}

fn file_circles(graph: &Graph) -> Vec<Vec<String>> {
    let folders = graph.folders();
    circles(&graph.imports(), |from, to| folders[from] != folders[to])
}

/// A folder and the ones within it are one house, so only imports between separate folders count.
fn folder_circles(graph: &Graph) -> Vec<Vec<String>> {
    let folders = graph.folders();
    let is_within = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, targets) in graph.imports() {
        let from = folders[file];
        let targets = targets.into_iter().map(|to| folders[to]);
        let separate = targets.filter(|to| *to != from && !is_within(to, from) && !is_within(from, to));
        edges.entry(from).or_default().extend(separate);
    }
    circles(&edges, |_, _| true)
}

fn all_circles(sources: &[Source], folder: &str) -> Vec<String> {
    let graph = Graph::of(sources, folder);
    let all = file_circles(&graph).into_iter().chain(folder_circles(&graph));
    all.map(|circle| circle.join(" -> ")).collect()
}

#[test]
fn imports_between_folders_form_no_circle() {
    let all = code();
    let found: Vec<String> = CRATES.iter().flat_map(|(_, folder)| all_circles(&all, folder)).collect();
    assert_none(&found, "files of different folders, or folders, import each other");
    for (file, _) in ASSEMBLERS {
        assert!(all.iter().any(|it| it.path == *file), "{file} is exempt and does not exist");
    }
}

#[test]
fn the_resolver_finds_circles_made_on_purpose() {
    let crate_of = |files: &[(&str, &str)]| -> Vec<Source> {
        let source = |(path, text): &(&str, &str)| Source { path: format!("x/{path}"), text: (*text).to_owned() };
        files.iter().map(source).collect()
    };
    let lib = ("lib.rs", "pub mod a; pub mod b;");
    let tidy = [lib, ("a/mod.rs", "pub mod one;"), ("a/one.rs", "use crate::b::Two;"), ("b/mod.rs", "pub struct Two;")];
    assert!(all_circles(&crate_of(&tidy), "x").is_empty());
    for (what, one, other) in [
        ("a use", "use crate::b::{self, two::Two};", "use crate::a::one::One;"),
        ("a path", "fn f() -> crate::b::two::Two {}", "fn f() { super::super::a::one::g(); }"),
        ("a re-export", "use crate::b::Two;", "use crate::a::One as It;"),
        ("an imported module", "use crate::b::two; fn f() { two::g(); }", "use crate::a::{one}; type It = one::One;"),
        ("a longer way", "use crate::b::two::Two;", "use super::three::Three;"),
    ] {
        let files = crate_of(&[
            lib,
            ("a/mod.rs", "pub mod one; pub use one::One;"),
            ("a/one.rs", one),
            ("b/mod.rs", "pub mod two; mod three; pub use self::two::{Two};"),
            ("b/two.rs", other),
            ("b/three.rs", "use crate::a::one::One;"),
        ]);
        assert!(!all_circles(&files, "x").is_empty(), "{what} closes the circle");
        let hidden = format!("// {other}\nfn f() {{ \"{other}\"; }}\n#[cfg(test)]\nmod tests {{ {other} }}");
        let files = crate_of(&[lib, ("a/mod.rs", "pub mod one;"), ("a/one.rs", one), ("b/two.rs", &hidden)]);
        assert!(all_circles(&files, "x").is_empty(), "{what} in a comment, a text, or a test is no import");
    }
}
