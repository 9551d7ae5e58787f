//! Servers: requests and their replies.

mod deferred_replies;
mod http;
mod requests;
