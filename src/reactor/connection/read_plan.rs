//! The decision about the next read of a connection, without sockets.

/// Bytes of the first read of a turn, unless more are expected. After each read that was full, the next asks for twice
/// as much, up to [`LARGEST_READ`]: a fast sender costs fewer system calls, and a slow one touches little memory.
pub(in crate::reactor) const DEFAULT_READ: usize = 64 * 1024;

/// Bytes of a read, unless more are expected, if the reads before it were full.
const LARGEST_READ: usize = 128 * 1024;

/// Bytes of a read inside a frame that does not fit the buffer, and about the bytes read of it per turn. The frame
/// arrives in pieces anyway; small ones keep the wait of other connections short.
pub(in crate::reactor) const OVERSIZE_READ: usize = 256 * 1024;

/// Bytes read from a connection when the budget of the turn is spent.
pub(in crate::reactor) const OVER_BUDGET_READ: usize = 16 * 1024;

/// State of a connection before a read.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct ReadState {
    /// The connection is not paused, its output is below its mark, and its phase takes input.
    pub(in crate::reactor) may_read: bool,
    /// A TLS handshake is in progress.
    pub(in crate::reactor) handshaking: bool,
    /// The handler has handed input back.
    pub(in crate::reactor) has_backlog: bool,
    /// The socket may have input.
    pub(in crate::reactor) readable: bool,
    /// Bytes that the handler expects next and that belong together.
    pub(in crate::reactor) expected: usize,
    /// Length of the last read in this turn, if the read was full and no output waits.
    pub(in crate::reactor) full: usize,
}

/// Budgets before a read, in bytes.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct ReadBudget {
    /// Length of the read buffer.
    pub(in crate::reactor) buffer: usize,
    /// Rest of the connection's budget in this turn.
    pub(in crate::reactor) left: usize,
    /// Bytes already read from the connection in this turn.
    pub(in crate::reactor) spent: usize,
    /// The budget of the turn is spent.
    pub(in crate::reactor) turn_is_spent: bool,
    /// The connection may make a step of its TLS handshake.
    pub(in crate::reactor) tls_step_allowed: bool,
}

/// The next step for a connection that may have input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum ReadPlan {
    /// Nothing to read, or reading is suspended.
    Stop,
    /// Deliver the input that the handler has handed back.
    Backlog,
    /// Read in the next turn. If the connection has not been read although it expects more, a missing pong means
    /// nothing meanwhile.
    Yield { unread: bool },
    /// Wait for a step of the TLS handshake. A handshake costs as much as a hundred messages, so all of them stand in
    /// one queue.
    AwaitTlsStep,
    /// Read at most this many bytes.
    Read(usize),
}

