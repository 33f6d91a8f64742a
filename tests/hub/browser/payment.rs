//! A booking paid in a real browser: from the slot over the sandbox checkout page to a confirmed booking and its
//! mail.

use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::browser::Driver;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, sign_in};

async fn booking_is_paid_in_the_browser_and_the_page_follows(database: DatabaseSettings) {
    let mut hub = HubProcess::new("demo", &database);
    hub.set("WARDROOM_POLICY_PRICE", 2500);
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
    patient.click_css("[data-testid=doctor-card][data-name*=Okafor]").await;
    patient.click_css("[data-testid=slot]").await;
    patient.wait_for_text("To confirm the booking, pay €25.00.").await;
    patient.click("pay-link").await;
    patient.wait_for_text("This is a sandbox: no money moves").await;
    // A declined card first: the slot is released, and the page says so.
    patient.click("decline").await;
    patient.css("[data-testid=checkout][data-state=released]").await;
    patient.click("back").await;
    patient.css("[data-testid=consultation-state][data-state=expired]").await;
    patient.wait_for_text("Nothing was paid. Book again if you still want to come.").await;

    // Again; this time the other window follows by itself.
    patient.go(&hub.demo_link("Pia Lindqvist")).await;
    patient.click_css("[data-testid=doctor-card][data-name*=Okafor]").await;
    patient.click_css("[data-testid=slot]").await;
    patient.wait_for("pay-link").await;
    let page = patient.run("return document.querySelector('[data-testid=pay-link]').href").await;
    let cashier = driver.browser(DESKTOP_SIZE).await;
    cashier.go(page.as_str().expect("a checkout address")).await;
    cashier.click("whims").await;
    cashier.click("whim-twice").await;
    cashier.click("pay").await;
    cashier.css("[data-testid=checkout][data-state=authorized]").await;
    patient.css("[data-testid=consultation-state][data-state=booked]").await;
    patient.css("[data-testid=payment][data-state=authorized]").await;
    patient.wait_for("check-in").await;

    let admin = sign_in(&driver, &hub, "Alex Admin", DESKTOP_SIZE).await;
    admin.css("[data-testid=sandbox-mail-row]").await;
    admin.wait_for_text("Your appointment is booked").await;
    for browser in [&patient, &cashier, &admin] {
        browser.assert_no_errors().await;
    }
}

both! { booking_is_paid_in_the_browser_and_the_page_follows }
