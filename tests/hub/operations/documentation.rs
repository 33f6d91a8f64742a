//! Documentation: every setting is explained, and every referenced file and page exists.

use std::path::{Path, PathBuf};

fn read(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the names in the table from which the configuration is read.
fn settings() -> Vec<String> {
    let code = read("src/config/sources.rs");
    let table = code.split("const SETTINGS").nth(1).and_then(|rest| rest.split("];").next()).expect("the table exists");
    table.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next().map(str::to_owned)).collect()
}

#[test]
fn documented_settings_match_the_code() {
    let page = read("docs/operations.md");
    let settings_tables = page.split("| setting |").skip(1).filter_map(|rest| rest.split("\n\n").next());
    let lines = settings_tables.flat_map(str::lines);
    let rows = lines.filter_map(|line| line.strip_prefix("| `")?.split('`').next().map(str::to_owned));
    let explained: Vec<String> = rows.collect();
    let known = settings();
    assert!(known.len() > 30, "the table was parsed");
    assert_eq!(explained, known, "docs/operations.md lists the settings in the code's order");
}

#[test]
fn referenced_links_and_files_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let top =
        ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "migrations/README.md", "loadtest/README.md"];
    let mut pages: Vec<_> = top.iter().map(|page| root.join(page)).collect();
    pages.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    pages.retain(|path| path.extension().is_some_and(|it| it == "md"));
    assert!(pages.len() > 6);
    let mut missing = Vec::new();
    for page in pages {
        let text = read(&page);
        let folder = page.parent().expect("a file has a folder");
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://")).map(|link| folder.join(link));
        let starts = ["src/", "rooms/", "static/", "tests/", "loadtest/", "migrations/", "docs/"];
        let quoted = text.split('`').skip(1).step_by(2);
        let files =
            quoted.filter(|name| starts.iter().any(|start| name.starts_with(start)) && !name.contains([' ', '*', '…']));
        let files = files.map(|name| root.join(name.split("::").next().expect("a first part")));
        let named: Vec<PathBuf> = links.chain(files).collect();
        missing.extend(
            named
                .into_iter()
                .filter(|path| !path.exists())
                .map(|path| format!("{}: {}", page.display(), path.display())),
        );
    }
    assert!(missing.is_empty(), "referenced but missing:\n{}", missing.join("\n"));
}

#[test]
fn pages_know_the_decimals_of_every_currency() {
    use rooms::money::Currency;

    let labels = read("static/labels.js");
    let table = labels.split("const DECIMALS = {").nth(1).and_then(|rest| rest.split("};").next()).expect("the table");
    let decimals_on_pages = |code: &str| {
        let line = table.lines().find(|line| line.split([' ', '\'']).any(|word| word == code));
        line.map_or(2, |line| line.trim().split(':').next().and_then(|digits| digits.parse().ok()).expect("digits"))
    };
    let letters = || 'A'..='Z';
    let codes =
        letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| String::from_iter([a, b, c]))));
    let mut known = 0;
    for currency in codes.filter_map(|code| Currency::parse(&code)) {
        known += 1;
        assert_eq!(decimals_on_pages(currency.code()), currency.exponent(), "{}", currency.code());
    }
    assert!(known > 150, "{known}");
}
