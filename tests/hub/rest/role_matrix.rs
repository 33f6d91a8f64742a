//! Every documented operation against every role. The matrix is generated, so new operations are included
//! automatically.

use rooms::role::Role;
use serde_json::{Value, json};
use uuid::Uuid;
use wardroom::config::DatabaseSettings;

use crate::support::both;
use crate::support::rest::{RestClient, document};

struct Operation {
    method: String,
    /// With a new id in place of each parameter.
    path: String,
    public: bool,
    keyed: bool,
    /// `None` means all roles.
    roles: Option<Vec<String>>,
}

fn operations() -> Vec<Operation> {
    let mut operations = Vec::new();
    for (template, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let path: Vec<String> = template
                .split('/')
                .map(|part| if part.starts_with('{') { Uuid::now_v7().to_string() } else { part.to_owned() })
                .collect();
            let roles = operation["x-roles"].as_array();
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            operations.push(Operation {
                method: method.clone(),
                path: path.join("/"),
                public: operation["security"].as_array().unwrap().is_empty(),
                keyed: parameters.iter().any(|it| it["$ref"] == "#/components/parameters/IdempotencyKey"),
                roles: roles.map(|roles| roles.iter().map(|role| role.as_str().unwrap().to_owned()).collect()),
            });
        }
    }
    operations
}

async fn only_public_operations_work_without_a_token(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let mut closed = 0;
    for operation in operations().iter().filter(|operation| !operation.public) {
        for token in [None, Some("nonsense"), Some("")] {
            let mut call =
                rest.call(&operation.method, &operation.path).key(&Uuid::now_v7().to_string()).json(json!({}));
            if let Some(token) = token {
                call = call.bearer(token);
            }
            call.send().await.assert_problem(401, "unauthenticated");
            closed += 1;
        }
    }
    assert!(closed > 100, "{closed}");
}

async fn roles_are_checked_before_anything_else(database: DatabaseSettings) {
    let rest = RestClient::start_with(database, |config| config.limits.requests_per_second = 10_000).await;
    let mut cells = 0;
    for role in Role::PEOPLE.into_iter().chain([Role::Guest]) {
        let token = rest.token(role).await;
        for operation in operations().iter().filter(|operation| !operation.public) {
            if operation.path == "/v1/auth/sign-out-everywhere" || operation.path == "/v1/stream" {
                continue;
            }
            let call = rest.call(&operation.method, &operation.path).bearer(&token).key(&Uuid::now_v7().to_string());
            // The role is checked before the content, even if that is invalid.
            let answer = call.json(json!({"nonsense": Value::Null})).send().await;
            let may = operation.roles.as_ref().is_none_or(|roles| roles.iter().any(|it| it == role.as_str()));
            let what = format!("{} {} by {role:?}: {}", operation.method, operation.path, answer.text);
            if may {
                assert_ne!(answer.status, 401, "{what}");
                let at_the_gate = answer.json["detail"] == "your role does not allow this";
                assert!(!at_the_gate, "{what}");
            } else {
                assert_eq!((answer.status.as_u16(), answer.code()), (403, "forbidden"), "{what}");
            }
            cells += 1;
        }
    }
    assert!(cells > 250, "{cells}");
}

async fn keyed_operations_require_a_key(database: DatabaseSettings) {
    let rest = RestClient::start(database).await;
    let mut keyed = 0;
    for operation in operations().iter().filter(|operation| operation.keyed) {
        let role = operation.roles.as_ref().map_or("patient", |roles| roles[0].as_str());
        let role = Role::PEOPLE.into_iter().find(|it| it.as_str() == role).unwrap();
        let token = rest.token(role).await;
        let call = rest.call(&operation.method, &operation.path).bearer(&token).json(json!({}));
        call.send().await.assert_problem(400, "key_required");
        keyed += 1;
    }
    assert!(keyed >= 19, "{keyed}");
}

#[test]
fn unsafe_operations_outside_sign_in_are_keyed() {
    for operation in operations() {
        let free = [
            "/v1/auth/",
            "/v1/echo",
            "/v1/partners/",
            "/v1/push/",
            "/v1/sandbox/payments/",
            "/v1/stream",
            "/v1/frames",
            "/v1/guests/enter",
        ];
        let exempt = free.iter().any(|start| operation.path.starts_with(start));
        assert!(operation.keyed || operation.method == "get" || exempt, "{} {}", operation.method, operation.path);
    }
}

both! {
    only_public_operations_work_without_a_token
    roles_are_checked_before_anything_else
    keyed_operations_require_a_key
}
