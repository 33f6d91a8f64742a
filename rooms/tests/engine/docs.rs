//! The documentation's examples and diagrams match the engine.

use std::collections::BTreeSet;

use rooms::command::{Chat, Command};
use rooms::party::Thread;
use rooms::record::{GENESIS, Record, chain};
use rooms::room::Room;
use rooms::state::{CallState, ConsultationState, DeliveryState, DispensingState, PaymentState, PrescriptionState};

use crate::random::{fixed_cases, states_of};
use crate::support::*;

fn page(name: &str) -> String {
    let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the first fenced block of this language after `heading`.
fn fenced<'a>(page: &'a str, heading: &str, language: &str) -> &'a str {
    let (_, rest) = page.split_once(heading).unwrap_or_else(|| panic!("no {heading}"));
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("the block ends").0
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn worked_example_in_the_documentation_matches_the_engine() {
    let mut clinic = Clinic::with_default_policy();
    clinic.ok(&patient(), walk_in());
    clinic.advance(secs(30));
    clinic.ok(&patient(), chat(Thread::Care));
    clinic.advance(secs(5));
    let words = Chat { text: text("Très bien:\n\"rest\" 😴"), thread: Thread::Care };
    clinic.ok(&doctor(), Command::Chat(words));
    let mut before = GENESIS;
    let mut written = String::new();
    for record in &clinic.log {
        let line = record.canonical();
        before = chain(&before, &line);
        written += &format!("{{\"hash\":\"{}\",\"record\":{line}}}\n", hex(&before));
    }
    let page = page("record.md");
    let example = fenced(&page, "## A worked example", "jsonl");
    assert_eq!(example, written, "docs/record.md should show:\n{written}");

    // Verify the example as an outsider would: from its bytes.
    let mut before = GENESIS;
    let mut room = Room::new(clinic.room.id());
    for line in example.lines() {
        let (hash, rest) = line.split_once(r#"","record":"#).expect("two members");
        let text = rest.strip_suffix('}').expect("the line ends");
        before = chain(&before, text);
        assert_eq!(hash.strip_prefix(r#"{"hash":""#), Some(hex(&before).as_str()));
        let record: Record = serde_json::from_str(text).expect("a record");
        assert_eq!(record.canonical(), text);
        assert!(room.apply(&record));
    }
}

/// Returns the arrows of a section's diagram.
fn arrows(section: &str) -> BTreeSet<(String, String)> {
    let page = page("states.md");
    let lines = fenced(&page, section, "mermaid").lines().filter_map(|line| line.trim().split_once(" --> "));
    let target = |to: &str| to.split(':').next().expect("a target").trim().to_owned();
    lines.map(|(from, to)| (from.to_owned(), target(to))).collect()
}

#[test]
fn every_transition_is_in_the_state_diagrams() {
    let drawn = ["consultation", "call", "prescription", "dispensing", "delivery", "payment"]
        .map(|machine| (machine, arrows(&format!("## {}{}", machine[..1].to_uppercase(), &machine[1..]))));
    let mut missing = BTreeSet::new();
    fixed_cases(800, |before, after| {
        let old = states_of(before);
        for (id, (machine, state)) in states_of(after) {
            let from = old.get(&id).map_or("[*]", |(_, state)| state);
            let (_, arrows) = drawn.iter().find(|(of, _)| *of == machine).expect("a section");
            if from != state && !arrows.contains(&(from.to_owned(), state.to_owned())) {
                missing.insert(format!("{machine}: {from} --> {state}"));
            }
        }
    });
    assert!(missing.is_empty(), "not in docs/states.md: {missing:#?}");
}

/// Where the engine has a table of next states, the diagram equals that table.
#[test]
fn state_diagrams_contain_only_existing_transitions() {
    let own = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    let mut deliveries: BTreeSet<_> = DeliveryState::ALL
        .iter()
        .flat_map(|from| from.next().iter().map(move |to| own(from.as_str(), to.as_str())))
        .collect();
    // From `delivery.assign`, from `ready`, and from the third failure, which passes through `attempt_failed` at once.
    deliveries.extend([own("[*]", "requested"), own("requested", "assigned"), own("out_for_delivery", "returning")]);
    assert_eq!(arrows("## Delivery"), deliveries);
    let mut payments: BTreeSet<_> = PaymentState::ALL
        .iter()
        .flat_map(|from| from.next().iter().map(move |to| own(from.as_str(), to.as_str())))
        .collect();
    payments.insert(own("[*]", "pending"));
    assert_eq!(arrows("## Payment"), payments);
}

#[test]
fn every_state_has_a_row_in_the_documentation() {
    let page = page("states.md");
    let check = |heading: &str, names: Vec<&str>| {
        let (_, section) = page.split_once(heading).expect("a section");
        let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
        for name in names {
            assert!(section.contains(&format!("\n| `{name}` |")), "{heading}: no row for {name}");
        }
    };
    check("## Consultation", ConsultationState::ALL.iter().map(|state| state.as_str()).collect());
    check("## Call", CallState::ALL.iter().map(|state| state.as_str()).collect());
    check("## Prescription", PrescriptionState::ALL.iter().map(|state| state.as_str()).collect());
    check("## Dispensing", DispensingState::ALL.iter().map(|state| state.as_str()).collect());
    check("## Delivery", DeliveryState::ALL.iter().map(|state| state.as_str()).collect());
    check("## Payment", PaymentState::ALL.iter().map(|state| state.as_str()).collect());
}
