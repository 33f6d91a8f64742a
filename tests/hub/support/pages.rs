//! First steps through the pages that many browser tests share: sign-in, walk-in, and finding the room.

use rooms::record::Record;
use wardroom::config::DatabaseSettings;
use wardroom::store::Store;

use super::browser::{Browser, Driver};
use super::hub_process::HubProcess;

pub const DESKTOP_SIZE: (u32, u32) = (1280, 900);
pub const PHONE_SIZE: (u32, u32) = (390, 844);

/// Signs in a person of the demo clinic.
pub async fn sign_in(driver: &Driver, hub: &HubProcess, name: &str, size: (u32, u32)) -> Browser {
    let browser = driver.browser(size).await;
    browser.go(&hub.demo_link(name)).await;
    browser.css("[data-testid=connection-state][data-state=live]").await;
    browser
}

/// Walks in to Dr. Okafor as the patient, consents, and waits.
pub async fn walk_in(patient: &Browser) {
    patient.click_css("[data-testid=doctor-card][data-name*=Okafor]").await;
    patient.write("reason", "A sore throat since Monday").await;
    patient.click("walk-in").await;
    patient.click("consent").await;
    patient.click("check-in").await;
    patient.wait_for("lobby-place").await;
}

pub async fn room_id_in_url(patient: &Browser) -> String {
    let room = patient.wait_until("a room in the address", "return location.hash.split('/')[2]").await;
    room.as_str().expect("a room id").to_owned()
}

pub async fn stored_log(database: &DatabaseSettings, room: &str) -> Vec<Record> {
    let store = Store::connect(database).await.unwrap();
    let stored = store.events_after(room.parse().unwrap(), 0, 1_000).await.unwrap();
    stored.iter().map(|it| serde_json::from_str(&it.canonical).unwrap()).collect()
}
