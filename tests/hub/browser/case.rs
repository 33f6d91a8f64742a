//! Whole stories in real browsers, through the pages that people use.

use rooms::event::Event;
use rooms::record::Record;
use serde_json::json;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;

use crate::support::both;
use crate::support::browser::{Browser, Driver};
use crate::support::hub_process::HubProcess;

pub const DESK: (u32, u32) = (1280, 900);
pub const PHONE: (u32, u32) = (390, 844);

/// Signs somebody of the demo clinic in.
pub async fn signed_in(driver: &Driver, hub: &HubProcess, name: &str, size: (u32, u32)) -> Browser {
    let browser = driver.browser(size).await;
    browser.go(&hub.demo_link(name)).await;
    browser.css("[data-testid=connection-state][data-state=live]").await;
    browser
}

/// The patient walks in to Dr. Okafor, agrees, and waits.
pub async fn walks_in(patient: &Browser) {
    patient.click_css("[data-testid=doctor-card][data-name*=Okafor]").await;
    patient.write("reason", "A sore throat since Monday").await;
    patient.click("walk-in").await;
    patient.click("consent").await;
    patient.click("check-in").await;
    patient.wait_for("lobby-place").await;
}

pub async fn room_of(patient: &Browser) -> String {
    let room = patient.wait_until("a room", "return location.hash.split('/')[2]").await;
    room.as_str().expect("an id").to_owned()
}

async fn says(browser: &Browser, text: &str) {
    browser.write("chat-input", text).await;
    browser.click("chat-send").await;
}

/// How often a page shows a message with this text.
async fn count(browser: &Browser, text: &str) -> u64 {
    let body = format!(
        "return [...document.querySelectorAll('[data-testid=chat-message] p')].filter(it => it.textContent === {}).length",
        json!(text)
    );
    browser.run(&body).await.as_u64().expect("a number")
}

pub async fn log_of(database: &DatabaseSettings, room: &str) -> Vec<Record> {
    let store = Store::connect(database).await.unwrap();
    let stored = store.events_after(room.parse().unwrap(), 0, 1_000).await.unwrap();
    stored.iter().map(|it| serde_json::from_str(&it.canonical).unwrap()).collect()
}

fn messages(log: &[Record]) -> Vec<String> {
    let text = |record: &Record| match &record.event {
        Event::ChatSent(chat) => Some(chat.text.as_str().to_owned()),
        _ => None,
    };
    log.iter().filter_map(text).collect()
}

