//! Protocols on top of WebSockets. A layer uses only what any application could.

#[cfg(feature = "action-cable")]
pub mod action_cable;
#[cfg(feature = "socket-io")]
pub mod engine_io;
#[cfg(feature = "pusher")]
pub mod pusher;
#[cfg(feature = "socket-io")]
pub mod socket_io;
