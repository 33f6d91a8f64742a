//! `wardroom doctor` reports problems with their remedies and changes nothing.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::ports;

/// Returns the line about a subject.
fn line<'a>(report: &'a str, about: &str) -> &'a str {
    let fits = |line: &&str| line.split_whitespace().nth(1) == Some(about);
    report.lines().find(fits).unwrap_or_else(|| panic!("nothing about {about}: {report}"))
}

/// Prepares a hub that would contact nothing outside this machine.
fn hub(database: &Database) -> HubProcess {
    let mut hub = HubProcess::new("serve", &database.settings());
    hub.set("WARDROOM_PUSH_SERVICES", format!("http://127.0.0.1:{}", ports::free()));
    hub
}

#[test]
fn doctor_passes_a_fresh_hub_and_creates_nothing() {
    let database = Database::sqlite();
    let hub = hub(&database);
    let (passes, report) = hub.run(&["doctor"]);
    assert!(passes, "{report}");
    assert!(line(&report, "database_url").contains("created at the first start"), "{report}");
    assert!(line(&report, "push.key").contains("created at the first start"), "{report}");
    assert!(line(&report, "push.subject").starts_with("warn") && report.contains("mailto:"), "{report}");
    assert_eq!(std::fs::read_dir(hub.data()).unwrap().count(), 0, "the data folder is unchanged");
    let file = database.settings().url().trim_start_matches("sqlite:").split('?').next().unwrap().to_owned();
    assert!(!std::path::Path::new(&file).exists(), "no database was created");
}

#[test]
fn doctor_names_unreachable_services_with_their_remedies() {
    let database = Database::postgres();
    let mut hub = hub(&database);
    let closed_port = ports::free();
    hub.set("WARDROOM_REDIS_URL", format!("redis://127.0.0.1:{closed_port}"));
    hub.set("WARDROOM_TURN_URLS", format!("turn:127.0.0.1:{closed_port}?transport=tcp"));
    hub.set("WARDROOM_TURN_SECRET", "a secret of the tests");
    hub.set("WARDROOM_MAIL_URL", format!("smtp://127.0.0.1:{closed_port}"));
    hub.set("WARDROOM_MAIL_FROM", "Clinic <clinic@example.org>");
    let (passes, report) = hub.run(&["doctor"]);
    assert!(!passes, "{report}");
    for about in ["redis_url", "turn.urls", "mail.provider"] {
        assert!(line(&report, about).starts_with("BAD"), "{report}");
    }
    assert!(line(&report, "push.services").starts_with("warn"), "{report}");
    assert!(report.contains("3 bad"), "{report}");

    // Once something listens there, the check succeeds.
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = there.local_addr().unwrap().port();
    hub.set("WARDROOM_MAIL_URL", format!("smtp://127.0.0.1:{port}"));
    hub.set("WARDROOM_TURN_URLS", format!("turn:127.0.0.1:{port}?transport=tcp"));
    let (_, report) = hub.run(&["doctor"]);
    assert!(
        line(&report, "mail.provider").starts_with("ok") && line(&report, "turn.urls").starts_with("ok"),
        "{report}"
    );
    assert!(report.contains("1 bad"), "{report}");
}

#[test]
fn doctor_finds_a_proxy_whose_addresses_the_hub_does_not_understand() {
    let database = Database::sqlite();
    let mut hub = hub(&database);
    hub.set("WARDROOM_BEHIND_PROXY", "true");
    hub.set("WARDROOM_PUBLIC_URL", "https://hub.example.org");
    let address = hub.start();
    hub.set("WARDROOM_LISTEN", address);
    let request = |forwarded_for: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = "POST /v1/auth/refresh HTTP/1.1\r\nHost: hub.example.org\r\nConnection: close";
        write!(stream, "{head}\r\nX-Forwarded-For: {forwarded_for}\r\nContent-Length: 0\r\n\r\n").unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    };
    request("[2001:db8::1]:443");
    assert!(line(&hub.run(&["doctor"]).1, "X-Forwarded-For").starts_with("ok"));
    request("unknown");
    let (passes, report) = hub.run(&["doctor"]);
    assert!(!passes && line(&report, "X-Forwarded-For").starts_with("BAD"), "{report}");
}

#[test]
fn doctor_finds_a_broken_key_before_notifications_stop() {
    let database = Database::sqlite();
    let hub = hub(&database);
    std::fs::create_dir_all(hub.data().join("keys")).unwrap();
    std::fs::write(hub.data().join("keys/push-key"), "not a key").unwrap();
    let (passes, report) = hub.run(&["doctor"]);
    assert!(!passes && line(&report, "push.key").starts_with("BAD"), "{report}");
    assert!(!report.contains("not a key"), "a key is never shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_a_used_database_up_to_date() {
    let database = Database::sqlite();
    let mut hub = hub(&database);
    hub.start();
    let (_, report) = hub.run(&["doctor"]);
    assert!(line(&report, "database_url").contains("up to date"), "{report}");
}
