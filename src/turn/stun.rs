//! STUN messages (RFC 8489): parsing and integrity of requests, and writing of responses.
//!
//! Parsing borrows from the packet and never fails with more than "not a message": RFC 8489 asks to discard such a packet
//! silently.

use std::net::{IpAddr, SocketAddr};

use crc::{CRC_32_ISO_HDLC, Crc};
use md5::{Digest, Md5};
use ring::hmac;

use super::credentials::REALM;

pub const METHOD_BINDING: u16 = 0x001;
pub const METHOD_ALLOCATE: u16 = 0x003;
pub const METHOD_REFRESH: u16 = 0x004;
pub const METHOD_SEND: u16 = 0x006;
pub const METHOD_DATA: u16 = 0x007;
pub const METHOD_CREATE_PERMISSION: u16 = 0x008;
pub const METHOD_CHANNEL_BIND: u16 = 0x009;

pub const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
pub const CHANNEL_NUMBER: u16 = 0x000c;
pub const LIFETIME: u16 = 0x000d;
pub const XOR_PEER_ADDRESS: u16 = 0x0012;
pub const DATA: u16 = 0x0013;
pub const NONCE: u16 = 0x0015;
pub const REALM_NAME: u16 = 0x0014;
pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
pub const EVEN_PORT: u16 = 0x0018;
pub const REQUESTED_TRANSPORT: u16 = 0x0019;
pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
pub const RESERVATION_TOKEN: u16 = 0x0022;
pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
const FINGERPRINT: u16 = 0x8028;

/// The attributes that the server understands, of those that a message may only have if they are understood. Without
/// DONT-FRAGMENT, because the server does not set that bit.
const UNDERSTOOD: &[u16] = &[
    USERNAME,
    MESSAGE_INTEGRITY,
    CHANNEL_NUMBER,
    LIFETIME,
    XOR_PEER_ADDRESS,
    DATA,
    REALM_NAME,
    NONCE,
    REQUESTED_ADDRESS_FAMILY,
    EVEN_PORT,
    REQUESTED_TRANSPORT,
    RESERVATION_TOKEN,
];
/// Types below this one require comprehension.
const FIRST_OPTIONAL_TYPE: u16 = 0x8000;

pub const FAMILY_IPV4: u8 = 1;
pub const FAMILY_IPV6: u8 = 2;

const HEADER_BYTES: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const INTEGRITY_BYTES: usize = 20;
const FINGERPRINT_MASK: u32 = 0x5354_554e;
const STUN_CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Identifies a request and its response.
pub type TransactionId = [u8; 12];

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunClass {
    Request,
    Indication,
    Success,
    Error,
}

/// The error codes that the server answers with (RFC 8489, section 14.8; RFC 8656, section 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunError {
    BadRequest,
    Unauthenticated,
    Forbidden,
    UnknownAttribute,
    AllocationMismatch,
    StaleNonce,
    AddressFamilyNotSupported,
    WrongCredentials,
    UnsupportedTransport,
    PeerAddressFamilyMismatch,
    AllocationQuotaReached,
    InsufficientCapacity,
}

impl StunError {
    fn number_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::BadRequest => (400, "Bad Request"),
            Self::Unauthenticated => (401, "Unauthenticated"),
            Self::Forbidden => (403, "Forbidden"),
            Self::UnknownAttribute => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::StaleNonce => (438, "Stale Nonce"),
            Self::AddressFamilyNotSupported => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            Self::PeerAddressFamilyMismatch => (443, "Peer Address Family Mismatch"),
            Self::AllocationQuotaReached => (486, "Allocation Quota Reached"),
            Self::InsufficientCapacity => (508, "Insufficient Capacity"),
        }
    }

    /// Returns class and number as two bytes, as in ERROR-CODE.
    pub fn bytes(self) -> [u8; 2] {
        let (number, _) = self.number_and_reason();
        [number / 100, number % 100].map(|part| u8::try_from(part).unwrap_or(0))
    }
}

/// A key for MESSAGE-INTEGRITY.
pub struct IntegrityKey(hmac::Key);

