//! The OpenAPI document and the hub agree at every bound: what a schema allows is not refused for its size, and what it
//! forbids is refused. The inputs are derived from the document.

use std::num::NonZeroU32;

use rooms::role::{Actor, Role};
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wardroom::config::{Config, DatabaseSettings};

use crate::support::both;
use crate::support::rest::{RestClient, RestResponse, document};
use crate::support::test_server::Case;

/// A value at a bound of a schema, or just beyond it.
struct Variant {
    /// The field that has the bound.
    field: String,
    value: Value,
    is_allowed: bool,
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolve(document().pointer(&reference[1..]).expect("references resolve")),
        None => schema,
    }
}

/// Returns the alternatives of a union, without `null`.
fn alternatives(schema: &Value) -> Option<Vec<&Value>> {
    let any = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())?;
    Some(any.iter().map(resolve).filter(|it| it["type"] != "null").collect())
}

/// Returns whether a schema has this type, also beside `null`.
fn is(schema: &Value, kind: &str) -> bool {
    schema["type"] == kind || schema["type"].as_array().is_some_and(|all| all.contains(&json!(kind)))
}

/// Makes a text of this many letters that is no common password, and an e-mail address if the field has one.
fn text(field: &str, length: u64) -> String {
    let filler = "Quartz7sphinx".chars().cycle();
    let count = usize::try_from(length).unwrap();
    let domain = format!("@{}example.org", "sub-domain.".repeat(25));
    match field {
        "email" if count > 100 => {
            let domain = &domain[domain.len() - (count - 20)..];
            format!("{}@{}", filler.take(19).collect::<String>(), domain.trim_start_matches(['.', '-', '@']))
                .chars()
                .chain("g".chars().cycle())
                .take(count)
                .collect()
        }
        "email" => format!("{}@example.org", Uuid::now_v7().simple()),
        _ => filler.take(count).collect(),
    }
}

/// Makes a small valid value.
fn sample(field: &str, schema: &Value) -> Value {
    let schema = resolve(schema);
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    if let Some(all) = alternatives(schema) {
        return sample(field, all[0]);
    }
    if is(schema, "object") {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let fields = required.iter().map(|name| name.as_str().unwrap());
        return fields
            .map(|name| (name.to_owned(), sample(name, &schema["properties"][name])))
            .collect::<Map<_, _>>()
            .into();
    }
    if is(schema, "array") {
        let count = schema["minItems"].as_u64().unwrap_or(0);
        return (0..count).map(|_| sample(field, &schema["items"])).collect();
    }
    if is(schema, "integer") || is(schema, "number") {
        return json!(schema["minimum"].as_f64().map_or(1, |minimum| minimum as i64).max(1));
    }
    match schema["format"].as_str() {
        _ if is(schema, "boolean") => json!(false),
        Some("uuid") => json!(Uuid::now_v7()),
        Some("date-time") => json!("2030-01-01T00:00:00Z"),
        _ => json!(text(field, schema["minLength"].as_u64().unwrap_or(12).max(1))),
    }
}

/// Returns a value at and beyond each bound of a schema and its parts.
fn variants(field: &str, schema: &Value) -> Vec<Variant> {
    let schema = resolve(schema);
    let bound = |name: &str| schema[name].as_i64().or_else(|| schema[name].as_f64().map(|it| it as i64));
    let mut found = Vec::new();
    let mut add = |value: Value, is_allowed| found.push(Variant { field: field.to_owned(), value, is_allowed });
    let letters = |count: i64| json!(text(field, u64::try_from(count).unwrap()));
    if let Some(min) = bound("minLength") {
        add(letters(min), true);
        add(letters(min - 1), false);
    }
    if let Some(max) = bound("maxLength") {
        add(letters(max), true);
        add(letters(max + 1), false);
    }
    if let Some(min) = bound("minimum") {
        add(json!(min), true);
        add(json!(min - 1), false);
    }
    if let Some(max) = bound("maximum") {
        add(json!(max), true);
        add(json!(max + 1), false);
    }
    let many = |count: i64| -> Value { (0..count).map(|_| sample(field, &schema["items"])).collect() };
    if let Some(min) = bound("minItems") {
        add(many(min), true);
        add(many(min - 1), false);
    }
    if let Some(max) = bound("maxItems") {
        add(many(max), true);
        add(many(max + 1), false);
    }
    for alternative in alternatives(schema).into_iter().flatten() {
        found.extend(variants(field, alternative));
    }
    if is(schema, "array") {
        let items = variants(field, &schema["items"]);
        found.extend(items.into_iter().map(|it| Variant { value: json!([it.value]), ..it }));
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        for variant in variants(name, property) {
            let mut whole = sample(field, schema);
            whole[name] = variant.value;
            found.push(Variant { value: whole, ..variant });
        }
    }
    found
}

/// Returns the name at the end of a field's path, e.g. `dosage` of `items[0].dosage`.
fn last_name(path: &str) -> &str {
    let last = path.rsplit('.').next().unwrap_or(path);
    last.split('[').next().unwrap_or(last)
}

