//! Clients: opening, routes, reconnecting, and the blocking client.

mod blocking;
mod client;
mod regressions;
mod ways;
