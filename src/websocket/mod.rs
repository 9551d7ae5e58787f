//! WebSocket servers and clients on the reactor: what most users see.

mod blocking;
mod callbacks;
mod client;
mod client_stream;
mod courtesy;
mod decider;
mod decision;
mod handler;
mod reconnect;
mod route;
mod server;
mod server_stream;
mod session;
mod testing;

pub use blocking::BlockingSocket;
pub use callbacks::{Callbacks, on_message};
pub use client::{Client, ClientSettings};
pub use decider::{Decider, Deferred};
pub use decision::{Accept, Decision};
pub use handler::{Handler, WebSocket};
pub use reconnect::Reconnect;
pub use server::{Server, Settings};
pub use testing::{Received, TestSocket};
