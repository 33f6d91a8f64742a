//! Search by name: in any case and in any Unicode form, on both databases whatever their locale.

use rooms::role::Role;
use serde_json::json;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::database::Database;
use crate::support::rest::RestClient;

/// Names, each with queries that must find it.
const NAMES: [(&str, &[&str]); 8] = [
    ("Émile Zola", &["Émile Zola", "émile", "ÉMILE", "E\u{301}mile", "emile"]),
    ("Łukasz Żak", &["Łukasz", "łukasz", "LUKASZ", "żak"]),
    ("Øystein", &["Øystein", "øystein", "oystein"]),
    ("Özlem", &["Özlem", "özlem", "ÖZLEM", "O\u{308}zlem"]),
    ("Иван Чайковский", &["Иван", "иван", "ИВАН", "чайковский"]),
    ("José Núñez", &["José", "Jose\u{301}", "JOSÉ", "nunez"]),
    ("Σοφία Ὀδυσσεύς", &["σοφια", "ΣΟΦΊΑ", "οδυσσευσ"]),
    ("김민수", &["김민수", "민수"]),
];

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn names_are_found_in_any_case_and_form(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let admin = rest.token(Role::Admin).await;
    for (name, _) in NAMES {
        rest.server.person(Role::Courier, name, None).await;
        let pharmacy = json!({"name": name, "address": "Žižkov 7, Ülker sokak 100%"});
        rest.post("/v1/pharmacies").bearer(&admin).json(pharmacy).send().await.ok();
    }
    for (name, queries) in NAMES {
        for query in queries {
            for list in ["couriers", "pharmacies"] {
                let path = format!("/v1/{list}?q={}", encoded(query));
                let found = rest.get(&path).bearer(&admin).send().await.ok();
                let names: Vec<&str> =
                    found["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
                assert_eq!(names, [name], "{list} for {query}");
            }
        }
    }
    for (query, count) in
        [("žižkov", NAMES.len()), ("ulker", NAMES.len()), ("100%", NAMES.len()), ("%", NAMES.len()), ("nobody", 0)]
    {
        let found = rest.get(&format!("/v1/pharmacies?q={}", encoded(query))).bearer(&admin).send().await.ok();
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
}

async fn doctors_are_found_by_a_specialty_that_changes(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let (admin, patient) = (rest.token(Role::Admin).await, rest.token(Role::Patient).await);
    let doctor = rest.server.person(Role::Doctor, "Žofie", None).await.user().unwrap();
    let change =
        rest.call("patch", &format!("/v1/users/{doctor}")).bearer(&admin).key("a fresh key".replace(' ', "-").as_str());
    change.json(json!({"specialty": "Chirurgía Pediátrica"})).send().await.ok();
    for (query, count) in [("q=pediatrica", 1), ("specialty=CHIRURG%C3%8DA", 1), ("specialty=zofie", 0), ("q=zofie", 1)]
    {
        let found = rest.get(&format!("/v1/doctors?{query}")).bearer(&patient).send().await.ok();
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{query}");
    }
}

both! {
    names_are_found_in_any_case_and_form
    doctors_are_found_by_a_specialty_that_changes
}

/// In the C locale PostgreSQL itself folds ASCII letters only.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_in_the_c_locale() {
    let database = Database::postgres_in_c_locale();
    names_are_found_in_any_case_and_form(database.settings()).await;
}
