//! WebSocket servers and clients on the reactor: the API that most users need.

mod blocking;
mod callbacks;
mod client;
mod client_stream;
mod config;
mod handler;
mod origins;
mod preamble;
mod reconnect;
mod reply;
mod responder;
mod route;
mod server;
mod server_stream;
mod session;
mod testing;

pub use blocking::BlockingSocket;
pub use callbacks::{Callbacks, on_message};
pub use client::Client;
pub use config::{ClientConfig, ServerConfig, WebSocketConfig};
pub use handler::{Handler, WebSocket};
pub use origins::OriginError;
pub use reconnect::Reconnect;
pub use reply::{Reply, Upgrade};
pub use responder::Responder;
pub use server::{Server, StreamServer};
pub use testing::{Received, TestSocket};