impl IntegrityKey {
    /// Derives the key of the long-term credential mechanism (RFC 8489, section 9.2.2).
    pub fn long_term(username: &str, password: &str) -> Self {
        Self::from_bytes(&Md5::digest(format!("{username}:{REALM}:{password}")))
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes))
    }
}

/// A parsed message. It has no attributes that follow MESSAGE-INTEGRITY, because anybody could have added them.
pub struct StunMessage<'a> {
    bytes: &'a [u8],
    pub class: StunClass,
    pub method: u16,
    pub transaction: TransactionId,
    attributes: Vec<(u16, &'a [u8])>,
    /// Where MESSAGE-INTEGRITY begins, and its value.
    integrity: Option<(usize, &'a [u8])>,
}

impl<'a> StunMessage<'a> {
    /// Parses a packet that consists of one message. Returns `None` for anything else, and for a wrong FINGERPRINT.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let [t0, t1, l0, l1, cookie @ .., _, _, _, _, _, _, _, _, _, _, _, _] = header else { return None };
        let kind = u16::from_be_bytes([*t0, *t1]);
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        if kind >= 0x4000 || cookie != MAGIC_COOKIE || length != rest.len() || !length.is_multiple_of(4) {
            return None;
        }
        let class = match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
            (false, false) => StunClass::Request,
            (false, true) => StunClass::Indication,
            (true, false) => StunClass::Success,
            (true, true) => StunClass::Error,
        };
        let method = (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2;
        let transaction = bytes.get(8..HEADER_BYTES)?.try_into().ok()?;
        let mut message = Self { bytes, class, method, transaction, attributes: Vec::new(), integrity: None };
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let ([t0, t1, l0, l1], body) = rest.split_first_chunk::<4>()?;
            let kind = u16::from_be_bytes([*t0, *t1]);
            let length = usize::from(u16::from_be_bytes([*l0, *l1]));
            let value = body.get(..length)?;
            rest = body.get(length.next_multiple_of(4)..)?;
            match kind {
                // It must be the last attribute.
                FINGERPRINT => return (rest.is_empty() && value == message.fingerprint(at)).then_some(message),
                MESSAGE_INTEGRITY if message.integrity.is_none() => message.integrity = Some((at, value)),
                _ if message.integrity.is_none() => message.attributes.push((kind, value)),
                _ => {}
            }
        }
        Some(message)
    }

    /// Returns the value of the first attribute of this type.
    pub fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    pub fn all(&self, kind: u16) -> impl Iterator<Item = &'a [u8]> {
        self.attributes.iter().filter(move |(it, _)| *it == kind).map(|(_, value)| *value)
    }

    pub fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    pub fn text(&self, kind: u16) -> Option<&'a str> {
        str::from_utf8(self.get(kind)?).ok()
    }

    /// Decodes the value of an XOR address attribute of this message.
    pub fn decode_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let (head, address) = value.split_first_chunk::<4>()?;
        let mask = address_mask(self.transaction);
        let ip: IpAddr = match (head[1], address.len()) {
            (FAMILY_IPV4, 4) => <[u8; 4]>::try_from(xored(address, &mask)).ok()?.into(),
            (FAMILY_IPV6, 16) => <[u8; 16]>::try_from(xored(address, &mask)).ok()?.into(),
            _ => return None,
        };
        Some(SocketAddr::new(ip, u16::from_be_bytes([head[2] ^ mask[0], head[3] ^ mask[1]])))
    }

    /// Returns the types of attributes that require comprehension and that the server does not understand.
    pub fn unknown_attributes(&self) -> Vec<u16> {
        let unknown = |kind: &u16| *kind < FIRST_OPTIONAL_TYPE && !UNDERSTOOD.contains(kind);
        self.attributes.iter().map(|(kind, _)| *kind).filter(unknown).collect()
    }

    /// Returns `true` if the message has MESSAGE-INTEGRITY, valid or not.
    pub fn is_signed(&self) -> bool {
        self.integrity.is_some()
    }

    /// Returns `true` if MESSAGE-INTEGRITY was made with this key.
    pub fn is_signed_with(&self, key: &IntegrityKey) -> bool {
        let Some((at, value)) = self.integrity else { return false };
        let Some(signed) = signed_part(self.bytes, at, INTEGRITY_BYTES) else { return false };
        hmac::verify(&key.0, &signed, value).is_ok()
    }

    fn fingerprint(&self, at: usize) -> [u8; 4] {
        (STUN_CRC.checksum(&self.bytes[..at]) ^ FINGERPRINT_MASK).to_be_bytes()
    }
}

