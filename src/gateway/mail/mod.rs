//! Mail to people: that a consultation is booked or moved, that it is near, and what was paid. Nothing clinical is in it,
//! and not with whom the consultation is: whom somebody sees is a clinical fact.

pub mod desk;
mod letter;
pub mod post;
