//! Builds the WebSocket's AsyncAPI 3.0 document from the types of its frames.

use rooms::wire::client::ClientFrame;
use rooms::wire::close::Close;
use rooms::wire::code::Code;
use rooms::wire::server::ServerFrame;
use rooms::wire::{MAX_FRAME_BYTES, SUBPROTOCOL};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::openapi::{generator, portable};

const ABOUT: &str = "The hub's live API: JSON text frames over one WebSocket, subprotocol `wardroom.v1`. The \
    first frame is `hello` with an access token. docs/protocol.md explains the frames, their order, and how to resume.";

/// Returns the document as the hub serves it; the committed copy ends with a line feed.
pub fn document_text() -> String {
    serde_json::to_string_pretty(&document()).expect("a JSON value is JSON")
}

fn document() -> Value {
    let mut generator = generator();
    let client = messages::<ClientFrame>(&mut generator, "client");
    let server = messages::<ServerFrame>(&mut generator, "server");
    generator.subschema_for::<Code>();
    let schemas = generator.take_definitions(true);
    let names = |messages: &Map<String, Value>| -> Vec<Value> {
        messages.keys().map(|name| json!({"$ref": format!("#/channels/socket/messages/{name}")})).collect()
    };
    let (sent, received) = (names(&client), names(&server));
    let in_channel: Map<String, Value> = client
        .keys()
        .chain(server.keys())
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    let messages: Map<String, Value> = client.into_iter().chain(server).collect();
    portable(json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Wardroom",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "socket": {
                "address": "/v1/ws",
                "description": format!("One connection for all rooms and feeds of a client. Frames of at most {MAX_FRAME_BYTES} bytes."),
                "messages": in_channel,
                "bindings": {"ws": {
                    "method": "GET",
                    "headers": {
                        "type": "object",
                        "properties": {
                            "Sec-WebSocket-Protocol": {"const": SUBPROTOCOL},
                            "Authorization": {"type": "string", "description": "`Bearer` and an access token; if absent, `hello` carries it."},
                        },
                        "required": ["Sec-WebSocket-Protocol"],
                    },
                    "bindingVersion": "0.1.0",
                }},
                "x-close-codes": Close::ALL.iter().map(|close| json!({
                    "code": close.code(),
                    "reason": close.reason(),
                    "comeBack": close.resumable(),
                    "description": close.meaning(),
                })).collect::<Vec<_>>(),
                "x-error-codes": Code::ALL.iter().map(|code| json!({
                    "code": code.as_str(),
                    "retryable": code.retryable(),
                    "description": code.meaning(),
                })).collect::<Vec<_>>(),
            },
        },
        "operations": {
            "send": {
                "action": "send",
                "title": "What the hub sends",
                "channel": {"$ref": "#/channels/socket"},
                "messages": received,
            },
            "receive": {
                "action": "receive",
                "title": "What a client sends",
                "channel": {"$ref": "#/channels/socket"},
                "messages": sent,
            },
        },
        "components": {"schemas": schemas, "messages": messages},
    }))
}

/// Returns one message per variant of a frame type.
fn messages<T: schemars::JsonSchema>(generator: &mut SchemaGenerator, side: &str) -> Map<String, Value> {
    let reference = generator.subschema_for::<T>();
    let name = reference.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let Some(schema) = name.and_then(|name| generator.definitions_mut().remove(name)) else { return Map::new() };
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let mut messages = Map::new();
    for mut variant in variants {
        let Some(kind) = variant["properties"]["type"]["const"].as_str().map(str::to_owned) else { continue };
        let summary = variant.as_object_mut().and_then(|fields| fields.remove("description"));
        let mut message = json!({"name": kind, "title": kind, "payload": variant});
        if let Some(summary) = summary {
            message["summary"] = summary;
        }
        messages.insert(format!("{side}.{kind}"), message);
    }
    messages
}
