//! The little of STUN (RFC 8489) that the admission filter needs: header, attributes, and the challenge with a nonce.
//! The TURN library parses and answers everything else.

use super::credentials::REALM;

pub const METHOD_BINDING: u16 = 0x0001;
pub const ALLOCATE_ERROR: u16 = 0x0113;
pub const ATTRIBUTE_ERROR_CODE: u16 = 0x0009;
pub const ATTRIBUTE_NONCE: u16 = 0x0015;
const ATTRIBUTE_REALM: u16 = 0x0014;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const CLASS_BITS: u16 = 0x0110;

/// Returns a message's type and its attributes, or `None` for channel data and anything else.
pub fn parse_message(packet: &[u8]) -> Option<(u16, &[u8])> {
    let kind = u16::from_be_bytes([*packet.first()?, *packet.get(1)?]);
    let length = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    (kind < 0x4000).then_some(())?;
    Some((kind, packet.get(20..20 + length)?))
}

/// Returns `true` for the type of a request; `false` for indications and responses.
pub fn is_request(kind: u16) -> bool {
    kind & CLASS_BITS == 0
}

/// Returns the value of the first attribute of the wanted type.
pub fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let [a, b, c, d, rest @ ..] = attributes {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        if u16::from_be_bytes([*a, *b]) == wanted {
            return rest.get(..length);
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Encodes an error response that asks for a repeat with this nonce: 401, or 438 if the request had a stale one
/// (RFC 8489, section 9.2.4).
pub fn challenge(request: &[u8], kind: u16, is_stale: bool, nonce: &[u8]) -> Vec<u8> {
    let mut response = (kind | CLASS_BITS).to_be_bytes().to_vec();
    response.extend([0; 2]);
    response.extend(MAGIC_COOKIE);
    response.extend(&request[8..20]);
    let mut push = |kind: u16, value: &[u8]| {
        response.extend(kind.to_be_bytes());
        response.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        response.extend(value);
        response.resize(response.len().next_multiple_of(4), 0);
    };
    push(ATTRIBUTE_ERROR_CODE, &[0, 0, 4, if is_stale { 38 } else { 1 }]);
    push(ATTRIBUTE_REALM, REALM.as_bytes());
    push(ATTRIBUTE_NONCE, nonce);
    let length = u16::try_from(response.len() - 20).unwrap_or(0);
    response[2..4].copy_from_slice(&length.to_be_bytes());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parser_never_reads_beyond_the_end_of_a_packet() {
        for len in 0..64 {
            for byte in [0x00, 0x01, 0x15, 0x40, 0xff] {
                let packet = vec![byte; len];
                if let Some((_, attributes)) = parse_message(&packet) {
                    assert!(attribute(attributes, ATTRIBUTE_NONCE).is_none_or(|value| value.len() <= len));
                }
            }
        }
        let mut packet = vec![0, 3, 0, 12];
        packet.extend([0; 16]);
        packet.extend([0, 6, 0, 1, b'x', 0, 0, 0, 0, 0x15, 0, 0]);
        let (kind, attributes) = parse_message(&packet).unwrap();
        let nonce = attribute(attributes, ATTRIBUTE_NONCE);
        assert_eq!((kind, nonce, attribute(attributes, 6)), (3, Some(&[][..]), Some(&b"x"[..])));
    }
}
