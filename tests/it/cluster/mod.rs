//! Groups of reactors.

mod backplane;
mod commands;
mod datagram_backplane;
mod group;
mod histories;
mod limits;
mod listeners;
#[cfg(feature = "redis")]
mod redis;
mod running;
mod simulated;
mod threads;