impl ReadPlan {
    /// Decides on the next step.
    ///
    /// Each connection is read once, however busy the others are, which completes a short message. A connection that
    /// expects more than [`OVER_BUDGET_READ`] waits for the next turn with those in the middle of a message.
    #[inline(always)]
    pub(in crate::reactor) fn new(state: ReadState, budget: ReadBudget) -> Self {
        // The handshake proceeds even if the connection is not read, because output waits for it.
        if !state.may_read && !state.handshaking {
            return ReadPlan::Stop;
        }
        if state.has_backlog {
            return ReadPlan::Backlog;
        }
        if !state.readable {
            return ReadPlan::Stop;
        }
        let unread = budget.turn_is_spent && state.expected > OVER_BUDGET_READ;
        let in_pieces = state.expected > budget.buffer;
        let read_once = budget.turn_is_spent && budget.spent > 0;
        if budget.left == 0 || unread || read_once || in_pieces && budget.spent >= OVERSIZE_READ {
            return ReadPlan::Yield { unread };
        }
        if state.handshaking && !budget.tls_step_allowed {
            return ReadPlan::AwaitTlsStep;
        }
        let wanted = match (budget.turn_is_spent, in_pieces) {
            (true, _) => OVER_BUDGET_READ,
            (_, true) => OVERSIZE_READ,
            _ if state.expected == 0 => (2 * state.full).clamp(DEFAULT_READ, LARGEST_READ),
            _ => state.expected + DEFAULT_READ,
        };
        ReadPlan::Read(wanted.min(budget.buffer).min(budget.left.max(DEFAULT_READ)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: ReadState =
        ReadState { may_read: true, handshaking: false, has_backlog: false, readable: true, expected: 0, full: 0 };
    const BUFFER: usize = 1024 * 1024;
    const BUDGET: ReadBudget =
        ReadBudget { buffer: BUFFER, left: BUFFER, spent: 0, turn_is_spent: false, tls_step_allowed: false };
    /// The budget of a turn that is spent, for a connection that was not read in it.
    const SPENT: ReadBudget = ReadBudget { turn_is_spent: true, ..BUDGET };

    #[track_caller]
    fn check(state: ReadState, budget: ReadBudget, plan: ReadPlan) {
        assert_eq!(ReadPlan::new(state, budget), plan, "{state:?} {budget:?}");
    }

    #[test]
    fn connection_that_may_not_be_read_stops_even_with_a_backlog() {
        let state = ReadState { may_read: false, has_backlog: true, ..STATE };
        check(state, BUDGET, ReadPlan::Stop);
        check(ReadState { readable: false, ..STATE }, BUDGET, ReadPlan::Stop);
    }

    #[test]
    fn backlog_comes_before_the_socket_and_costs_no_budget() {
        for readable in [false, true] {
            let state = ReadState { has_backlog: true, readable, ..STATE };
            for budget in [BUDGET, SPENT, ReadBudget { left: 0, ..BUDGET }] {
                check(state, budget, ReadPlan::Backlog);
            }
        }
    }

    #[test]
    fn read_covers_the_expected_bytes_and_more_within_buffer_and_budget() {
        check(STATE, BUDGET, ReadPlan::Read(DEFAULT_READ));
        check(ReadState { expected: 300_000, ..STATE }, BUDGET, ReadPlan::Read(300_000 + DEFAULT_READ));
        check(ReadState { expected: BUFFER, ..STATE }, BUDGET, ReadPlan::Read(BUFFER));
        let little = ReadBudget { left: 1, ..BUDGET };
        check(ReadState { expected: 300_000, ..STATE }, little, ReadPlan::Read(DEFAULT_READ));
        check(STATE, ReadBudget { buffer: 100, ..BUDGET }, ReadPlan::Read(100));
    }

    #[test]
    fn read_after_a_full_one_asks_for_twice_as_much_up_to_a_limit() {
        let state = |full| ReadState { full, ..STATE };
        check(state(DEFAULT_READ), BUDGET, ReadPlan::Read(2 * DEFAULT_READ));
        check(state(LARGEST_READ), BUDGET, ReadPlan::Read(LARGEST_READ));
        check(state(LARGEST_READ), SPENT, ReadPlan::Read(OVER_BUDGET_READ));
        check(ReadState { expected: 1000, ..state(DEFAULT_READ) }, BUDGET, ReadPlan::Read(1000 + DEFAULT_READ));
    }

    #[test]
    fn frame_larger_than_the_buffer_is_read_in_pieces_one_per_turn() {
        let state = ReadState { expected: BUFFER + 1, ..STATE };
        check(state, BUDGET, ReadPlan::Read(OVERSIZE_READ));
        let spent = |spent| ReadBudget { spent, ..BUDGET };
        check(state, spent(OVERSIZE_READ - 1), ReadPlan::Read(OVERSIZE_READ));
        check(state, spent(OVERSIZE_READ), ReadPlan::Yield { unread: false });
    }

    #[test]
    fn connection_yields_when_its_budget_is_spent() {
        check(STATE, ReadBudget { left: 0, spent: 1, ..BUDGET }, ReadPlan::Yield { unread: false });
    }

    #[test]
    fn spent_turn_reads_each_connection_once_unless_it_expects_more() {
        check(STATE, SPENT, ReadPlan::Read(OVER_BUDGET_READ));
        check(ReadState { expected: OVER_BUDGET_READ, ..STATE }, SPENT, ReadPlan::Read(OVER_BUDGET_READ));
        check(ReadState { expected: OVER_BUDGET_READ + 1, ..STATE }, SPENT, ReadPlan::Yield { unread: true });
        check(STATE, ReadBudget { spent: 1, ..SPENT }, ReadPlan::Yield { unread: false });
    }

    #[test]
    fn tls_handshake_waits_for_its_step_and_goes_on_while_reading_is_suspended() {
        let state = ReadState { may_read: false, handshaking: true, ..STATE };
        check(state, BUDGET, ReadPlan::AwaitTlsStep);
        check(state, ReadBudget { tls_step_allowed: true, ..BUDGET }, ReadPlan::Read(DEFAULT_READ));
        check(state, ReadBudget { tls_step_allowed: true, left: 0, ..BUDGET }, ReadPlan::Yield { unread: false });
        check(ReadState { readable: false, ..state }, BUDGET, ReadPlan::Stop);
    }
}
