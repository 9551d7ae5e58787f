//! The phases of a turn, as reports of slow turns name them.

/// A part of a turn. [`Closing`](Self::Closing), [`Input`](Self::Input), [`Accepting`](Self::Accepting)
/// and [`Output`](Self::Output) come twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TurnPhase {
    /// Connections that have ended: `on_close`, and reconnecting.
    Closing,
    /// Results of name resolution, and commands of [`Remote`](crate::Remote)s.
    Commands,
    /// Reading from connections, their callbacks, and the output of these: TLS and decompression included.
    Input,
    /// Accepting connections, opening and closing listeners, and a graceful shutdown.
    Accepting,
    /// Steps of TLS handshakes.
    TlsHandshakes,
    /// Timers, deadlines, and ticks.
    Timers,
    /// Events of the application, for [`on_event`](crate::StreamHandler::on_event).
    Events,
    /// Compressing messages.
    Compression,
    /// Writing to connections other than those just read: at first output left by the last turn, at the end all other.
    /// Also `on_drain`.
    Output,
}
