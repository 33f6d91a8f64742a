//! The index of each member in a room of the fixture.

pub const PATIENT: usize = 0;
pub const DOCTOR: usize = 1;
pub const PHARMACIST: usize = 2;
/// Joins during a case, and only if its medicine is delivered.
pub const COURIER: usize = 3;
