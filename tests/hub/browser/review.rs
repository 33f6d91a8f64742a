//! A prescription under review, and work on hold, through the pages.

use crate::support::browser::Driver;
use crate::support::database::Database;
use crate::support::hub_process::HubProcess;
use crate::support::pages::{DESKTOP_SIZE, PHONE_SIZE, sign_in, walk_in};

#[tokio::test(flavor = "multi_thread")]
async fn pharmacist_reviews_a_prescription_and_puts_its_dispensing_on_hold() {
    let database = Database::sqlite();
    let mut hub = HubProcess::new("demo", &database.settings());
    hub.set("WARDROOM_POLICY_REVIEW", true);
    hub.start();
    let driver = Driver::start();
    let patient = sign_in(&driver, &hub, "Pia Lindqvist", PHONE_SIZE).await;
    let doctor = sign_in(&driver, &hub, "Dana Okafor", DESKTOP_SIZE).await;
    let pharmacist = sign_in(&driver, &hub, "Farid Haddad", DESKTOP_SIZE).await;
    walk_in(&patient).await;
    patient.wait_for("check-open").await;
    doctor.click("lobby-admit").await;
    patient.click("enter-call").await;
    for (field, text) in
        [("rx-medicine", "Amoxicillin 500 mg"), ("rx-dosage", "one a day"), ("rx-quantity", "7"), ("rx-days", "7")]
    {
        doctor.write(field, text).await;
    }
    doctor.click("rx-draft").await;
    doctor.click("rx-sign").await;
    patient.wait_for_state("prescription", "signed").await;
    patient.click_css("[data-testid=pharmacy-option]:first-of-type").await;
    patient.click("rx-send").await;
    doctor.wait_for_state("prescription", "in_review").await;

    pharmacist.click("queue-open").await;
    pharmacist.write("review-text", "Is 500 mg right?").await;
    pharmacist.click("review-query").await;
    doctor.wait_for_text("Is 500 mg right?").await;
    doctor.write("review-answer-text", "Yes, it is.").await;
    doctor.click("review-answer").await;
    pharmacist.click("review-approve").await;
    patient.wait_for_state("prescription", "released").await;

    for to in ["accepted", "preparing"] {
        pharmacist.click(&format!("dispense-move-{to}")).await;
        patient.wait_for_state("dispensing", to).await;
    }
    pharmacist.run("document.querySelector('[data-testid=hold-reason]').value = 'payment'").await;
    pharmacist.click("dispense-move-on_hold").await;
    patient.wait_for_state("dispensing", "on_hold").await;
    patient.wait_for_text("Payment").await;
    for screen in [&patient, &doctor, &pharmacist] {
        screen.assert_no_errors().await;
    }
}
