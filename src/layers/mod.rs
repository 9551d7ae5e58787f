//! Protocols on top of WebSockets. A layer uses only what any application could.

#[cfg(feature = "action-cable")]
pub mod action_cable;
