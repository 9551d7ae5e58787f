//! The table: the expected outcome of every action in every callback.

use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callback {
    Open,
    Message,
    Ping,
    Pong,
    Drain,
    Timer,
    /// `on_error` after a protocol violation: the close frame is queued, the connection still exists.
    ErrorOfPeer,
    /// `on_error` after a network error: the connection has ended.
    ErrorOfNetwork,
    Close,
    HubTimer,
    NextTick,
    Remote,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    SendToSelf,
    SendToOther,
    CloseSelf,
    CloseOther,
    TerminateSelf,
    TerminateOther,
    Publish,
    Subscribe,
    Unsubscribe,
    SetOwnTimer,
    CancelOwnTimer,
    AddTimer,
    CancelTimer,
    CancelPeriodicInItself,
    NextTick,
    Pause,
    PauseAndResume,
    Stop,
    Shutdown,
    SendToStale,
    Panic,
}

/// The state of the actor's own connection when the callback runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Open,
    /// The close frame of the failure is queued. The connection can still be terminated.
    Failed,
    /// The id is dead: no call has an effect.
    Dead,
}

impl Callback {
    pub(super) const ALL: [Callback; 12] = [
        Callback::Open,
        Callback::Message,
        Callback::Ping,
        Callback::Pong,
        Callback::Drain,
        Callback::Timer,
        Callback::ErrorOfPeer,
        Callback::ErrorOfNetwork,
        Callback::Close,
        Callback::HubTimer,
        Callback::NextTick,
        Callback::Remote,
    ];

    pub(super) fn own(self) -> Own {
        match self {
            Callback::ErrorOfPeer => Own::Failed,
            Callback::ErrorOfNetwork | Callback::Close => Own::Dead,
            _ => Own::Open,
        }
    }

    pub(super) fn has_connection(self) -> bool {
        !matches!(self, Callback::HubTimer | Callback::NextTick | Callback::Remote)
    }

    /// The callbacks of the actor up to the action.
    pub(super) fn events(self) -> Vec<String> {
        let own = match self {
            Callback::Message => Some("message go"),
            Callback::Ping => Some("ping"),
            Callback::Pong => Some("pong"),
            Callback::Drain => Some("drain"),
            Callback::Timer => Some("timer"),
            Callback::ErrorOfPeer | Callback::ErrorOfNetwork => Some("error"),
            _ => None,
        };
        ["open"].into_iter().chain(own).map(str::to_owned).collect()
    }

    /// The frames that the actor's peer receives in any case.
    fn frames(self) -> Vec<Frame> {
        match self {
            Callback::Ping => vec![Frame::Pong],
            Callback::Drain => vec![Frame::Binary(LARGE_MESSAGE_BYTES)],
            Callback::ErrorOfPeer => vec![Frame::Close(1002)],
            Callback::Close => vec![Frame::Close(1000)],
            _ => Vec::new(),
        }
    }
}

/// What ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The close frame of the peer, after one more message: the action has no part in it.
    Peer,
    /// The cause of the callback.
    Callback,
    Close,
    Terminate,
    Panic,
    Shutdown,
    Stop,
}

impl End {
    /// The code, the cause and the cleanness that `on_close` gets.
    pub(super) fn reason(self, callback: Callback) -> &'static str {
        match (self, callback) {
            (End::Callback, Callback::ErrorOfPeer) => "close 1002 Protocol(UnknownOpCode(3)) false",
            (End::Callback, Callback::ErrorOfNetwork) => "close 1006 Network(ConnectionReset) false",
            (End::Peer | End::Callback, _) => "close 1000 Peer true",
            (End::Close, _) => "close 1000 Application true",
            (End::Terminate, _) => "close 1006 Application false",
            (End::Panic, _) => "close 1011 Panic false",
            (End::Shutdown, _) => "close 1001 Shutdown true",
            (End::Stop, _) => "close 1006 Shutdown false",
        }
    }
}

/// The outcome of an action in a callback.
pub(super) struct Expected {
    /// What the calls return.
    pub(super) results: Vec<String>,
    pub(super) actor_frames: Vec<Frame>,
    pub(super) other_frames: Vec<Frame>,
    pub(super) actor_end: End,
    pub(super) other_end: End,
    /// The callbacks of the actor that follow from the action alone.
    pub(super) actor_events: Vec<&'static str>,
    /// What functions of the loop record.
    pub(super) loop_events: Vec<&'static str>,
    pub(super) panics: u64,
}

