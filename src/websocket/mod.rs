//! The WebSocket server on the reactor: what most users see.

mod callbacks;
mod courtesy;
mod decision;
mod handler;
mod server;
mod server_stream;
mod session;
mod testing;

pub use callbacks::{Callbacks, on_message};
pub use decision::{Accept, Decision};
pub use handler::{Handler, WebSocket};
pub use server::{Server, Settings};
pub use testing::{Received, TestSocket};
