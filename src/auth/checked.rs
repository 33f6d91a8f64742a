//! Signatures that were found good. A client shows the same token again with each request and each connection. When a
//! network was lost and ten thousand come back at once, checking them was a fifth of the hub's work, by a profile.
//!
//! Nothing else about a token is remembered: what it says, when it ends and whether it was revoked is looked at each time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// Signatures in one generation, of which there are two: about 1 MiB when both are full.
const MANY: usize = 14_000;

/// What stands for a key, a message and the message's signature by that key.
pub(super) type Print = [u8; SHA256_OUTPUT_LEN];

/// The prints of good signatures, the younger half and the older.
#[derive(Debug, Default)]
pub(super) struct Checked {
    halves: Mutex<[HashSet<Print>; 2]>,
}

/// The print of a signature. With the lengths, so that nothing can be moved from one part to the next.
pub(super) fn print(key: &[u8], signature: &[u8], message: &[u8]) -> Print {
    let mut context = Context::new(&SHA256);
    for part in [key, signature, message] {
        context.update(&part.len().to_be_bytes());
        context.update(part);
    }
    let mut print = [0; SHA256_OUTPUT_LEN];
    print.copy_from_slice(context.finish().as_ref());
    print
}

impl Checked {
    /// Whether this one was found good; if so, it is kept as if it was new.
    pub(super) fn has(&self, print: &Print) -> bool {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *halves;
        if young.contains(print) {
            return true;
        }
        let known = old.remove(print);
        if known {
            keep(&mut halves, *print);
        }
        known
    }

    /// Remembers one that was found good.
    pub(super) fn add(&self, print: Print) {
        keep(&mut self.halves.lock().unwrap_or_else(PoisonError::into_inner), print);
    }
}

fn keep([young, old]: &mut [HashSet<Print>; 2], print: Print) {
    if young.len() >= MANY {
        *old = std::mem::take(young);
    }
    young.insert(print);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(at: usize) -> Print {
        print(b"key", b"signature", &at.to_be_bytes())
    }

    #[test]
    fn no_part_can_be_moved_into_the_next() {
        let prints =
            [print(b"ab", b"c", b"d"), print(b"a", b"bc", b"d"), print(b"ab", b"", b"cd"), print(b"ab", b"cd", b"")];
        assert_eq!(HashSet::from(prints).len(), prints.len());
    }

    #[test]
    fn what_is_used_is_kept_what_is_not_is_forgotten_and_no_more_than_two_generations_are_held() {
        let checked = Checked::default();
        assert!(!checked.has(&number(0)));
        checked.add(number(0));
        for at in 1..10 * MANY {
            checked.add(number(at));
            assert!(at % 1_000 != 0 || checked.has(&number(0)), "used, and forgotten after {at}");
        }
        assert!(!checked.has(&number(1)), "not used, and not forgotten");
        let held: usize = checked.halves.lock().unwrap().iter().map(HashSet::len).sum();
        assert!(held <= 2 * MANY, "{held}");
    }
}
