//! Generated cases run from the booking to the medicine, and the load generator finds no fault.

use std::sync::Arc;
use std::time::Duration;

use loadtest::fixture::Fixture;
use loadtest::fleet::day::{DayPart, DayPlan, DayResult, play};
use loadtest::load::results::{CheckResult, Gauges};
use loadtest::target::Target;
use wardroom::clock::Clock;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::hub_process::HubProcess;

both!(every_generated_case_completes);

async fn every_generated_case_completes(database: DatabaseSettings) {
    let mut hub = HubProcess::new("serve", &database);
    let file = hub.data().join("fixture.json");
    let (seeded, said) = hub.run(&["seed", "--rooms", "4", "--out", file.to_str().unwrap()]);
    assert!(seeded, "{said}");
    let plan = DayPlan {
        targets: vec![Target::new(hub.start()).unwrap()],
        people: Fixture::read(&file, Clock::system().now()).unwrap().rooms,
        workers: 2,
        length: Duration::from_secs(4),
        messages: 6,
        bytes: 40,
        seed: 1,
    };
    let part = DayPart::Day { cases: 100.0, compress: 3600.0, hours: (8.0, 12.0) };
    let results = tokio::task::block_in_place(|| play(&plan, part, &[], &Arc::new(Gauges::default()))).unwrap();
    let DayResult { phase, check, day, .. } = &results;
    assert!(day.cases > 20 && day.done == day.cases, "{day:?}");
    assert_eq!((day.failed, phase.unanswered, phase.errors.len()), (0, 0, 0), "{day:?}");
    // Every other case is delivered, and its courier reads, too.
    assert!(check.readers > day.cases * 3, "{check:?}");
    assert_eq!(*check, CheckResult { readers: check.readers, delivered: check.delivered, ..CheckResult::default() });
    // Every timed delivery to the last socket was recorded: two read the consultation, three the dispensing.
    let (first, last) = (phase.first.summary().count, phase.last.summary().count);
    assert!(first > phase.sent && last == first, "{first} {last} {}", phase.sent);
}
