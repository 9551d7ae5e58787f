//! The state of a session: transport, upgrade, heartbeat and end. Pure: time is passed in, and effects are values.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::packet::{CLOSE, NOOP, PING, PROBE_ANSWER, Packet, Received};

/// Most packets of a response; the client of Python refuses more.
const PACKETS_PER_RESPONSE: usize = 16;

/// Interval in which pending polls of a client that upgrades are answered. A single noop is not enough: the client may
/// poll again before it has seen the answer to its probe.
const UPGRADE_NOOP_INTERVAL: Duration = Duration::from_millis(100);

/// Longest wait for a poll that takes the close packet.
const CLOSE_WAIT: Duration = Duration::from_secs(30);

/// Why a session has ended. The words are those of Node's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// `transport error`: a request or a WebSocket was cut, or broke the protocol, or the client did not take what was
    /// sent.
    TransportError,
    /// `transport close`: the client closed the session.
    TransportClose,
    /// `forced close`: the application closed the session.
    ForcedClose,
    /// `ping timeout`: the client did not answer a ping in time.
    PingTimeout,
    /// `parse error`: the client sent something that is no packet.
    ParseError,
}

impl CloseReason {
    /// The words for the reason.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::TransportError => "transport error",
            CloseReason::TransportClose => "transport close",
            CloseReason::ForcedClose => "forced close",
            CloseReason::PingTimeout => "ping timeout",
            CloseReason::ParseError => "parse error",
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Intervals and bounds of all sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) upgrade_timeout: Duration,
    pub(crate) max_waiting_bytes: usize,
}

/// Effects of a change of state.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Answer the pending poll.
    Answer(Vec<Packet>),
    /// Send on the WebSocket that carries the session.
    Send(Packet),
    /// Send on the WebSocket that probes.
    SendProbe(&'static str),
    /// Close the WebSocket that probes.
    EndProbe,
    /// The WebSocket that probes carries the session now.
    Upgraded,
    /// Close the WebSocket that carries the session.
    EndWebSocket,
    /// The packets that waited have left.
    Drained,
    Closed(CloseReason),
}

