//! What a person sees and types survives faults of the network and changes of the case.

use serde_json::json;

use crate::support::browser::{Browser, Driver};
use crate::support::database::Database;
use crate::support::devtools::DevTools;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, sign_in, walk_in};

/// Connects to a browser's page by DevTools.
async fn page_tools(driver: &Driver, browser: &Browser) -> (DevTools, String) {
    let mut tools = DevTools::connect(&driver.debugger(browser).await).await;
    let page = tools.attach("page").await;
    (tools, page)
}

#[tokio::test(flavor = "multi_thread")]
async fn page_reports_a_file_that_fails_to_load_and_loads_again() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    let address = hub.start();
    let driver = Driver::start();
    let person = driver.browser(PHONE_SIZE).await;
    let (mut tools, page) = page_tools(&driver, &person).await;
    tools.call(Some(&page), "Network.enable", json!({})).await;
    for file in ["labels.js", "app.js", "style.css"] {
        tools.call(Some(&page), "Network.setBlockedURLs", json!({"urls": [format!("*/{file}")]})).await;
        person.go(&format!("http://{address}/?{file}")).await;
        person.wait_for("load-failed").await;
        tools.call(Some(&page), "Network.setBlockedURLs", json!({"urls": []})).await;
        person.wait_for("signin-email").await;
    }
}

/// Returns the medicines in the form.
async fn medicines(doctor: &Browser) -> serde_json::Value {
    doctor.run("return [...document.querySelectorAll('[data-testid=rx-medicine]')].map(it => it.value)").await
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_and_composition_go_on_while_the_case_changes() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
    let doctor = sign_in(&driver, &hub, "Dana Okafor", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    doctor.click("lobby-admit").await;
    patient.click("enter-call").await;
    doctor.wait_for_state("consultation", "in_progress").await;
    doctor.write("rx-medicine", "Amoxicillin 500 mg").await;
    doctor.click("rx-add").await;
    doctor.run("document.querySelectorAll('[data-testid=rx-medicine]')[1].focus()").await;
    doctor.press("Ibupro").await;
    let (mut tools, page) = page_tools(&driver, &doctor).await;
    let compose = json!({"text": "하", "selectionStart": 1, "selectionEnd": 1});
    tools.call(Some(&page), "Input.imeSetComposition", compose).await;

    patient.click("end-consultation").await;
    doctor.wait_for_state("consultation", "wrap_up").await;

    let compose = json!({"text": "한", "selectionStart": 1, "selectionEnd": 1});
    tools.call(Some(&page), "Input.imeSetComposition", compose).await;
    tools.call(Some(&page), "Input.insertText", json!({"text": "한"})).await;
    doctor.press("fen 400 mg").await;
    assert_eq!(medicines(&doctor).await, json!(["Amoxicillin 500 mg", "Ibupro한fen 400 mg"]));
    doctor.assert_no_errors().await;
}
