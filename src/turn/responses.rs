//! Responses of the last seconds, for requests that arrive twice because a packet was lost or late (RFC 8489, section
//! 6.3.1).

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::ClientId;

/// How long a client repeats a request at most.
const RESPONSE_LIFETIME: Duration = Duration::from_secs(40);
/// Responses that are kept for one client; a client has few requests in flight.
const MAX_RESPONSES_PER_CLIENT: usize = 8;
/// Clients whose responses are kept; beyond, a repeated request is processed again.
const MAX_CLIENTS: usize = 4_096;

/// Responses by client. Only responses to authenticated requests are kept.
#[derive(Default)]
pub struct RecentResponses(Mutex<HashMap<ClientId, VecDeque<RecentResponse>>>);

struct RecentResponse {
    at: Instant,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl RecentResponses {
    /// Returns the response to an identical request.
    pub fn get(&self, client: ClientId, request: &[u8], now: Instant) -> Option<Vec<u8>> {
        let clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_repeated = |it: &&RecentResponse| is_recent(it, now) && it.request == request;
        clients.get(&client)?.iter().find(is_repeated).map(|it| it.response.clone())
    }

    pub fn insert(&self, client: ClientId, request: &[u8], response: &[u8], now: Instant) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MAX_CLIENTS && !clients.contains_key(&client) {
            clients.retain(|_, responses| responses.back().is_some_and(|it| is_recent(it, now)));
            if clients.len() >= MAX_CLIENTS {
                return;
            }
        }
        let responses = clients.entry(client).or_default();
        if responses.len() >= MAX_RESPONSES_PER_CLIENT {
            responses.pop_front();
        }
        responses.push_back(RecentResponse { at: now, request: request.to_vec(), response: response.to_vec() });
    }
}

fn is_recent(response: &RecentResponse, now: Instant) -> bool {
    now.saturating_duration_since(response.at) < RESPONSE_LIFETIME
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    fn client(at: usize) -> ClientId {
        let [high, low] = u16::try_from(at).unwrap().to_be_bytes();
        ClientId { is_tcp: false, address: SocketAddr::from(([10, 0, high, low], 5_000)) }
    }

    #[test]
    fn responses_are_kept_for_a_while_and_bounded() {
        let (responses, now) = (RecentResponses::default(), Instant::now());
        for at in 0..=MAX_RESPONSES_PER_CLIENT {
            responses.insert(client(0), &[at as u8], b"response", now);
        }
        assert_eq!(responses.get(client(0), &[0], now), None, "the oldest one made room");
        assert_eq!(responses.get(client(0), &[1], now), Some(b"response".to_vec()));
        assert_eq!(responses.get(client(1), &[1], now), None, "another client");
        assert_eq!(responses.get(client(0), &[1], now + RESPONSE_LIFETIME), None);
        for at in 1..MAX_CLIENTS + 10 {
            responses.insert(client(at), &[1], b"response", now);
        }
        assert_eq!(responses.get(client(MAX_CLIENTS + 5), &[1], now), None, "others keep theirs");
        assert!(responses.get(client(0), &[1], now).is_some());
        responses.insert(client(MAX_CLIENTS + 5), &[1], b"response", now + RESPONSE_LIFETIME);
        assert!(responses.get(client(MAX_CLIENTS + 5), &[1], now + RESPONSE_LIFETIME).is_some());
    }
}