async fn a_whole_case_is_played_on_four_screens_while_the_hub_is_killed(database: DatabaseSettings) {
    let mut hub = HubProcess::new("demo", &database);
    hub.start();
    let driver = Driver::start();
    let patient = signed_in(&driver, &hub, "Pia Lindqvist", PHONE).await;
    let doctor = signed_in(&driver, &hub, "Dana Okafor", DESK).await;
    let pharmacist = signed_in(&driver, &hub, "Farid Haddad", DESK).await;
    let courier = signed_in(&driver, &hub, "Casey Rivera", PHONE).await;

    walks_in(&patient).await;
    let room = room_of(&patient).await;
    doctor.click("lobby-admit").await;
    patient.click("enter-call").await;
    doctor.wait_for_state("consultation", "in_progress").await;
    says(&doctor, "Good morning, what brings you here?").await;
    patient.wait_for_text("Good morning, what brings you here?").await;
    says(&patient, "My throat hurts.").await;
    doctor.wait_for_text("My throat hurts.").await;

    doctor.write("rx-medicine", "Amoxicillin 500 mg").await;
    doctor.write("rx-dosage", "one three times a day").await;
    doctor.write("rx-quantity", "21").await;
    doctor.write("rx-days", "7").await;
    doctor.click("rx-draft").await;
    doctor.click("rx-sign").await;
    patient.css("[data-testid=status-prescription]").await;

    hub.kill();
    patient.css("[data-testid=connection-state]:not([data-state=live])").await;
    // Written while there is no hub: it waits, and says so.
    says(&patient, "Are you still there?").await;
    patient.css("[data-testid=chat-message][data-state=waiting]").await;
    hub.start();

    patient.click_css("[data-testid=pharmacy-option]:first-of-type").await;
    patient.click("handover-delivery").await;
    patient.write("delivery-address", "5 Garden Lane").await;
    patient.click("rx-send").await;
    doctor.wait_for_text("Are you still there?").await;
    doctor.wait_for_state("dispensing", "received").await;
    pharmacist.click("queue-claim").await;
    doctor.wait_for_state("prescription", "with_pharmacy").await;
    for to in ["preparing", "checked", "ready"] {
        pharmacist.click(&format!("dispense-move-{to}")).await;
        patient.wait_for_state("dispensing", to).await;
    }
    pharmacist.click("courier-assign").await;
    courier.click("delivery-row").await;
    for to in ["picked_up", "in_transit", "out_for_delivery"] {
        courier.click(&format!("delivery-move-{to}")).await;
        patient.wait_for_state("delivery", to).await;
    }
    courier.write("proof-reference", "4711").await;
    courier.click("delivery-move-delivered").await;
    for screen in [&patient, &doctor, &pharmacist] {
        screen.wait_for_state("delivery", "delivered").await;
    }
    doctor.click("end-consultation").await;
    doctor.write("note-input", "Tonsillitis; antibiotics for a week.").await;
    doctor.click("complete").await;
    patient.wait_for_state("consultation", "completed").await;
    patient.wait_for_text("Tonsillitis; antibiotics for a week.").await;

    for text in ["Good morning, what brings you here?", "My throat hurts.", "Are you still there?"] {
        assert_eq!((count(&patient, text).await, count(&doctor, text).await), (1, 1), "{text}");
    }
    for screen in [&patient, &doctor, &pharmacist, &courier] {
        screen.assert_no_errors().await;
    }
    let log = log_of(&database, &room).await;
    assert_eq!(messages(&log), ["Good morning, what brings you here?", "My throat hurts.", "Are you still there?"]);
    let mut kinds: Vec<_> = log.iter().map(|record| record.event.kind()).collect();
    kinds.retain(|kind| matches!(*kind, "prescription.signed" | "prescription.sent" | "delivery.assigned"));
    assert_eq!(kinds, ["prescription.signed", "prescription.sent", "delivery.assigned"], "each happened once");
    let (whole, told) = hub.run(&["verify", "--database"]);
    assert!(whole, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_offline_survives_a_reload_and_is_sent_once() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.start();
    let driver = Driver::start();
    let patient = signed_in(&driver, &hub, "Tom Abara", PHONE).await;
    walks_in(&patient).await;
    let room = room_of(&patient).await;
    says(&patient, "before").await;
    patient.css("[data-testid=chat-message][data-state=sent]").await;
    hub.kill();
    patient.css("[data-testid=connection-state]:not([data-state=live])").await;
    let written = ["first offline", "second offline", "third offline"];
    for text in written {
        says(&patient, text).await;
    }
    patient
        .wait_until(
            "all wait",
            "return document.querySelectorAll('[data-testid=chat-message][data-state=waiting]').length === 3",
        )
        .await;
    // The page can only be loaded anew with a hub; what is stopped is its way to the socket and the fallback.
    hub.start();
    patient.client.refresh().await.unwrap();
    patient.css("[data-testid=connection-state][data-state=live]").await;
    patient
        .wait_until(
            "all are sent",
            "return document.querySelectorAll('[data-testid=chat-message][data-state=sent]').length === 4",
        )
        .await;
    for text in written {
        assert_eq!(count(&patient, text).await, 1, "{text}");
    }
    assert_eq!(messages(&log_of(&database.settings(), &room).await), ["before", written[0], written[1], written[2]]);
    patient.assert_no_errors().await;
}

/// What has the focus: its test id, or its text; and whether it shows that it has it.
async fn focus(browser: &Browser) -> (String, bool) {
    let body = "const it = document.activeElement; const style = getComputedStyle(it);
        return [it === document.body ? '' : it.dataset.testid ?? it.textContent.slice(0, 40), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];";
    let value = browser.run(body).await;
    (value[0].as_str().unwrap_or_default().to_owned(), value[1] == true)
}

/// Goes on by the tabulator key until this has the focus.
async fn tab_to(browser: &Browser, testid: &str) {
    browser.wait_for(testid).await;
    for _ in 0..80 {
        browser.press("\u{e004}").await;
        let (now, visible) = focus(browser).await;
        // After the last element the browser's own controls have it, for a moment.
        assert!(visible || now.is_empty(), "{now} has the focus and does not show it");
        if now == testid {
            return;
        }
    }
    panic!("{testid} cannot be reached by keyboard");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_from_registration_to_a_message_works_by_keyboard() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let person = driver.browser(DESK).await;
    person.go(&format!("http://{address}/")).await;
    tab_to(&person, "to-register").await;
    person.press("\u{e007}").await;
    for (field, text) in [
        ("register-name", "Kay Board"),
        ("register-email", "kay@example.org"),
        ("register-password", "correct horse battery 9"),
    ] {
        tab_to(&person, field).await;
        person.press(text).await;
    }
    person.press("\u{e007}").await;
    person.css("[data-testid=connection-state][data-state=live]").await;
    tab_to(&person, "doctor-card").await;
    person.press("\u{e007}").await;
    tab_to(&person, "walk-in").await;
    person.press("\u{e007}").await;
    tab_to(&person, "consent").await;
    person.press(" ").await;
    tab_to(&person, "check-in").await;
    person.press("\u{e007}").await;
    person.wait_for("lobby-place").await;
    tab_to(&person, "chat-input").await;
    person.press("By keyboard alone\u{e007}").await;
    person.css("[data-testid=chat-message][data-state=sent]").await;
    assert_eq!(focus(&person).await.0, "chat-input", "one goes on writing");
    person.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_home_fits_a_phone() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let phone = driver.browser(PHONE).await;
    let fits = async |what: &str| {
        let wide = phone.run("return [document.documentElement.scrollWidth, innerWidth]").await;
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "{what} is wider than the phone: {wide}");
        let body = "return [...document.querySelectorAll('main button, main a.button, main input:not([type=checkbox]):not([type=radio])')]
            .filter(it => it.offsetParent && it.getBoundingClientRect().height < 43 && !it.classList.contains('link'))
            .map(it => it.textContent || it.dataset.testid)";
        let small = phone.run(body).await;
        assert_eq!(small, json!([]), "{what} has targets too small for a thumb");
    };
    phone.go(&format!("http://{address}/")).await;
    phone.wait_for("signin-email").await;
    fits("sign-in").await;
    for name in ["Pia Lindqvist", "Dana Okafor", "Farid Haddad", "Casey Rivera", "Alex Admin"] {
        phone.run("sessionStorage.clear(); localStorage.clear()").await;
        phone.go("about:blank").await;
        phone.go(&hub.demo_link(name)).await;
        phone.css("[data-testid=connection-state][data-state=live]").await;
        phone.wait_until_gone("main .loading").await;
        fits(name).await;
        phone.assert_no_errors().await;
    }
    phone.go("about:blank").await;
    phone.go(&hub.demo_link("Tom Abara")).await;
    walks_in(&phone).await;
    fits("the room").await;
}

both! {
    a_whole_case_is_played_on_four_screens_while_the_hub_is_killed
}