/// Bytes that a packet holds while it waits: text and bookkeeping.
fn held_bytes(packet: &Packet) -> usize {
    packet.len() + 64
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The application has closed the session; the close packet waits for a poll.
    Closing {
        until: Instant,
    },
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Polling,
    WebSocket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    None,
    /// A WebSocket is there.
    Opened {
        until: Instant,
    },
    /// It was probed. The next noop is due at `noop_at`.
    Upgrading {
        until: Instant,
        noop_at: Instant,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heartbeat {
    PingAt(Instant),
    PongBy(Instant),
}

#[derive(Debug)]
pub(crate) struct Machine {
    timing: Timing,
    state: State,
    transport: Transport,
    probe: Probe,
    has_poll: bool,
    has_post: bool,
    heartbeat: Heartbeat,
    /// Packets that wait for a poll.
    waiting: VecDeque<Packet>,
    waiting_bytes: usize,
    outputs: Vec<Output>,
}

impl Machine {
    /// A session whose open packet is on its way.
    pub(crate) fn open(timing: Timing, transport: Transport, now: Instant) -> Self {
        Machine {
            timing,
            state: State::Open,
            transport,
            probe: Probe::None,
            has_poll: false,
            has_post: false,
            heartbeat: Heartbeat::PingAt(now + timing.ping_interval),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            outputs: Vec::new(),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Bytes of the packets that wait for a poll.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Returns `true` if a packet would leave at once. Volatile packets are dropped otherwise.
    pub(crate) fn is_writable(&self) -> bool {
        self.is_open() && (self.transport == Transport::WebSocket || self.has_poll && self.probe == Probe::None)
    }

    /// Takes what is to be done.
    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When [`on_deadline`](Self::on_deadline) is to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let heartbeat = match self.heartbeat {
            Heartbeat::PingAt(at) | Heartbeat::PongBy(at) => at,
        };
        let own = match self.state {
            State::Closed => return None,
            State::Closing { until } => until.min(heartbeat),
            State::Open => heartbeat,
        };
        Some(match self.probe {
            Probe::None => own,
            Probe::Opened { until } => own.min(until),
            Probe::Upgrading { until, noop_at } => own.min(until).min(noop_at),
        })
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        match self.state {
            State::Closed => return,
            State::Closing { until } if until <= now => return self.end(CloseReason::ForcedClose),
            State::Open | State::Closing { .. } => {}
        }
        // Also while the close packet waits: a client that is gone takes it never.
        match self.heartbeat {
            Heartbeat::PingAt(at) if at <= now => {
                self.heartbeat = Heartbeat::PongBy(now + self.timing.ping_timeout);
                self.send(Packet::of(PING));
                self.settle();
            }
            Heartbeat::PongBy(by) if by <= now => return self.end(CloseReason::PingTimeout),
            Heartbeat::PingAt(_) | Heartbeat::PongBy(_) => {}
        }
        match self.probe {
            Probe::Opened { until } | Probe::Upgrading { until, .. } if until <= now => self.end_probe(),
            Probe::Upgrading { until, noop_at } if noop_at <= now => {
                self.probe = Probe::Upgrading { until, noop_at: now + UPGRADE_NOOP_INTERVAL };
                self.answer_noop();
            }
            _ => {}
        }
    }

    /// A poll has come. Returns `false` if it is refused.
    pub(crate) fn on_poll(&mut self) -> bool {
        if self.has_poll {
            // The first poll learns of it by a close packet.
            self.has_poll = false;
            self.outputs.push(Output::Answer(vec![Packet::of(CLOSE)]));
            self.end(CloseReason::TransportError);
            return false;
        }
        self.has_poll = true;
        self.flush();
        true
    }

    /// The client has cut its poll.
    pub(crate) fn on_poll_cut(&mut self) {
        if std::mem::take(&mut self.has_poll) {
            self.end(CloseReason::TransportError);
        }
    }

    /// A request with packets begins. Returns `false` if it is refused.
    pub(crate) fn on_post(&mut self) -> bool {
        if std::mem::replace(&mut self.has_post, true) {
            self.end(CloseReason::TransportError);
            return false;
        }
        true
    }

    /// The request with packets has ended, whole or not.
    pub(crate) fn on_post_end(&mut self, is_whole: bool) {
        if std::mem::take(&mut self.has_post) && !is_whole {
            self.end(CloseReason::TransportError);
        }
    }

    /// Handles a packet of the transport that carries the session, other than a message.
    pub(crate) fn on_packet(&mut self, packet: Received<'_>, now: Instant) {
        match packet {
            Received::Pong if self.is_open() => {
                self.heartbeat = Heartbeat::PingAt(now + self.timing.ping_interval);
            }
            Received::Pong | Received::Noop | Received::Upgrade | Received::Text(_) => {}
            Received::Close => {
                if std::mem::take(&mut self.has_poll) {
                    self.outputs.push(Output::Answer(vec![Packet::of(NOOP)]));
                }
                self.end(CloseReason::TransportClose);
            }
            // Pings go from the server to the client.
            Received::Ping(_) => self.end(CloseReason::TransportError),
        }
    }

    /// Ends the session for something that is no packet, or that has no place.
    pub(crate) fn fail(&mut self, reason: CloseReason) {
        self.end(reason);
    }

    /// The WebSocket that carries the session has ended. `is_clean`: by a close frame.
    pub(crate) fn on_websocket_end(&mut self, is_clean: bool) {
        match (self.state, is_clean) {
            (State::Closing { .. }, _) => self.end(CloseReason::ForcedClose),
            (_, true) => self.end(CloseReason::TransportClose),
            (_, false) => self.end(CloseReason::TransportError),
        }
    }

    /// A WebSocket wants to carry the session. Returns `false` if it may not.
    pub(crate) fn on_probe(&mut self, now: Instant) -> bool {
        if self.transport != Transport::Polling || self.probe != Probe::None || !self.is_open() {
            return false;
        }
        self.probe = Probe::Opened { until: now + self.timing.upgrade_timeout };
        true
    }

    /// A message has come on the WebSocket that probes. `None`: a binary one.
    pub(crate) fn on_probe_message(&mut self, text: Option<&str>, now: Instant) {
        let packet = text.and_then(|text| Received::decode(text).ok());
        match (packet, self.probe) {
            (Some(Received::Ping("probe")), Probe::Opened { until } | Probe::Upgrading { until, .. }) => {
                self.outputs.push(Output::SendProbe(PROBE_ANSWER));
                self.probe = Probe::Upgrading { until, noop_at: now + UPGRADE_NOOP_INTERVAL };
                self.answer_noop();
            }
            (Some(Received::Upgrade), Probe::Opened { .. } | Probe::Upgrading { .. }) => self.upgrade(),
            (_, Probe::None) => {}
            _ => self.end_probe(),
        }
    }

    /// The WebSocket that probes has ended.
    pub(crate) fn on_probe_end(&mut self) {
        self.probe = Probe::None;
    }

    fn upgrade(&mut self) {
        self.probe = Probe::None;
        // Packets of a request that is still arriving would come behind those of the WebSocket.
        self.has_post = false;
        if std::mem::take(&mut self.has_poll) {
            self.outputs.push(Output::Answer(vec![Packet::of(NOOP)]));
        }
        self.transport = Transport::WebSocket;
        self.outputs.push(Output::Upgraded);
        let had_waiting = !self.waiting.is_empty();
        self.waiting_bytes = 0;
        self.outputs.extend(self.waiting.drain(..).map(Output::Send));
        if let State::Closing { .. } = self.state {
            self.end(CloseReason::ForcedClose);
        } else if had_waiting {
            self.outputs.push(Output::Drained);
        }
    }

    /// Sends a packet, or keeps it for the next poll.
    pub(crate) fn send(&mut self, packet: Packet) {
        if !self.is_open() {
            return;
        }
        match self.transport {
            Transport::WebSocket => self.outputs.push(Output::Send(packet)),
            Transport::Polling => {
                // More may follow in the same callback; `settle` answers the poll.
                self.wait(packet);
                if self.waiting_bytes > self.timing.max_waiting_bytes {
                    self.end(CloseReason::TransportError);
                }
            }
        }
    }

    fn wait(&mut self, packet: Packet) {
        self.waiting_bytes += held_bytes(&packet);
        self.waiting.push_back(packet);
    }

    /// Closes the session: once what waits has been taken.
    pub(crate) fn close(&mut self, now: Instant) {
        match (self.state, self.transport) {
            (State::Open, Transport::WebSocket) => self.end(CloseReason::ForcedClose),
            (State::Open, Transport::Polling) => {
                self.state = State::Closing { until: now + CLOSE_WAIT };
                self.wait(Packet::of(CLOSE));
            }
            _ => {}
        }
    }

    /// Answers the pending poll with what has been sent in the meantime.
    pub(crate) fn settle(&mut self) {
        if self.has_poll {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let count = self.waiting.len().min(PACKETS_PER_RESPONSE);
        let packets: Vec<Packet> = self.waiting.drain(..count).collect();
        self.waiting_bytes -= packets.iter().map(held_bytes).sum::<usize>();
        self.has_poll = false;
        self.outputs.push(Output::Answer(packets));
        match self.state {
            State::Closing { .. } if self.waiting.is_empty() => self.end(CloseReason::ForcedClose),
            State::Open if self.waiting.is_empty() => self.outputs.push(Output::Drained),
            _ => {}
        }
    }

    fn answer_noop(&mut self) {
        if std::mem::take(&mut self.has_poll) {
            self.outputs.push(Output::Answer(vec![Packet::of(NOOP)]));
        }
    }

    fn end_probe(&mut self) {
        if std::mem::replace(&mut self.probe, Probe::None) != Probe::None {
            self.outputs.push(Output::EndProbe);
        }
    }

    fn end(&mut self, reason: CloseReason) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.end_probe();
        if self.transport == Transport::WebSocket {
            self.outputs.push(Output::EndWebSocket);
        } else if std::mem::take(&mut self.has_poll) {
            self.outputs.push(Output::Answer(vec![Packet::of(CLOSE)]));
        }
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.outputs.push(Output::Closed(reason));
    }
}
