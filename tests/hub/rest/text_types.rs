//! Every string that a client may send is of a type that is checked when it is parsed, or has a reason.

use std::collections::BTreeSet;

use serde_json::Value;
use wardroom::http::{asyncapi, openapi};

/// The types of texts from people: see `rooms::text`.
const TEXTS: &[&str] = &["Name", "Line", "Paragraph", "Prose"];

/// Strings with other rules, and where the rules are.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("Candidate", "a line of RFC 8839: `rooms::sdp`"),
    ("DemoRequest.token", "compared with the links of the demo: `auth::demo`"),
    ("EnterRequest.token", "a signed token: `auth::guest`"),
    ("RefreshRequest.refresh_token", "a signed token: `auth::token`"),
    ("RegisterRequest.email", "`auth::email::EmailAddress`"),
    ("RegisterRequest.password", "bounded, and hashed in NFC: `auth::password`"),
    ("Sdp", "a description of RFC 8866: `rooms::sdp`"),
    ("SignInRequest.email", "bounded, and compared only: `auth::sign_in`"),
    ("SignInRequest.password", "bounded, and compared only: `auth::password`"),
    ("SubscriptionKeys.auth", "a key in base64: `integrations::push`"),
    ("SubscriptionKeys.p256dh", "a key in base64: `integrations::push`"),
    ("SubscriptionRequest.endpoint", "a URL of a known push service: `integrations::push`"),
    ("Text200", "payments, which only the hub itself records: `command::payment`"),
    ("Text256", "an ICE user name fragment, relayed as it is"),
    ("Text64", "an id of a connection or a media section, compared or relayed as it is"),
    ("Token", "a signed token: `auth::token`"),
    ("WebhookRequest.kinds", "names from a closed list: `http::api::webhooks`"),
    ("WebhookRequest.url", "a URL that may be called: `egress`"),
];

/// Collects the strings of a schema that have neither a format nor a closed list of values, by the name of their type or
/// property.
fn strings(document: &Value, schema: &Value, name: &str, seen: &mut BTreeSet<String>, found: &mut BTreeSet<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = reference.rsplit('/').next().unwrap();
        if !TEXTS.contains(&target) && seen.insert(target.to_owned()) {
            let pointer = reference.strip_prefix('#').unwrap();
            strings(document, document.pointer(pointer).unwrap(), target, seen, found);
        }
        return;
    }
    let is_string =
        schema["type"] == "string" || schema["type"].as_array().is_some_and(|it| it.contains(&"string".into()));
    let is_closed = ["format", "enum", "const", "pattern"].iter().any(|key| schema.get(key).is_some());
    if is_string && !is_closed {
        found.insert(name.to_owned());
    }
    for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
        strings(document, schema, &format!("{}.{property}", name.split('.').next().unwrap()), seen, found);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for schema in schema[key].as_array().into_iter().flatten() {
            strings(document, schema, name, seen, found);
        }
    }
    for key in ["items", "additionalProperties"] {
        if schema[key].is_object() {
            strings(document, &schema[key], name, seen, found);
        }
    }
}

#[test]
fn every_string_that_a_client_sends_has_a_type_with_rules() {
    let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
    let frames: Value = serde_json::from_str(&asyncapi::document_text()).unwrap();
    for (name, message) in frames["components"]["messages"].as_object().unwrap() {
        if name.starts_with("client.") {
            strings(&frames, &message["payload"], name, &mut seen, &mut found);
        }
    }
    let rest: Value = serde_json::from_str(&openapi::document_text()).unwrap();
    for operation in rest["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values()) {
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let name = operation["operationId"].as_str().unwrap_or_default();
        strings(&rest, schema, name, &mut seen, &mut found);
    }
    assert!(seen.len() > 20, "{seen:?}");
    let expected: BTreeSet<String> = EXCEPTIONS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, expected, "give the string a type of rooms::text, or name its rules in EXCEPTIONS");
}
