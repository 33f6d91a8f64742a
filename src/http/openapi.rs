//! Builds the OpenAPI 3.1 document from the table of operations.

use std::collections::BTreeMap;

use rooms::role::Role;
use rooms::wire::code::Code;
use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::api;
use super::operation::{Answer, Audience, Matching, Operation, ResponseCache, Tag};
use crate::web::ACCESS_COOKIE;
use crate::web::problem::{CONTENT_TYPE, ProblemBody};

/// An idempotency key, bare or in quotes: visible ASCII characters but quotation marks and backslashes.
const IDEMPOTENCY_KEY_PATTERN: &str = r#"^([!#-\[\]-~]{8,64}|"[!#-\[\]-~]{8,64}")$"#;

const ABOUT: &str = "A real-time consultation and status hub for telemedicine: one room per case, from the booking to \
    the delivery. This document describes the REST API; `/asyncapi.json` describes the WebSocket, and docs/protocol.md explains both.\n\n\
    Every change of a case returns the numbers of its events in the room's log. Times are UTC in RFC 3339 with \
    microseconds; ids are UUIDs. The hub rejects unknown fields. Every error is `application/problem+json` with one of \
    the `code`s that its operation lists and explains.";

/// Returns the document as the hub serves it; the committed copy ends with a line feed.
pub fn document_text() -> String {
    serde_json::to_string_pretty(&document()).expect("a JSON value is JSON")
}

/// Returns a generator that collects types in the document's components.
pub fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
        .into_generator()
}

fn document() -> Value {
    let mut generator = generator();
    let problem = generator.subschema_for::<ProblemBody>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut problems = BTreeMap::new();
    for operation in api::operations() {
        let item = paths.entry(operation.path).or_default();
        let described = describe(&operation, &problem, &mut problems, &mut generator);
        item.insert(operation.method.as_str().to_lowercase(), described);
    }
    let schemas = generator.take_definitions(true);
    portable(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Wardroom",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": Tag::ALL.map(|tag| json!({"name": tag.as_str()})),
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems,
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "An access token; its keys are at /.well-known/jwks.json.",
                },
                "cookie": {
                    "type": "apiKey", "in": "cookie", "name": ACCESS_COOKIE,
                    "description": "The access token in a cookie, where a cookie domain is configured. Changes need \
                        an allowed Origin header.",
                },
            },
            "parameters": {
                "IdempotencyKey": {
                    "name": "Idempotency-Key", "in": "header", "required": true,
                    "description": "The call's id, preferably a new UUID. A repeated call with the same key and content \
                        takes effect once and gets the first response. Keys last for 24 hours, per person and operation.",
                    "schema": {"type": "string", "pattern": IDEMPOTENCY_KEY_PATTERN},
                },
            },
            "headers": {
                "ETag": {
                    "description": "The version, for If-Match.",
                    "schema": {"type": "string", "pattern": "^\"[0-9]+\"$"},
                },
            },
        },
    }))
}

/// Writes schemas as parsers and generators understand them. Keywords beside a `$ref` move into `allOf`, because AsyncAPI's
/// parsers ignore the siblings of a reference; and any value is `{}`, because generators refuse `true`.
pub fn portable(document: Value) -> Value {
    match document {
        Value::Array(items) => items.into_iter().map(portable).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| match value {
                Value::Bool(true) if name == "schema" => (name, json!({})),
                value => (name, portable(value)),
            });
            let mut fields: Map<String, Value> = fields.collect();
            if fields.contains_key("properties")
                && let Some(reference) = fields.remove("$ref")
            {
                return json!({"allOf": [{"$ref": reference}, fields]});
            }
            Value::Object(fields)
        }
        other => other,
    }
}

fn describe(
    operation: &Operation,
    problem: &Schema,
    problems: &mut BTreeMap<String, Value>,
    generator: &mut SchemaGenerator,
) -> Value {
    let mut described = Map::new();
    described.insert("operationId".into(), operation.id.into());
    described.insert("summary".into(), operation.summary.into());
    described.insert("tags".into(), json!([operation.tag.as_str()]));
    if let Some(text) = explanation(operation) {
        described.insert("description".into(), text.into());
    }
    let security = match operation.access {
        Audience::Anyone | Audience::Partners => json!([]),
        Audience::SignedIn | Audience::WithGuests | Audience::Roles(_) => json!([{"bearer": []}, {"cookie": []}]),
    };
    described.insert("security".into(), security);
    let roles: &[Role] = match operation.access {
        Audience::Anyone | Audience::Partners | Audience::WithGuests => &[],
        Audience::SignedIn => &Role::PEOPLE,
        Audience::Roles(roles) => roles,
    };
    if !roles.is_empty() {
        described.insert("x-roles".into(), json!(roles));
    }
    let parameters = parameters(operation, generator);
    if !parameters.is_empty() {
        described.insert("parameters".into(), parameters.into());
    }
    if let Some(body) = operation.body {
        let schema = body(generator);
        let required = operation.body_required;
        described.insert(
            "requestBody".into(),
            json!({"required": required, "content": {"application/json": {"schema": schema}}}),
        );
    }
    described.insert("responses".into(), responses(operation, problem, problems, generator).into());
    Value::Object(described)
}

