//! Protocols on top of WebSockets.

#[cfg(feature = "action-cable")]
mod action_cable;
#[cfg(feature = "pusher")]
mod pusher;
#[cfg(feature = "socket-io")]
mod socket_io;
