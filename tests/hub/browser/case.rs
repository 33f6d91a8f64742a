//! Whole cases in real browsers, through the pages that people use.

use rooms::event::Event;
use rooms::record::Record;
use serde_json::json;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::browser::{Browser, Driver};
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, room_id_in_url, sign_in, stored_log, walk_in};

async fn send_message(browser: &Browser, text: &str) {
    browser.write("chat-input", text).await;
    browser.click("chat-send").await;
}

/// Counts the messages with this text on a page.
async fn count(browser: &Browser, text: &str) -> u64 {
    let body = format!(
        "return [...document.querySelectorAll('[data-testid=chat-message] p')].filter(it => it.textContent === {}).length",
        json!(text)
    );
    browser.run(&body).await.as_u64().expect("a number")
}

fn messages(log: &[Record]) -> Vec<String> {
    let text = |record: &Record| match &record.event {
        Event::ChatSent(chat) => Some(chat.text.as_str().to_owned()),
        _ => None,
    };
    log.iter().filter_map(text).collect()
}

async fn whole_case_on_four_screens_survives_hub_kills(database: DatabaseSettings) {
    let mut hub = HubProcess::new("demo", &database);
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
    let doctor = sign_in(&driver, &hub, "Dana Okafor", DESKTOP_SIZE).await;
    let pharmacist = sign_in(&driver, &hub, "Farid Haddad", DESKTOP_SIZE).await;
    let courier = sign_in(&driver, &hub, "Casey Rivera", PHONE_SIZE).await;

    walk_in(&patient).await;
    let room = room_id_in_url(&patient).await;
    doctor.click("lobby-admit").await;
    patient.click("enter-call").await;
    doctor.wait_for_state("consultation", "in_progress").await;
    send_message(&doctor, "Good morning, what brings you here?").await;
    patient.wait_for_text("Good morning, what brings you here?").await;
    send_message(&patient, "My throat hurts.").await;
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
    // Written while the hub is down: the message is queued, and shown as waiting.
    send_message(&patient, "Are you still there?").await;
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
    let log = stored_log(&database, &room).await;
    assert_eq!(messages(&log), ["Good morning, what brings you here?", "My throat hurts.", "Are you still there?"]);
    let mut kinds: Vec<_> = log.iter().map(|record| record.event.kind()).collect();
    kinds.retain(|kind| matches!(*kind, "prescription.signed" | "prescription.sent" | "delivery.assigned"));
    assert_eq!(kinds, ["prescription.signed", "prescription.sent", "delivery.assigned"], "each event happened once");
    let (whole, report) = hub.run(&["verify", "--database"]);
    assert!(whole, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_written_offline_survive_a_reload_and_are_sent_once() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Tom Abara", PHONE_SIZE).await;
    walk_in(&patient).await;
    let room = room_id_in_url(&patient).await;
    send_message(&patient, "before").await;
    patient.css("[data-testid=chat-message][data-state=sent]").await;
    hub.kill();
    patient.css("[data-testid=connection-state]:not([data-state=live])").await;
    let written = ["first offline", "second offline", "third offline"];
    for text in written {
        send_message(&patient, text).await;
    }
    patient
        .wait_until(
            "all messages are queued",
            "return document.querySelectorAll('[data-testid=chat-message][data-state=waiting]').length === 3",
        )
        .await;
    // A page can only be reloaded while there is a hub, so block its socket and fallback instead.
    hub.start();
    patient.client.refresh().await.unwrap();
    patient.css("[data-testid=connection-state][data-state=live]").await;
    patient
        .wait_until(
            "all messages are sent",
            "return document.querySelectorAll('[data-testid=chat-message][data-state=sent]').length === 4",
        )
        .await;
    for text in written {
        assert_eq!(count(&patient, text).await, 1, "{text}");
    }
    assert_eq!(
        messages(&stored_log(&database.settings(), &room).await),
        ["before", written[0], written[1], written[2]]
    );
    patient.assert_no_errors().await;
}

/// Returns the test id or text of the focused element, and whether its focus is visible.
async fn focus(browser: &Browser) -> (String, bool) {
    let body = "const it = document.activeElement; const style = getComputedStyle(it);
        return [it === document.body ? '' : it.dataset.testid ?? it.textContent.slice(0, 40), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0];";
    let value = browser.run(body).await;
    (value[0].as_str().unwrap_or_default().to_owned(), value[1] == true)
}

/// Presses Tab until this element has the focus.
async fn tab_to(browser: &Browser, testid: &str) {
    browser.wait_for(testid).await;
    for _ in 0..80 {
        browser.press("\u{e004}").await;
        let (now, visible) = focus(browser).await;
        // After the last element the browser's own controls briefly take the focus.
        assert!(visible || now.is_empty(), "{now} has the focus without showing it");
        if now == testid {
            return;
        }
    }
    panic!("{testid} cannot be reached by keyboard");
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_to_message_works_by_keyboard_alone() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let person = driver.browser(DESKTOP_SIZE).await;
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
    assert_eq!(focus(&person).await.0, "chat-input", "the input keeps the focus");
    person.assert_no_errors().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_home_screen_fits_a_phone() {
    let database = crate::support::database::Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let phone = driver.browser(PHONE_SIZE).await;
    let fits = async |what: &str| {
        let wide = phone.run("return [document.documentElement.scrollWidth, innerWidth]").await;
        assert!(wide[0].as_u64() <= wide[1].as_u64(), "{what} is wider than the phone: {wide}");
        let body = "return [...document.querySelectorAll('main button, main a.button, main input:not([type=checkbox]):not([type=radio])')]
            .filter(it => it.offsetParent && it.getBoundingClientRect().height < 43 && !it.classList.contains('link'))
            .map(it => it.textContent || it.dataset.testid)";
        let small = phone.run(body).await;
        assert_eq!(small, json!([]), "{what} has touch targets that are too small");
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
    walk_in(&phone).await;
    fits("the room").await;
}

both! {
    whole_case_on_four_screens_survives_hub_kills
}