/// Returns what a checksum at offset `at` covers: all before it, with a header that counts the message up to its end.
fn signed_part(bytes: &[u8], at: usize, length: usize) -> Option<Vec<u8>> {
    let mut covered = bytes.get(..at)?.to_vec();
    let counted = u16::try_from(at + 4 + length - HEADER_BYTES).ok()?;
    covered.get_mut(2..4)?.copy_from_slice(&counted.to_be_bytes());
    Some(covered)
}

/// Returns the bytes that addresses of a message are masked with.
fn address_mask(transaction: TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(&transaction);
    mask
}

fn xored(value: &[u8], mask: &[u8]) -> Vec<u8> {
    value.iter().zip(mask).map(|(byte, mask)| byte ^ mask).collect()
}

/// A message being written.
pub struct StunWriter {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl StunWriter {
    pub fn new(class: StunClass, method: u16, transaction: TransactionId) -> Self {
        let bits = match class {
            StunClass::Request => 0,
            StunClass::Indication => 0x0010,
            StunClass::Success => 0x0100,
            StunClass::Error => 0x0110,
        };
        let kind = bits | (method & 0x000f) | (method & 0x0070) << 1 | (method & 0x0f80) << 2;
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend([0; 2]);
        bytes.extend(MAGIC_COOKIE);
        bytes.extend(transaction);
        Self { bytes, transaction }
    }

    /// Begins the success response to a request.
    pub fn success(request: &StunMessage<'_>) -> Self {
        Self::new(StunClass::Success, request.method, request.transaction)
    }

    /// Begins an error response to a request.
    pub fn error(request: &StunMessage<'_>, code: StunError) -> Self {
        let (_, reason) = code.number_and_reason();
        let value = [&[0, 0], &code.bytes()[..], reason.as_bytes()].concat();
        Self::new(StunClass::Error, request.method, request.transaction).put(ERROR_CODE, &value)
    }

    /// Begins the response to a request with attributes that the server does not understand.
    pub fn unknown_attributes(request: &StunMessage<'_>, unknown: &[u16]) -> Self {
        let list: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        Self::error(request, StunError::UnknownAttribute).put(UNKNOWN_ATTRIBUTES, &list)
    }

