//! Promises to users, each under its subject.
#![allow(clippy::unwrap_used)]

mod client;
mod cluster;
mod config;
mod contract;
mod deflate;
mod error_texts;
mod floors;
#[cfg(feature = "server")]
mod http;
mod layers;
mod protocol;
mod reactor;
mod server;
mod support;
mod testing;
mod threads;
#[cfg(feature = "tls")]
mod tls;
