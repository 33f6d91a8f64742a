//! The TURN server (RFC 8656) on the long-term credentials of STUN (RFC 8489): receives messages, authenticates requests,
//! and answers each one.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use governor::Quota;
use tokio::sync::Mutex;

use super::client::TurnClient;
use super::credentials::{OwnerTag, REALM, RelaySecret, RelayUsername};
use super::metrics::RelayMetrics;
use super::network::RelayNetwork;
use super::nonces::Nonces;
use super::peers::CHANNEL_NUMBERS;
use super::responses::RecentResponses;
use super::revocations::RevokedCredentials;
use super::stun::{
    DATA, IntegrityKey, METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
    METHOD_SEND, NONCE, REALM_NAME, StunClass, StunError, StunMessage, StunWriter, USERNAME, XOR_MAPPED_ADDRESS,
    XOR_PEER_ADDRESS,
};
use crate::clock::Clock;
use crate::subject_limiter::SubjectLimiter;

/// Requests without valid credentials that one address may send: per second, and in one burst.
const UNAUTHENTICATED_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("20 is not 0");
const UNAUTHENTICATED_BURST: NonZeroU32 = NonZeroU32::new(100).expect("100 is not 0");
/// Allocations that one person may make: per minute, and in one burst. A device that changes its network makes a few.
const ALLOCATIONS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(120).expect("120 is not 0");
const ALLOCATION_BURST: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");

/// The server, for all of its clients over UDP and TCP.
pub struct TurnServer {
    pub(super) network: Arc<RelayNetwork>,
    pub(super) revoked: Arc<RevokedCredentials>,
    pub(super) allocation_rate: SubjectLimiter,
    /// Allocations are made one at a time, so that the quota and the new allocation are one step.
    pub(super) allocating: Mutex<()>,
    secret: RelaySecret,
    clock: Clock,
    nonces: Nonces,
    responses: RecentResponses,
    unauthenticated: SubjectLimiter,
}

/// A request whose credentials are valid.
pub struct AuthenticatedRequest<'a> {
    pub message: &'a StunMessage<'a>,
    pub client: &'a TurnClient,
    pub username: RelayUsername,
}

impl TurnServer {
    pub fn new(
        network: Arc<RelayNetwork>,
        revoked: Arc<RevokedCredentials>,
        secret: RelaySecret,
        clock: Clock,
    ) -> Result<Self, ring::error::Unspecified> {
        let unauthenticated = Quota::per_second(UNAUTHENTICATED_PER_SECOND).allow_burst(UNAUTHENTICATED_BURST);
        let allocations = Quota::per_minute(ALLOCATIONS_PER_MINUTE).allow_burst(ALLOCATION_BURST);
        Ok(Self {
            network,
            revoked,
            allocation_rate: SubjectLimiter::new(allocations),
            allocating: Mutex::default(),
            secret,
            clock,
            nonces: Nonces::new()?,
            responses: RecentResponses::default(),
            unauthenticated: SubjectLimiter::new(unauthenticated),
        })
    }

    /// Handles one message of a client. What is no message, or has no allocation to go through, is dropped silently.
    pub async fn receive(self: &Arc<Self>, packet: &[u8], client: &TurnClient) {
        if packet.first().is_some_and(|first| first >> 6 == 1) {
            return self.relay_channel_data(packet, client);
        }
        let Some(message) = StunMessage::parse(packet) else { return };
        match (message.class, message.method) {
            (StunClass::Request, METHOD_BINDING) => client.send(binding_response(&message, client)),
            (StunClass::Request, METHOD_ALLOCATE | METHOD_REFRESH | METHOD_CREATE_PERMISSION | METHOD_CHANNEL_BIND) => {
                self.respond(packet, &message, client).await
            }
            (StunClass::Indication, METHOD_SEND) => self.relay_send_indication(&message, client),
            _ => {}
        }
    }

    /// Ends the allocation of a client whose stream has ended.
    pub fn disconnected(&self, client: &TurnClient) {
        if let Some(allocation) = self.network.table.of_client(client.id) {
            self.network.table.remove(&allocation);
        }
    }

    /// Answers a request. A request that was answered a moment ago gets the same response, and has no further effect.
    async fn respond(self: &Arc<Self>, packet: &[u8], message: &StunMessage<'_>, client: &TurnClient) {
        let now = Instant::now();
        if let Some(response) = self.responses.get(client.id, packet, now) {
            return client.send(response);
        }
        let (request, key) = match self.authenticate(message, client, now) {
            Ok(authenticated) => authenticated,
            Err(rejection) => return self.reject(message, rejection, client, now),
        };
        let unknown = message.unknown_attributes();
        let response = if unknown.is_empty() {
            let result = match message.method {
                METHOD_ALLOCATE => self.allocate(&request).await,
                METHOD_REFRESH => self.refresh(&request),
                METHOD_CREATE_PERMISSION => self.create_permission(&request),
                _ => self.bind_channel(&request),
            };
            result.unwrap_or_else(|code| StunWriter::error(message, code))
        } else {
            StunWriter::unknown_attributes(message, &unknown)
        };
        let response = response.sign(&key).finish();
        if !client.id.is_tcp {
            self.responses.insert(client.id, packet, &response, now);
        }
        client.send(response);
    }

