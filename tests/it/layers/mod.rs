//! Protocols on top of WebSockets.

#[cfg(feature = "action-cable")]
mod action_cable;