fn explanation(operation: &Operation) -> Option<String> {
    let audience = match operation.access {
        Audience::Roles(roles) => {
            let names: Vec<&str> = roles.iter().map(|role: &Role| role.as_str()).collect();
            Some(format!("For: {}.", names.join(", ")))
        }
        Audience::WithGuests => Some("For everyone with a token, including guests.".to_owned()),
        Audience::Anyone | Audience::Partners | Audience::SignedIn => None,
    };
    let caching = (operation.cache() == Some(ResponseCache::NotStored)).then(|| {
        "The response is not stored: a repeated call takes effect once, but returns the current state.".to_owned()
    });
    let parts: Vec<String> = audience.into_iter().chain(caching).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn parameters(operation: &Operation, generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
        let schema = json!({"type": "string", "format": "uuid"});
        parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    if let Some(query) = operation.query {
        parameters.extend(query_parameters(&query(generator), generator));
    }
    if operation.cache().is_some() {
        parameters.push(json!({"$ref": "#/components/parameters/IdempotencyKey"}));
    }
    if operation.matching != Matching::Never {
        parameters.push(json!({
            "name": "If-Match", "in": "header", "required": operation.matching == Matching::Required,
            "description": "The version that the caller saw, as in `ETag`. The hub rejects the call if the current version differs.",
            "schema": {"type": "string", "pattern": "^\"[0-9]+\"$"},
        }));
    }
    parameters
}

/// Returns the fields of a query's type as parameters, and removes the type from the components.
fn query_parameters(reference: &Schema, generator: &mut SchemaGenerator) -> Vec<Value> {
    let name = reference.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let Some(schema) = name.and_then(|name| generator.definitions_mut().remove(name)) else { return Vec::new() };
    let Some(properties) = schema["properties"].as_object() else { return Vec::new() };
    properties
        .iter()
        .map(|(name, schema)| {
            let mut schema = schema.clone();
            let description = schema.as_object_mut().and_then(|fields| fields.remove("description"));
            let mut parameter = json!({"name": name, "in": "query", "required": false, "schema": not_null(schema)});
            if let Some(description) = description {
                parameter["description"] = description;
            }
            parameter
        })
        .collect()
}

/// Removes `null`: a parameter is present or absent, and never null.
fn not_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array().cloned()
        && let [only] = &types.into_iter().filter(|kind| kind != "null").collect::<Vec<_>>()[..]
    {
        schema["type"] = only.clone();
    }
    if let Some(any) = schema["anyOf"].as_array().cloned()
        && let [only] = &any.into_iter().filter(|kind| kind["type"] != "null").collect::<Vec<_>>()[..]
    {
        return only.clone();
    }
    schema
}

fn responses(
    operation: &Operation,
    problem: &Schema,
    problems: &mut BTreeMap<String, Value>,
    generator: &mut SchemaGenerator,
) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in &operation.answers {
        responses.insert(answer.status.to_string(), success(answer, generator));
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in operation.codes() {
        by_status.entry(code.status()).or_default().push(code);
    }
    for (status, codes) in by_status {
        // Operations with the same codes share one response.
        let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
        let name = format!("{status}.{}", names.join("."));
        responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
        problems.entry(name).or_insert_with(|| failure(&codes, problem));
    }
    responses
}

fn failure(codes: &[Code], problem: &Schema) -> Value {
    let meanings: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning())).collect();
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    // The codes are an extension, because generators drop a response that narrows the enum of a shared schema.
    json!({"description": meanings.join("\n\n"), "content": {CONTENT_TYPE: {"schema": problem}}, "x-codes": names})
}

fn success(answer: &Answer, generator: &mut SchemaGenerator) -> Value {
    let mut described = json!({"description": answer.meaning});
    if let Some((content_type, schema)) = answer.content {
        let content = match schema {
            Some(describe) => json!({"schema": describe(generator)}),
            None => json!({}),
        };
        described["content"] = json!({content_type: content});
    }
    if answer.versioned {
        described["headers"] = json!({"ETag": {"$ref": "#/components/headers/ETag"}});
    }
    described
}