fn check(what: &str, variant: &Variant, answer: &RestResponse) {
    let refused = match answer.status.as_u16() {
        400 | 413 => true,
        422 => {
            answer.json["field"].as_str().is_none_or(|path| last_name(path) == variant.field)
                && answer.code() == "invalid"
        }
        _ => false,
    };
    let size = variant.value.to_string().len();
    // The engine checks some values only once it has found the subject, which a derived input does not have. Credentials
    // beyond their bounds match no account.
    let lacks_subject = matches!(answer.status.as_u16(), 401 | 403 | 404 | 409);
    let promise = if variant.is_allowed { "allows" } else { "forbids" };
    assert_eq!(
        refused || (lacks_subject && !variant.is_allowed),
        !variant.is_allowed,
        "{what}: the schema {promise} this {} ({size} bytes): {}",
        variant.field,
        answer.text
    );
}

/// Puts ids of the case into a path.
fn filled(path: &str, case: &Case, prescription: &str) -> String {
    let path = path.replace("{room}", &case.room.to_string()).replace("{prescription}", prescription);
    let parts =
        path.split('/').map(|part| if part.starts_with('{') { Uuid::now_v7().to_string() } else { part.to_owned() });
    parts.collect::<Vec<_>>().join("/")
}

fn roomy(config: &mut Config) {
    config.policy.max_days = 366;
    config.limits.requests_per_second = 100_000;
    config.limits.sign_ins_per_minute = 100_000;
    config.limits.anonymous_per_minute = 1_000_000;
    config.limits.arrivals_per_second = NonZeroU32::MAX;
}

async fn hub_agrees_with_its_document_at_every_bound(database: DatabaseSettings) {
    let rest = RestClient::start_with(database, roomy).await;
    let case = rest.server.case().await;
    let items = json!({"items": [{"medicine": "Testamol", "dosage": "one a day", "quantity": 10, "days": 10}]});
    let doctor = rest.server.token(&case.doctor).0;
    let draft = format!("/v1/consultations/{}/prescriptions", case.room);
    let drafted = rest.post(&draft).bearer(&doctor).json(items).send().await.ok();
    let prescription = drafted["prescription"].as_str().unwrap();
    let admin = rest.server.person(Role::Admin, "Ad", None).await;
    let courier = rest.server.person(Role::Courier, "Cour", None).await;
    let token = |operation: &Value| {
        let roles = operation["x-roles"].as_array();
        let has = |role: &str| roles.is_none_or(|roles| roles.contains(&json!(role)));
        let actors: [(&str, &Actor); 5] = [
            ("doctor", &case.doctor),
            ("patient", &case.patient),
            ("pharmacist", &case.pharmacist),
            ("admin", &admin),
            ("courier", &courier),
        ];
        let actor = actors.iter().find(|(role, _)| has(role)).expect("somebody may call it").1;
        rest.server.token(actor).0
    };
    let mut checked = 0;
    for (template, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let (what, path, token) =
                (format!("{method} {template}"), filled(template, &case, prescription), token(operation));
            let has_version = item["get"].is_object() && method != "get";
            let version = async || {
                let current = if has_version {
                    rest.get(&path).bearer(&token).send_unchecked().await
                } else {
                    return "\"1\"".to_owned();
                };
                if current.header("etag").is_empty() { "\"1\"".to_owned() } else { current.header("etag").to_owned() }
            };
            let call = async |path: &str| {
                let key = Uuid::now_v7().to_string();
                rest.call(method, path).bearer(&token).key(&key).header("if-match", &version().await)
            };
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let name = parameter["name"].as_str().unwrap_or_default();
                for variant in variants(name, &parameter["schema"]) {
                    if parameter["in"] != "query" {
                        continue;
                    }
                    let value = variant.value.as_str().map_or_else(|| variant.value.to_string(), str::to_owned);
                    check(&what, &variant, &call(&format!("{path}?{name}={value}")).await.send_unchecked().await);
                    checked += 1;
                }
            }
            let body = &operation["requestBody"]["content"]["application/json"]["schema"];
            // The frames' own errors are inside of a successful response, and an accepted stream does not end.
            let is_checked = |variant: &Variant| match template.as_str() {
                "/v1/frames" => variant.field == "frames",
                "/v1/stream" => !variant.is_allowed,
                _ => true,
            };
            for variant in variants("body", body).iter().filter(|variant| is_checked(variant)) {
                check(&what, variant, &call(&path).await.json(variant.value.clone()).send_unchecked().await);
                checked += 1;
            }
            if template.contains('{') {
                let named = template.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
                let named = named.collect::<Vec<_>>().join("/");
                let sent = call(&named).await.json(sample("body", body)).send_unchecked().await;
                assert_eq!(sent.status, 404, "{what} with an id that is none: {}", sent.text);
            }
        }
    }
    assert!(checked > 100, "{checked} inputs");

    let pattern = document()["components"]["parameters"]["IdempotencyKey"]["schema"]["pattern"].as_str().unwrap();
    assert_eq!(pattern.matches("{8,64}").count(), 2, "bare and in quotes: {pattern}");
    for (length, is_allowed) in [(7, false), (8, true), (64, true), (65, false)] {
        for key in ["k".repeat(length), format!("\"{}\"", "k".repeat(length))] {
            let path = format!("/v1/consultations/{}/commands", case.room);
            let chat = json!({"command": {"kind": "chat.send", "data": {"text": "hi"}}});
            let sent = rest.call("post", &path).bearer(&doctor).key(&key).json(chat).send().await;
            assert_eq!(sent.status == 400, !is_allowed, "a key of {} characters: {}", key.len(), sent.text);
        }
    }
}

both! { hub_agrees_with_its_document_at_every_bound }
