//! Failing nodes, databases, disks, and clocks, and more load than the hub can serve.

mod clock_skew;
mod failover;
mod full_disk;
mod hostile_clients;
mod overload;
mod reconnect_storm;
