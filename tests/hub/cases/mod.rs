//! Whole cases and what belongs to them: guests, timers, a generated day.

mod guests;
mod load_day;
mod timers;
