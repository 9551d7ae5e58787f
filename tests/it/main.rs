//! Promises to users, each under its subject.
#![allow(clippy::unwrap_used)]

mod config;
mod deflate;
mod http;
mod protocol;
mod reactor;
mod support;
mod threads;
