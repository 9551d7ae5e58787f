//! Result of a send.

/// Result of a send.
///
/// ```
/// use ws_reactor::{SendStatus, on_message};
///
/// let handler = on_message(|ws, message| match ws.send(message) {
///     SendStatus::Queued => {}
///     SendStatus::Congested => ws.pause(), // and resume in on_drain
///     other => eprintln!("not sent: {other:?}"),
/// });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SendStatus {
    /// The message is queued.
    ///
    /// The message is written at the end of the callback or turn. A large message that has to be compressed is written
    /// when compression is done, and later messages follow.
    Queued,
    /// The message is queued, and the output is above
    /// [`OutputLimits::high_water_bytes`](crate::OutputLimits::high_water_bytes). Wait for `on_drain` before sending
    /// more.
    Congested,
    /// The message was dropped: the output is at its limit and the policy is
    /// [`Overflow::DropNewest`](crate::Overflow::DropNewest).
    Dropped,
    /// The message was not sent: the connection has ended, is closing, or was closed as a slow reader by this send
    /// because of [`OutputLimits::limit_bytes`](crate::OutputLimits::limit_bytes) or
    /// [`ReactorConfig::excess_output_bytes`](crate::ReactorConfig::excess_output_bytes).
    Closed,
    /// The message was not sent, because this connection cannot send it:
    ///
    /// - a message on a raw stream, or before `on_open`;
    /// - raw bytes on a WebSocket;
    /// - a binary message or a ping in hixie-75 and hixie-76;
    /// - a close code that is not [sendable](crate::CloseCode::is_sendable).
    Unsupported,
}

impl SendStatus {
    /// Returns `true` if the message is queued: [`Queued`](Self::Queued) or [`Congested`](Self::Congested).
    pub fn is_queued(self) -> bool {
        matches!(self, SendStatus::Queued | SendStatus::Congested)
    }
}
