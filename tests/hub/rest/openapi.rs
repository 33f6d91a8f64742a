//! The generated documents: complete, consistent, and equal to the committed copies.

use std::collections::BTreeSet;

use rooms::wire::close::Close;
use rooms::wire::code::Code;
use serde_json::Value;
use wardroom::http::{asyncapi, openapi};

fn openapi_document() -> Value {
    serde_json::from_str(&openapi::document_text()).unwrap()
}

/// Collects every `$ref` in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                found.insert(reference.to_owned());
            }
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn assert_references_resolve(document: &Value) {
    let mut found = BTreeSet::new();
    references(document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').expect("all references are local");
        assert!(document.pointer(pointer).is_some(), "{reference} does not resolve");
    }
}

fn committed(name: &str) -> String {
    let path = format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn committed_documents_match_the_code() {
    for (name, text) in [("openapi", openapi::document_text()), ("asyncapi", asyncapi::document_text())] {
        let same = committed(&format!("{name}.json")) == text + "\n";
        assert!(same, "docs/{name}.json is out of date: run `cargo run -- {name} > docs/{name}.json`");
    }
}

#[test]
fn every_reference_in_the_documents_resolves() {
    assert_references_resolve(&openapi_document());
    assert_references_resolve(&serde_json::from_str(&asyncapi::document_text()).unwrap());
}

#[test]
fn every_operation_documents_its_responses_and_errors() {
    let document = openapi_document();
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{what}: {id} is not unique");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{what} has no summary");
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2') || status == "101"),
                "{what} has no success response"
            );
            assert!(responses.contains_key("500") && responses.contains_key("503"), "{what}");
            let public = operation["security"].as_array().unwrap().is_empty();
            assert!(public || responses.contains_key("401"), "{what} needs a token and documents no 401");
            let open = path.matches('{').count();
            let named = operation["parameters"]
                .as_array()
                .map_or(0, |all| all.iter().filter(|parameter| parameter["in"] == "path").count());
            assert_eq!(open, named, "{what} does not describe all path parameters");
        }
    }
    assert!(ids.len() >= 50, "{}", ids.len());
}

#[test]
fn every_error_code_is_explained() {
    let document = openapi_document();
    let codes = document["components"]["schemas"]["Code"]["oneOf"].as_array().unwrap();
    for code in Code::ALL {
        let described = codes.iter().find(|it| it["const"] == code.as_str()).unwrap();
        assert!(!described["description"].as_str().unwrap().is_empty(), "{}", code.as_str());
    }
}

#[test]
fn socket_document_covers_every_frame_and_close_code() {
    let document: Value = serde_json::from_str(&asyncapi::document_text()).unwrap();
    let messages = document["components"]["messages"].as_object().unwrap();
    for name in ["client.hello", "client.command", "client.join", "server.welcome", "server.ack", "server.error"] {
        assert!(messages.contains_key(name), "{name} lacks {:?}", messages.keys());
    }
    assert!(messages.len() >= 25, "{:?}", messages.keys());
    let closes = document["channels"]["socket"]["x-close-codes"].as_array().unwrap();
    assert_eq!(closes.len(), Close::ALL.len());
}

/// Visits every schema-like object of a document.
fn visit<'a>(value: &'a Value, path: &str, check: &mut impl FnMut(&str, &'a Value)) {
    check(path, value);
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| visit(field, &format!("{path}/{name}"), check)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| visit(item, &format!("{path}/{at}"), check))
        }
        _ => {}
    }
}

#[test]
fn documents_avoid_what_parsers_and_generators_drop() {
    for document in [openapi_document(), serde_json::from_str(&asyncapi::document_text()).unwrap()] {
        visit(&document, "", &mut |path, value| {
            let is_reference = value["$ref"].is_string();
            assert!(!is_reference || value["properties"].is_null(), "{path}: a parser ignores what is beside $ref");
            assert_ne!(value["schema"], Value::Bool(true), "{path}: generators refuse boolean schemas");
        });
    }
    let document = openapi_document();
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let schema = &response["content"]["application/problem+json"]["schema"];
        assert_eq!(schema["$ref"], "#/components/schemas/Problem", "{name}: generators drop a narrowed schema");
        assert!(!response["x-codes"].as_array().unwrap().is_empty(), "{name}");
    }
}

/// Returns whether a schema has this constant for `type`, as a parser reads it: a `$ref` replaces its siblings.
fn has_type(document: &Value, schema: &Value, name: &str) -> bool {
    if let Some(reference) = schema["$ref"].as_str() {
        return has_type(document, document.pointer(&reference[1..]).unwrap(), name);
    }
    let parts = schema["allOf"].as_array().into_iter().flatten();
    schema["properties"]["type"]["const"] == name || parts.into_iter().any(|part| has_type(document, part, name))
}

#[test]
fn every_socket_message_has_its_type() {
    let document: Value = serde_json::from_str(&asyncapi::document_text()).unwrap();
    for (key, message) in document["components"]["messages"].as_object().unwrap() {
        let name = message["name"].as_str().unwrap();
        assert!(has_type(&document, &message["payload"], name), "{key} lost its type");
    }
}
