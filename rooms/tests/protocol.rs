//! `docs/protocol.md` matches the code: it has every code, kind and frame, and its examples are real frames.

use std::collections::BTreeSet;

use rooms::command::Command;
use rooms::event::Event;
use rooms::state::{CallState, ConsultationState, DeliveryState, DispensingState, PrescriptionState};
use rooms::wire::client::ClientFrame;
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::ServerFrame;
use serde_json::Value;

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).expect("the page is there")
}

/// Returns the lines of all blocks of frames.
fn examples(page: &str) -> Vec<&str> {
    let blocks = page.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix("frames\n")).flat_map(str::lines).collect()
}

/// Returns the tag of each variant of a schema.
fn variants<T: schemars::JsonSchema>(tag: &str) -> BTreeSet<String> {
    let schema = schemars::schema_for!(T).to_value();
    let variants = schema["oneOf"].as_array().expect("an enum's schema is a choice").iter();
    variants.filter_map(|variant| variant["properties"][tag]["const"].as_str().map(str::to_owned)).collect()
}

#[test]
fn every_error_code_has_its_row() {
    let page = page();
    for code in Code::ALL {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let row = format!("| `{}` | {} | {retryable} | {} |", code.as_str(), code.status(), code.meaning());
        assert!(page.lines().any(|line| line == row), "docs/protocol.md lacks the row\n{row}");
    }
}

#[test]
fn every_close_code_has_its_row() {
    let page = page();
    for close in Close::ALL {
        let back = if close.resumable() { "yes" } else { "no" };
        let row = format!("| {} | `{}` | {back} | {} |", close.code(), close.reason(), close.meaning());
        assert!(page.lines().any(|line| line == row), "docs/protocol.md lacks the row\n{row}");
    }
}

#[test]
fn every_command_and_event_is_in_the_tables() {
    let page = page();
    let commands = variants::<Command>("kind");
    assert!(commands.contains("chat.send"), "{commands:?}");
    for kind in commands.iter().map(String::as_str).chain(Event::KINDS) {
        let named = |line: &str| line.starts_with("| `") && line.contains(&format!("`{kind}`"));
        assert!(page.lines().any(named), "no table of docs/protocol.md has {kind}");
    }
}

#[test]
fn every_state_is_in_the_table_of_its_machine() {
    let page = page();
    let row = |part: &str| {
        let start = format!("| {part} | `");
        page.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("no states of {part}")).to_owned()
    };
    let check = |part: &str, states: Vec<&str>| {
        let states: Vec<_> = states.iter().map(|state| format!("`{state}`")).collect();
        assert_eq!(row(part), format!("| {part} | {} |", states.join(", ")));
    };
    check("consultation", ConsultationState::ALL.map(ConsultationState::as_str).to_vec());
    check("call", CallState::ALL.map(CallState::as_str).to_vec());
    check("prescription", PrescriptionState::ALL.map(PrescriptionState::as_str).to_vec());
    check("dispensing", DispensingState::ALL.map(DispensingState::as_str).to_vec());
    check("delivery", DeliveryState::ALL.map(DeliveryState::as_str).to_vec());
}

#[test]
fn every_frame_has_an_example_and_every_example_is_a_frame() {
    let page = page();
    let (mut up, mut down) = (BTreeSet::new(), BTreeSet::new());
    for line in examples(&page) {
        let (arrow, frame) = line.split_once(' ').expect("an arrow and a frame");
        let kind = serde_json::from_str::<Value>(frame).expect(line)["type"].as_str().expect(line).to_owned();
        match arrow {
            "→" => {
                serde_json::from_str::<ClientFrame>(frame).expect(line);
                up.insert(kind);
            }
            "←" => {
                serde_json::from_str::<ServerFrame>(frame).expect(line);
                down.insert(kind);
            }
            _ => panic!("{line}"),
        }
    }
    assert_eq!(up, variants::<ClientFrame>("type"));
    assert_eq!(down, variants::<ServerFrame>("type"));
}
