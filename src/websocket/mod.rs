//! WebSocket servers and clients on the reactor: the API that most users need.

mod callbacks;
mod client;
mod config;
mod handler;
mod liveness;
mod server;
mod session;
mod testing;

pub use callbacks::{Callbacks, on_message};
pub use client::{Client, blocking::BlockingSocket, request::HandshakeRequest};
pub use config::{ClientConfig, ServerConfig, WebSocketConfig};
pub use handler::{Handler, WebSocket};
#[cfg(feature = "server")]
pub use server::routes::Routes;
pub use server::{Server, StreamServer};
pub use testing::{Network, Opening, Received, TestSocket};
