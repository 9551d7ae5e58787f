//! Servers: requests and their replies.

mod deferred_replies;
mod http;
mod opening;
mod panics;
mod requests;
