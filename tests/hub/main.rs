//! The tests of the server: one binary, a file per promise or story.

mod support;

mod archive;
mod archive_database;
mod auth_browser;
mod auth_secrets;
mod auth_sign_in;
mod auth_sockets;
mod booking;
mod browser_call;
mod browser_case;
mod browser_guest;
mod calls;
mod documents;
mod echo;
mod guests;
mod lifecycle;
mod nodes;
mod nodes_people;
mod outgoing;
mod peers;
mod rest_case;
mod rest_document;
mod rest_errors;
mod rest_idempotency;
mod rest_matrix;
mod resume;
mod socket;
mod store;
mod store_feeds;
mod store_slots;
mod tidy;
mod timers;
mod turn;
