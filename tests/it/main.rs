//! Promises to users, each under its subject.
#![allow(clippy::unwrap_used)]

mod reactor;
mod support;
