//! The reason of a connection's end: as recorded when closing begins, and completed when the connection has ended.

use crate::{
    protocol::{CloseCode, CloseReason, ClosedBy, Version},
    reactor::connection::state::Phase,
};

/// A close that this side began with `code`, as far as the version has codes. Clean once the peer has answered.
pub(in crate::reactor) fn unanswered_close(
    version: Version,
    code: CloseCode,
    reason: &str,
    by: ClosedBy,
) -> CloseReason {
    match version.supports_close_codes() {
        true => CloseReason { code, reason: reason.to_owned(), ..CloseReason::abnormal(by) },
        false => CloseReason::abnormal(by),
    }
}

/// A raw stream that ended in order.
pub(in crate::reactor) fn in_order(by: ClosedBy) -> CloseReason {
    CloseReason { code: CloseCode::NO_STATUS, clean: true, ..CloseReason::abnormal(by) }
}

/// Facts about the end of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct End {
    /// The phase before the end.
    pub(in crate::reactor) phase: Phase,
    pub(in crate::reactor) by: ClosedBy,
    /// The stream has no closing handshake.
    pub(in crate::reactor) raw: bool,
    /// Bytes of output that were not sent.
    pub(in crate::reactor) unsent: usize,
    /// Our side of the stream was shut down before.
    pub(in crate::reactor) shut: bool,
}

impl End {
    /// Completes the reason that was recorded when closing began, if it had.
    pub(in crate::reactor) fn complete(self, recorded: Option<CloseReason>) -> CloseReason {
        let End { phase, by, raw, unsent, shut } = self;
        let timed_out = matches!(by, ClosedBy::Timeout(_));
        let reason = match (phase, recorded) {
            // Errors after a finished closing handshake do not matter, unless our last output could not be sent.
            (Phase::Draining | Phase::Lingering, Some(reason)) => {
                let ended = by == ClosedBy::Peer || shut && !timed_out;
                CloseReason { clean: reason.clean && ended, ..reason }
            }
            (Phase::AwaitingEof, Some(reason)) => reason,
            (Phase::Closing, Some(reason)) => CloseReason::abnormal(if by == ClosedBy::Peer { reason.by } else { by }),
            _ if raw && by == ClosedBy::Peer => in_order(by),
            _ => CloseReason::abnormal(by),
        };
        // A failure that loses output after a close of this side is the cause of the end.
        let failed = matches!(by, ClosedBy::Timeout(_) | ClosedBy::SlowReader | ClosedBy::Network(_));
        let closed_here = matches!(reason.by, ClosedBy::Application | ClosedBy::Shutdown);
        let by = if failed && closed_here && unsent > 0 { by } else { reason.by };
        CloseReason { clean: reason.clean && unsent == 0, unsent, by, ..reason }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::protocol::TimeoutKind;

    const RESET: ClosedBy = ClosedBy::Network(ErrorKind::ConnectionReset);
    const TIMEOUT: ClosedBy = ClosedBy::Timeout(TimeoutKind::Closing);

    fn end(phase: Phase, by: ClosedBy) -> End {
        End { phase, by, raw: false, unsent: 0, shut: false }
    }

    fn answered() -> Option<CloseReason> {
        let reason = "bye".to_owned();
        Some(CloseReason {
            code: CloseCode::NORMAL,
            reason,
            clean: true,
            ..CloseReason::abnormal(ClosedBy::Application)
        })
    }

    #[test]
    fn end_of_an_open_websocket_is_abnormal_and_eof_of_a_raw_stream_is_clean() {
        assert_eq!(end(Phase::Open, ClosedBy::Peer).complete(None), CloseReason::abnormal(ClosedBy::Peer));
        let raw = End { raw: true, ..end(Phase::Open, ClosedBy::Peer) };
        assert_eq!(raw.complete(None), in_order(ClosedBy::Peer));
        assert_eq!(End { by: RESET, ..raw }.complete(None), CloseReason::abnormal(RESET));
    }

    #[test]
    fn close_without_a_reply_is_abnormal_and_reports_who_ended_the_connection() {
        let recorded = || Some(unanswered_close(Version::Rfc6455, CloseCode::NORMAL, "bye", ClosedBy::Application));
        let by_eof = end(Phase::Closing, ClosedBy::Peer).complete(recorded());
        assert_eq!(by_eof, CloseReason::abnormal(ClosedBy::Application));
        assert_eq!(end(Phase::Closing, TIMEOUT).complete(recorded()), CloseReason::abnormal(TIMEOUT));
        assert_eq!(end(Phase::Closing, RESET).complete(recorded()), CloseReason::abnormal(RESET));
    }

    #[test]
    fn finished_closing_handshake_stays_clean_unless_the_last_output_was_not_sent() {
        for phase in [Phase::Draining, Phase::Lingering] {
            for (by, shut, clean) in [
                (ClosedBy::Peer, false, true),
                (RESET, true, true),
                (RESET, false, false),
                (TIMEOUT, true, false),
                (TIMEOUT, false, false),
            ] {
                let reason = End { shut, ..end(phase, by) }.complete(answered()).clean;
                assert_eq!(reason, clean, "{phase:?} {by:?} {shut}");
            }
        }
        for (by, unsent, clean) in [(TIMEOUT, 0, true), (TIMEOUT, 7, false), (RESET, 0, true), (RESET, 7, false)] {
            let reason = End { unsent, ..end(Phase::AwaitingEof, by) }.complete(answered());
            let cause = if clean { ClosedBy::Application } else { by };
            assert_eq!((reason.clean, reason.unsent, reason.by), (clean, unsent, cause), "{by:?}");
        }
    }

    #[test]
    fn version_without_close_codes_reports_none() {
        let reason = unanswered_close(Version::Hixie76, CloseCode::NORMAL, "bye", ClosedBy::Application);
        assert_eq!(reason, CloseReason::abnormal(ClosedBy::Application));
    }
}