/// The table, with one row for each action.
pub(super) fn expected(action: Action, callback: Callback) -> Expected {
    let own = callback.own();
    let open = own == Own::Open;
    let mut row = Expected {
        results: Vec::new(),
        actor_frames: callback.frames(),
        other_frames: Vec::new(),
        actor_end: if open { End::Peer } else { End::Callback },
        other_end: End::Peer,
        actor_events: Vec::new(),
        loop_events: Vec::new(),
        panics: 0,
    };
    let sent = if open { "Queued" } else { "Closed" };
    let results = |results: &[&str]| results.iter().map(|result| (*result).to_owned()).collect();
    match action {
        Action::SendToSelf => {
            row.results = results(&[sent]);
            row.actor_frames.extend(open.then(|| Frame::text("to self")));
        }
        Action::SendToOther => {
            row.results = results(&["Queued"]);
            row.other_frames.push(Frame::text("to other"));
        }
        Action::CloseSelf => {
            // A message before the close is sent. A message or a second close after it is refused.
            row.results = results(&[sent, sent, "Closed", "Closed"]);
            if open {
                row.actor_frames.extend([Frame::text("last words"), Frame::Close(1000)]);
                row.actor_end = End::Close;
            }
        }
        Action::CloseOther => {
            row.results = results(&["Queued", "Queued", "Closed", "Closed"]);
            row.other_frames.extend([Frame::text("last words"), Frame::Close(1000)]);
            row.other_end = End::Close;
        }
        Action::TerminateSelf => {
            row.results = results(&[if own == Own::Dead { "false" } else { "true" }, "false", "Closed"]);
            if open {
                row.actor_end = End::Terminate;
            }
            if matches!(callback, Callback::Ping | Callback::ErrorOfPeer) {
                // The pong or close frame is queued and not yet written: `terminate` drops it.
                row.actor_frames.clear();
            }
        }
        Action::TerminateOther => {
            // A message to another connection is written at the end of the turn: `terminate` drops it.
            row.results = results(&["Queued", "true", "false", "Closed"]);
            row.other_end = End::Terminate;
        }
        Action::Publish => {
            row.results = results(&[if open { "2 0" } else { "1 0" }, "1 0", "0 0"]);
            row.actor_frames.extend(open.then(|| Frame::text("to all")));
            row.other_frames.extend([Frame::text("to all"), Frame::text("to others")]);
        }
        // `check` publishes to both topics, and so sees the effect.
        Action::Subscribe | Action::Unsubscribe => {
            row.results = results(&[if open { "true" } else { "false" }, "false"]);
        }
        Action::SetOwnTimer => row.actor_events.extend((open && callback.has_connection()).then_some("timer")),
        // The timer of a dead id can be cancelled once until its connection is removed.
        Action::CancelOwnTimer if callback.has_connection() => row.results = results(&["true", "false"]),
        Action::CancelOwnTimer => {}
        Action::AddTimer => row.loop_events = vec!["timer, cancelled in itself: false"],
        Action::CancelTimer => row.results = results(&["true", "false"]),
        Action::CancelPeriodicInItself => {
            row.loop_events = vec!["periodic", "periodic", "cancelled in itself: true", "again: false"];
        }
        Action::NextTick => row.loop_events = vec!["tick", "tick of a tick"],
        Action::Pause => row.results = results(&[if open { "true" } else { "false" }]),
        Action::PauseAndResume => row.results = results(&[if open { "true" } else { "false" }; 2]),
        Action::Stop => {
            // A message sent in the turn that stops the loop is still written.
            row.results = results(&["Queued"]);
            row.other_frames.push(Frame::text("farewell"));
            row.other_end = End::Stop;
            if open {
                row.actor_end = End::Stop;
            }
        }
        Action::Shutdown => {
            row.results = results(&["Queued"]);
            row.other_frames.extend([Frame::text("farewell"), Frame::Close(1001)]);
            row.other_end = End::Shutdown;
            if open {
                row.actor_frames.push(Frame::Close(1001));
                row.actor_end = End::Shutdown;
            }
        }
        Action::SendToStale => row.results = results(&["Closed", "Closed", "false", "false", "false", "false"]),
        Action::Panic => {
            row.panics = 1;
            // A panic in a function of the loop ends no connection. A failed or ended connection keeps its reason.
            if open && callback.has_connection() {
                row.actor_frames.push(Frame::Close(1011));
                row.actor_end = End::Panic;
            }
        }
    }
    row
}
