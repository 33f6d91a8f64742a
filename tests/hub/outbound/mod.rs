//! Everything that leaves the hub: the outbox, notifications, mail, webhooks, and partners.

mod courier;
mod mail;
mod mail_bounds;
mod outbox;
mod partner_outages;
mod payment;
mod payment_provider;
mod payment_webhooks;
mod poison;
mod push;
mod push_edge_cases;
mod webhooks;
