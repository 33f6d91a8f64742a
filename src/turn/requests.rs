//! What each authenticated request of TURN does (RFC 8656, sections 7 to 12).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocation::Allocation;
use super::metrics::RelayMetrics;
use super::peers::{CHANNEL_NUMBERS, PeerError};
use super::quota::QuotaError;
use super::server::{AuthenticatedRequest, TurnServer};
use super::stun::{
    ADDITIONAL_ADDRESS_FAMILY, ADDRESS_ERROR_CODE, CHANNEL_NUMBER, EVEN_PORT, FAMILY_IPV4, FAMILY_IPV6, LIFETIME,
    REQUESTED_ADDRESS_FAMILY, REQUESTED_TRANSPORT, RESERVATION_TOKEN, StunError, StunMessage, StunWriter,
    XOR_MAPPED_ADDRESS, XOR_PEER_ADDRESS, XOR_RELAYED_ADDRESS,
};

/// How long an allocation lives unless its client asks for longer, and at most.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);
const MAX_LIFETIME: Duration = Duration::from_secs(3_600);
/// The protocol number of UDP.
const UDP_PROTOCOL: u8 = 17;
/// The bit of EVEN-PORT that asks to reserve the next port, too.
const RESERVE_BIT: u8 = 0x80;

/// A response that still has to be signed, or the code of an error.
type TurnResult = Result<StunWriter, StunError>;

impl TurnServer {
    /// Makes an allocation.
    pub(super) async fn allocate(self: &Arc<Self>, request: &AuthenticatedRequest<'_>) -> TurnResult {
        let AuthenticatedRequest { message, client, username } = request;
        let _one_at_a_time = self.allocating.lock().await;
        if self.network.table.of_client(client.id).is_some() {
            return Err(StunError::AllocationMismatch);
        }
        let wanted = WantedAllocation::read(message, self.network.is_ipv4())?;
        self.make_room(request)?;
        let opened = self.network.open_socket(wanted.is_even).await.ok_or(StunError::InsufficientCapacity)?;
        let settings = self.network.settings();
        let expires = Instant::now() + wanted.lifetime;
        let (owner, rate) = (username.owner, settings.bytes_per_second);
        let allocation = Arc::new(Allocation::new((*client).clone(), owner, opened, expires, rate));
        self.network.table.insert(&allocation);
        RelayMetrics::increment(&self.network.metrics.allocations);
        if self.revoked.contains(&owner, username.serial) {
            // Between authentication and insertion.
            self.network.table.remove(&allocation);
            return Err(StunError::Unauthenticated);
        }
        let response = StunWriter::success(message)
            .put_address(XOR_RELAYED_ADDRESS, allocation.relayed)
            .put(LIFETIME, &seconds(wanted.lifetime))
            .put_address(XOR_MAPPED_ADDRESS, client.id.address);
        let network = self.network.clone();
        tokio::spawn(async move {
            network.run(&allocation).await;
            network.table.remove(&allocation);
        });
        Ok(match wanted.missing_family {
            Some(family) => {
                let [class, number] = StunError::AddressFamilyNotSupported.bytes();
                response.put(ADDRESS_ERROR_CODE, &[family, 0, class, number])
            }
            None => response,
        })
    }

    fn make_room(&self, request: &AuthenticatedRequest<'_>) -> Result<(), StunError> {
        let metrics = &self.network.metrics;
        let owner = &request.username.owner;
        let room = if self.may_allocate(owner.person) {
            self.network.table.make_room(owner)
        } else {
            Err(QuotaError::Reached)
        };
        match room {
            Ok(false) => Ok(()),
            Ok(true) => {
                RelayMetrics::increment(&metrics.replaced);
                Ok(())
            }
            Err(error) => {
                RelayMetrics::increment(&metrics.over_quota);
                Err(match error {
                    QuotaError::Reached => StunError::AllocationQuotaReached,
                    QuotaError::NoCapacity => StunError::InsufficientCapacity,
                })
            }
        }
    }

    /// Returns the client's allocation, which only its owner may use.
    fn own_allocation(&self, request: &AuthenticatedRequest<'_>) -> Result<Arc<Allocation>, StunError> {
        let allocation = self.network.table.of_client(request.client.id).ok_or(StunError::AllocationMismatch)?;
        if allocation.owner.session == request.username.owner.session {
            Ok(allocation)
        } else {
            Err(StunError::WrongCredentials)
        }
    }

    /// Extends, shortens, or ends an allocation.
    pub(super) fn refresh(&self, request: &AuthenticatedRequest<'_>) -> TurnResult {
        let message = request.message;
        let allocation = self.own_allocation(request)?;
        let own_family = if self.network.is_ipv4() { FAMILY_IPV4 } else { FAMILY_IPV6 };
        match message.get(REQUESTED_ADDRESS_FAMILY) {
            Some([family, _, _, _]) if *family == own_family => {}
            Some([FAMILY_IPV4 | FAMILY_IPV6, _, _, _]) => return Err(StunError::PeerAddressFamilyMismatch),
            Some(_) => return Err(StunError::BadRequest),
            None => {}
        }
        let lifetime = match requested_lifetime(message)? {
            Some(Duration::ZERO) => {
                self.network.table.remove(&allocation);
                Duration::ZERO
            }
            requested => {
                let lifetime = granted_lifetime(requested);
                allocation.refresh(Instant::now() + lifetime);
                lifetime
            }
        };
        Ok(StunWriter::success(message).put(LIFETIME, &seconds(lifetime)))
    }