    /// Checks a request's credentials (RFC 8489, section 9.2.4). They have to be valid when an allocation is made, not when
    /// it is refreshed: browsers keep using the ones that it was made with.
    fn authenticate<'a>(
        &self,
        message: &'a StunMessage<'a>,
        client: &'a TurnClient,
        now: Instant,
    ) -> Result<(AuthenticatedRequest<'a>, IntegrityKey), StunError> {
        if !message.is_signed() {
            return Err(StunError::Unauthenticated);
        }
        let [Some(name), Some(realm), Some(nonce)] =
            [USERNAME, REALM_NAME, NONCE].map(|attribute| message.text(attribute))
        else {
            return Err(StunError::BadRequest);
        };
        if !self.nonces.is_valid(nonce, client.id.address, now) {
            return Err(StunError::StaleNonce);
        }
        let metrics = &self.network.metrics;
        let key = IntegrityKey::long_term(name, &self.secret.password(name));
        let username = RelayUsername::parse(name).filter(|_| realm == REALM && message.is_signed_with(&key));
        let Some(username) = username else {
            RelayMetrics::increment(&metrics.forged);
            return Err(StunError::Unauthenticated);
        };
        if self.revoked.contains(&username.owner, username.serial) {
            RelayMetrics::increment(&metrics.revoked);
            return Err(StunError::Unauthenticated);
        }
        let is_owner =
            || self.network.table.of_client(client.id).is_some_and(|it| it.owner.session == username.owner.session);
        if username.expires_at <= self.clock.now() && !is_owner() {
            RelayMetrics::increment(&metrics.expired);
            return Err(StunError::Unauthenticated);
        }
        Ok((AuthenticatedRequest { message, client, username }, key))
    }

    /// Answers a request without valid credentials, unless its address sends too many.
    fn reject(&self, message: &StunMessage<'_>, code: StunError, client: &TurnClient, now: Instant) {
        if self.unauthenticated.count(&client.id.address.ip()).is_err() {
            return RelayMetrics::increment(&self.network.metrics.flood);
        }
        let response = StunWriter::error(message, code);
        let response = match code {
            StunError::BadRequest => response,
            _ => {
                let nonce = self.nonces.issue(client.id.address, now);
                response.put(REALM_NAME, REALM.as_bytes()).put(NONCE, nonce.as_bytes())
            }
        };
        client.send(response.finish());
    }

    /// Counts an allocation of a person, and returns `false` beyond the limit.
    pub(super) fn may_allocate(&self, person: OwnerTag) -> bool {
        self.allocation_rate.count(&person).is_ok()
    }

    /// Relays a Send indication (RFC 8656, section 11.2).
    fn relay_send_indication(&self, message: &StunMessage<'_>, client: &TurnClient) {
        if !message.unknown_attributes().is_empty() {
            return;
        }
        let peer = message.get(XOR_PEER_ADDRESS).and_then(|value| message.decode_address(value));
        let allocation = self.network.table.of_client(client.id);
        if let (Some(allocation), Some(peer), Some(data)) = (allocation, peer, message.get(DATA)) {
            self.network.send_to_peer(&allocation, peer, data);
        }
    }

    /// Relays channel data (RFC 8656, section 12.6). Over UDP it may have padding.
    fn relay_channel_data(&self, packet: &[u8], client: &TurnClient) {
        let Some(([n0, n1, l0, l1], rest)) = packet.split_first_chunk::<4>() else { return };
        let number = u16::from_be_bytes([*n0, *n1]);
        let Some(data) = rest.get(..usize::from(u16::from_be_bytes([*l0, *l1]))) else { return };
        let Some(allocation) = self.network.table.of_client(client.id) else { return };
        if let Some(peer) = allocation.channel_peer(number).filter(|_| CHANNEL_NUMBERS.contains(&number)) {
            self.network.send_to_peer(&allocation, peer, data);
        }
    }
}

/// Tells a client the address that its packets come from.
fn binding_response(message: &StunMessage<'_>, client: &TurnClient) -> Vec<u8> {
    let unknown = message.unknown_attributes();
    let response = if unknown.is_empty() {
        StunWriter::success(message).put_address(XOR_MAPPED_ADDRESS, client.id.address)
    } else {
        StunWriter::unknown_attributes(message, &unknown)
    };
    response.fingerprint().finish()
}
