//! The settings as the file has them, before validation. The environment is merged into the same form.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

use super::log::LogFormat;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSettings {
    pub listen: Option<String>,
    pub public_url: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub database_url: Option<String>,
    pub database_read_url: Option<String>,
    pub database_connections: Option<u32>,
    pub redis_url: Option<String>,
    pub allowed_origins: Option<Vec<String>>,
    pub cookie_domain: Option<String>,
    pub behind_proxy: Option<bool>,
    #[serde(default)]
    pub clinic: RawClinic,
    #[serde(default)]
    pub policy: RawPolicy,
    #[serde(default)]
    pub tokens: RawTokens,
    #[serde(default)]
    pub limits: RawLimits,
    #[serde(default)]
    pub turn: RawTurn,
    #[serde(default)]
    pub payment: RawPayment,
    #[serde(default)]
    pub courier: RawCourier,
    #[serde(default)]
    pub mail: RawMail,
    #[serde(default)]
    pub push: RawPush,
    #[serde(default)]
    pub webhooks: RawWebhooks,
    #[serde(default)]
    pub metrics: RawMetrics,
    #[serde(default)]
    pub log: RawLog,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPolicy {
    pub consent: Option<String>,
    pub hold_s: Option<u32>,
    pub ring_s: Option<u32>,
    pub rings: Option<u32>,
    pub doctor_grace_s: Option<u32>,
    pub patient_grace_s: Option<u32>,
    pub check_in_s: Option<u32>,
    pub interrupted_s: Option<u32>,
    pub prescription_valid_s: Option<u32>,
    pub max_days: Option<u16>,
    pub review: Option<bool>,
    pub relay_only: Option<bool>,
    pub price: Option<u64>,
    pub currency: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTokens {
    pub issuer: Option<String>,
    pub audience: Option<String>,
    pub access_s: Option<u64>,
    pub patient_session_s: Option<u64>,
    pub staff_session_s: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLimits {
    pub connections: Option<usize>,
    pub arrivals_per_second: Option<NonZeroU32>,
    pub outbox_bytes: Option<usize>,
    pub body_bytes: Option<usize>,
    pub requests_per_second: Option<u32>,
    pub sign_ins_per_minute: Option<u32>,
    pub anonymous_per_minute: Option<u32>,
    pub person_events: Option<u64>,
    pub person_bytes: Option<u64>,
    pub open_holds: Option<u32>,
    pub open_bookings: Option<u32>,
    pub waiting_walk_ins: Option<u32>,
    pub walk_ins_need_doctor: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMetrics {
    pub token: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTurn {
    pub listen: Option<String>,
    pub public_address: Option<String>,
    pub relay_ports: Option<String>,
    pub private_peers: Option<bool>,
    pub kilobits_per_second: Option<u32>,
    pub urls: Option<Vec<String>>,
    pub secret: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPayment {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub key: Option<String>,
    pub webhook_secret: Option<String>,
    pub checkout_url: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawCourier {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub key: Option<String>,
    pub webhook_secret: Option<String>,
    pub name: Option<String>,
    pub assign: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawClinic {
    pub zone: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMail {
    pub provider: Option<String>,
    pub url: Option<String>,
    pub from: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhooks {
    pub private: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPush {
    pub subject: Option<String>,
    pub key: Option<String>,
    pub services: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLog {
    pub filter: Option<String>,
    pub format: Option<LogFormat>,
}