    /// Permits packets from and to peers: all that the request names, or none.
    pub(super) fn create_permission(&self, request: &AuthenticatedRequest<'_>) -> TurnResult {
        let message = request.message;
        let allocation = self.own_allocation(request)?;
        let peers: Option<Vec<IpAddr>> =
            message.all(XOR_PEER_ADDRESS).map(|value| Some(message.decode_address(value)?.ip())).collect();
        let peers = peers.filter(|peers| !peers.is_empty()).ok_or(StunError::BadRequest)?;
        if peers.iter().any(|address| address.is_ipv4() != self.network.is_ipv4()) {
            return Err(StunError::PeerAddressFamilyMismatch);
        }
        if !peers.iter().all(|address| self.network.allows_address(*address)) {
            return Err(StunError::Forbidden);
        }
        allocation.permit(&peers).map_err(|_| StunError::InsufficientCapacity)?;
        allocation.touch();
        Ok(StunWriter::success(message))
    }

    /// Binds a channel to a peer.
    pub(super) fn bind_channel(&self, request: &AuthenticatedRequest<'_>) -> TurnResult {
        let message = request.message;
        let allocation = self.own_allocation(request)?;
        let number = match message.get(CHANNEL_NUMBER) {
            Some([n0, n1, _, _]) => u16::from_be_bytes([*n0, *n1]),
            _ => return Err(StunError::BadRequest),
        };
        let peer = message.get(XOR_PEER_ADDRESS).and_then(|value| message.decode_address(value));
        let peer = peer.filter(|_| CHANNEL_NUMBERS.contains(&number)).ok_or(StunError::BadRequest)?;
        if peer.is_ipv4() != self.network.is_ipv4() {
            return Err(StunError::PeerAddressFamilyMismatch);
        }
        if !self.network.allows_peer(peer) {
            return Err(StunError::Forbidden);
        }
        allocation.bind_channel(number, peer).map_err(|error| match error {
            PeerError::ChannelTaken => StunError::BadRequest,
            PeerError::TooMany => StunError::InsufficientCapacity,
        })?;
        allocation.touch();
        Ok(StunWriter::success(message))
    }
}

/// What an Allocate request asks for.
struct WantedAllocation {
    is_even: bool,
    lifetime: Duration,
    /// An additional family that the server does not have.
    missing_family: Option<u8>,
}

impl WantedAllocation {
    /// Reads a request in the order of RFC 8656, section 7.2. The server has one address family, and reserves no ports.
    fn read(message: &StunMessage<'_>, is_ipv4: bool) -> Result<Self, StunError> {
        match message.get(REQUESTED_TRANSPORT) {
            Some([UDP_PROTOCOL, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(StunError::UnsupportedTransport),
            _ => return Err(StunError::BadRequest),
        }
        let even_port = match message.get(EVEN_PORT) {
            Some([bits]) => Some(*bits),
            Some(_) => return Err(StunError::BadRequest),
            None => None,
        };
        let [has_token, has_family, has_additional] =
            [RESERVATION_TOKEN, REQUESTED_ADDRESS_FAMILY, ADDITIONAL_ADDRESS_FAMILY].map(|kind| message.has(kind));
        let reserves = even_port.is_some_and(|bits| bits & RESERVE_BIT != 0);
        let conflicts = (has_token && (even_port.is_some() || has_family || has_additional))
            || (has_additional && (has_family || reserves));
        if conflicts {
            return Err(StunError::BadRequest);
        }
        let missing_family = match message.get(ADDITIONAL_ADDRESS_FAMILY) {
            Some([FAMILY_IPV6, _, _, _]) => Some(if is_ipv4 { FAMILY_IPV6 } else { FAMILY_IPV4 }),
            Some(_) => return Err(StunError::BadRequest),
            None => None,
        };
        let wants_ipv4 = match message.get(REQUESTED_ADDRESS_FAMILY) {
            Some([FAMILY_IPV4, _, _, _]) | None => true,
            Some([FAMILY_IPV6, _, _, _]) => false,
            Some([_, _, _, _]) => return Err(StunError::AddressFamilyNotSupported),
            Some(_) => return Err(StunError::BadRequest),
        };
        if wants_ipv4 != is_ipv4 && missing_family.is_none() {
            return Err(StunError::AddressFamilyNotSupported);
        }
        if has_token || reserves {
            return Err(StunError::InsufficientCapacity);
        }
        let lifetime = granted_lifetime(requested_lifetime(message)?);
        Ok(Self { is_even: even_port.is_some(), lifetime, missing_family })
    }
}

fn requested_lifetime(message: &StunMessage<'_>) -> Result<Option<Duration>, StunError> {
    match message.get(LIFETIME) {
        None => Ok(None),
        Some(value) => {
            let seconds = u32::from_be_bytes(value.try_into().map_err(|_| StunError::BadRequest)?);
            Ok(Some(Duration::from_secs(seconds.into())))
        }
    }
}

/// Returns the lifetime that a client gets: never shorter than the default, and at most the maximum.
fn granted_lifetime(requested: Option<Duration>) -> Duration {
    requested.unwrap_or(DEFAULT_LIFETIME).clamp(DEFAULT_LIFETIME, MAX_LIFETIME)
}

fn seconds(lifetime: Duration) -> [u8; 4] {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX).to_be_bytes()
}
