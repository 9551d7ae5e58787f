//! Servers: requests and their replies.

mod access;
mod deferred_replies;
mod http;
mod opening;
mod panics;
mod proxies;
mod requests;
#[cfg(unix)]
mod sockets;
