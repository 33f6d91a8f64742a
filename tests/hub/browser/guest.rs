//! A guest in a real browser: enters by the link, takes part in chat and a call of three, and leaves.

use serde_json::Value;

use crate::support::browser::{Browser, Driver};
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, sign_in, walk_in};

/// Waits until this many videos of others play.
async fn wait_for_videos(browser: &Browser, others: usize) {
    let body = format!(
        "const all = [...document.querySelectorAll('[data-testid=call-remote]')];
        return all.length === {others} && all.every(it => it.getVideoPlaybackQuality().totalVideoFrames > 10)"
    );
    browser.wait_until("the others' videos play", &body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guest_enters_by_link_takes_part_and_leaves_with_it() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
    let doctor = sign_in(&driver, &hub, "Dana Okafor", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    doctor.click("lobby-admit").await;
    patient.click("enter-call").await;
    patient.write("chat-input", "between the two of us").await;
    patient.click("chat-send").await;

    doctor.run("document.querySelector('[data-testid=guest-invite]').open = true").await;
    doctor.write("guest-name", "Ines Terpreter").await;
    doctor.click("guest-make").await;
    doctor.click("guest-link").await;
    let url =
        doctor.wait_until("the guest link", "return document.querySelector('[data-testid=guest-url]')?.value").await;
    let guest = driver.browser(DESKTOP_SIZE).await;
    guest.go(url.as_str().expect("a link")).await;
    guest.css("[data-testid=connection-state][data-state=live]").await;
    doctor.css("[data-testid=guest][data-entered=true]").await;
    let address = guest.run("return location.href").await;
    assert!(!address.as_str().unwrap().contains("guest="), "{address}");

    // In a call of three, everybody sees everybody.
    doctor.click("call-video").await;
    patient.click("call-accept").await;
    guest.click("call-accept").await;
    for browser in [&patient, &doctor, &guest] {
        wait_for_videos(browser, 2).await;
    }
    guest.write("chat-input", "bonjour").await;
    guest.click("chat-send").await;
    patient.wait_until("the guest's message", "return [...document.querySelectorAll('[data-testid=chat-message] p')].some(it => it.textContent === 'bonjour')").await;
    let page = guest.run("return document.body.innerText").await;
    let page = page.as_str().unwrap();
    assert!(!page.contains("between the two of us") && !page.contains("sore throat"), "{page}");

    // After a reload the guest is back in the same call.
    guest.run("location.reload()").await;
    guest.css("[data-testid=connection-state][data-state=live]").await;
    guest.click("call-take").await;
    for browser in [&patient, &doctor, &guest] {
        wait_for_videos(browser, 2).await;
    }

    patient.click("guest-dismiss").await;
    guest
        .wait_until(
            "the room is closed to the guest",
            "return document.body.innerText.includes('You have no access to this room')",
        )
        .await;
    for browser in [&patient, &doctor] {
        wait_for_videos(browser, 1).await;
    }
    guest.go(url.as_str().unwrap()).await;
    guest.run("location.reload()").await;
    let refusal = guest.wait_until("why", "return document.body.innerText.includes('This link does not open')").await;
    assert_eq!(refusal, Value::Bool(true));
    patient.assert_no_errors().await;
    doctor.assert_no_errors().await;
}
