//! Several nodes on one PostgreSQL and one Redis.

mod bus_faults;
mod calls;
mod command_trace;
mod database;
mod presence;
mod replication;
