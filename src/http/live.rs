//! The operations of the live connections; what they do is in [`crate::ws`].

use super::operation::Operation;

pub fn operations() -> Vec<Operation> {
    Vec::new()
}