    /// Adds an attribute. The values that the server writes are short, except for data, which is at most one datagram.
    pub fn put(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend(kind.to_be_bytes());
        self.bytes.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = u16::try_from(self.bytes.len() - HEADER_BYTES).unwrap_or(u16::MAX);
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// Adds an XOR address attribute.
    pub fn put_address(self, kind: u16, address: SocketAddr) -> Self {
        let mask = address_mask(self.transaction);
        let [p0, p1] = address.port().to_be_bytes();
        let (family, ip) = match address.ip() {
            IpAddr::V4(v4) => (FAMILY_IPV4, xored(&v4.octets(), &mask)),
            IpAddr::V6(v6) => (FAMILY_IPV6, xored(&v6.octets(), &mask)),
        };
        let value = [&[0, family, p0 ^ mask[0], p1 ^ mask[1]], &ip[..]].concat();
        self.put(kind, &value)
    }

    /// Adds MESSAGE-INTEGRITY.
    pub fn sign(self, key: &IntegrityKey) -> Self {
        let covered = signed_part(&self.bytes, self.bytes.len(), INTEGRITY_BYTES).unwrap_or_default();
        let tag = hmac::sign(&key.0, &covered);
        self.put(MESSAGE_INTEGRITY, tag.as_ref())
    }

    /// Adds FINGERPRINT, after all others.
    pub fn fingerprint(self) -> Self {
        let covered = signed_part(&self.bytes, self.bytes.len(), 4).unwrap_or_default();
        self.put(FINGERPRINT, &(STUN_CRC.checksum(&covered) ^ FINGERPRINT_MASK).to_be_bytes())
    }

    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample request of RFC 5769, section 2.1: short-term credentials and a fingerprint.
    const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74\
        002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249\
        c1b571a280280004e57a3bcf";
    /// The sample response of section 2.2, for 192.0.2.1:32853.
    const SAMPLE_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001\
        a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
    const SAMPLE_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn published_samples_parse_and_verify() {
        let packet = bytes(SAMPLE_REQUEST);
        let request = StunMessage::parse(&packet).unwrap();
        assert_eq!((request.class, request.method), (StunClass::Request, METHOD_BINDING));
        assert_eq!(request.text(USERNAME), Some("evtj:h6vY"));
        assert_eq!(request.unknown_attributes(), [0x0024], "PRIORITY requires comprehension, ICE-CONTROLLED does not");
        assert!(request.is_signed_with(&IntegrityKey::from_bytes(SAMPLE_PASSWORD)));
        assert!(!request.is_signed_with(&IntegrityKey::from_bytes(b"another password")));
        let packet = bytes(SAMPLE_RESPONSE);
        let response = StunMessage::parse(&packet).unwrap();
        let mapped = response.decode_address(response.get(XOR_MAPPED_ADDRESS).unwrap());
        assert_eq!(mapped, Some("192.0.2.1:32853".parse().unwrap()));
        assert!(response.is_signed_with(&IntegrityKey::from_bytes(SAMPLE_PASSWORD)));
    }

    #[test]
    fn changed_or_incomplete_packets_are_no_messages() {
        let sample = bytes(SAMPLE_REQUEST);
        for len in 0..sample.len() {
            assert!(StunMessage::parse(&sample[..len]).is_none(), "{len} bytes");
        }
        // All before FINGERPRINT, which covers the rest of the message and nothing of itself.
        for at in 0..sample.len() - 8 {
            let mut changed = sample.clone();
            changed[at] ^= 0x41;
            // A changed length can hide the attributes that follow it, the fingerprint among them.
            let key = IntegrityKey::from_bytes(SAMPLE_PASSWORD);
            let parsed = StunMessage::parse(&changed).filter(|message| message.is_signed_with(&key));
            assert!(parsed.is_none(), "byte {at} is protected");
        }
        assert!(StunMessage::parse(&[sample, vec![0; 4]].concat()).is_none(), "trailing bytes");
    }

    #[test]
    fn written_messages_parse_to_what_was_written() {
        let key = IntegrityKey::long_term("1772442000:name", "secret");
        for address in ["192.0.2.7:49152", "[2001:db8::7]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let packet = StunWriter::new(StunClass::Success, METHOD_CHANNEL_BIND, [7; 12])
                .put_address(XOR_PEER_ADDRESS, address)
                .put(LIFETIME, &[0, 0, 2, 88])
                .sign(&key)
                .fingerprint()
                .finish();
            let message = StunMessage::parse(&packet).unwrap();
            assert_eq!((message.class, message.method), (StunClass::Success, METHOD_CHANNEL_BIND));
            assert_eq!(message.decode_address(message.get(XOR_PEER_ADDRESS).unwrap()), Some(address));
            assert!(message.is_signed_with(&key));
        }
    }

    #[test]
    fn attributes_after_integrity_are_ignored() {
        let key = IntegrityKey::long_term("name", "secret");
        let packet = StunWriter::new(StunClass::Request, METHOD_REFRESH, [7; 12])
            .put(LIFETIME, &[0; 4])
            .sign(&key)
            .put(XOR_PEER_ADDRESS, &[0; 8])
            .finish();
        let message = StunMessage::parse(&packet).unwrap();
        assert!(message.is_signed_with(&key) && message.has(LIFETIME) && !message.has(XOR_PEER_ADDRESS));
    }
}
