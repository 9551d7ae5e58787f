//! Sessions in virtual time.

use std::time::{Duration, Instant};

use super::{
    machine::{CloseReason, Machine, Output, Timing, Transport},
    packet::{Packet, Received},
};

const TIMING: Timing = Timing {
    ping_interval: Duration::from_millis(300),
    ping_timeout: Duration::from_millis(200),
    upgrade_timeout: Duration::from_millis(1000),
    max_waiting_bytes: 2000,
};

struct Session {
    machine: Machine,
    now: Instant,
}

impl Session {
    fn open(transport: Transport) -> Self {
        let now = Instant::now();
        Session { machine: Machine::open(TIMING, transport, now), now }
    }

    /// Moves time, deadline by deadline, and returns what is to be done.
    fn advance(&mut self, milliseconds: u64) -> Vec<Output> {
        let end = self.now + Duration::from_millis(milliseconds);
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= end) {
            self.now = deadline;
            self.machine.on_deadline(deadline);
        }
        self.now = end;
        self.machine.outputs()
    }

    fn packet(&mut self, packet: Received<'static>) -> Vec<Output> {
        self.machine.on_packet(packet, self.now);
        self.machine.outputs()
    }

    fn poll(&mut self) -> Vec<Output> {
        self.machine.on_poll();
        self.machine.outputs()
    }

    fn probe(&mut self, text: &str) -> Vec<Output> {
        self.machine.on_probe_message(Some(text), self.now);
        self.machine.outputs()
    }

    fn send(&mut self, text: &str) {
        self.machine.send(Packet::text(text));
    }
}

fn answer(packets: &[&str]) -> Output {
    Output::Answer(packets.iter().map(|packet| Packet::Text((*packet).into())).collect())
}

fn sent(packet: &str) -> Output {
    Output::Send(Packet::Text(packet.into()))
}

#[test]
fn ping_follows_the_interval_from_the_last_pong() {
    let mut session = Session::open(Transport::WebSocket);
    assert_eq!(session.advance(299), []);
    assert_eq!(session.advance(1), [sent("2")]);
    assert_eq!(session.advance(150), []);
    assert_eq!(session.packet(Received::Pong), []);
    assert_eq!(session.advance(299), []);
    assert_eq!(session.advance(1), [sent("2")]);
    assert_eq!(session.advance(200), [Output::EndWebSocket, Output::Closed(CloseReason::PingTimeout)]);
    assert_eq!(session.advance(10_000), []);
}

#[test]
fn polling_session_that_never_polls_is_gone_after_interval_and_timeout() {
    let mut session = Session::open(Transport::Polling);
    assert_eq!(session.advance(499), []);
    assert_eq!(session.advance(1), [Output::Closed(CloseReason::PingTimeout)]);
}

#[test]
fn ping_answers_a_pending_poll() {
    let mut session = Session::open(Transport::Polling);
    assert_eq!(session.poll(), []);
    assert_eq!(session.advance(300), [answer(&["2"]), Output::Drained]);
}

#[test]
fn second_poll_ends_the_session_and_closes_the_first() {
    let mut session = Session::open(Transport::Polling);
    session.poll();
    assert!(!session.machine.on_poll());
    assert_eq!(session.machine.outputs(), [answer(&["1"]), Output::Closed(CloseReason::TransportError)]);
}

#[test]
fn second_post_ends_the_session() {
    let mut session = Session::open(Transport::Polling);
    assert!(session.machine.on_post() && !session.machine.on_post());
    assert_eq!(session.machine.outputs(), [Output::Closed(CloseReason::TransportError)]);
}

#[test]
fn requests_that_are_cut_end_the_session() {
    let mut session = Session::open(Transport::Polling);
    session.poll();
    session.machine.on_poll_cut();
    assert_eq!(session.machine.outputs(), [Output::Closed(CloseReason::TransportError)]);
    let mut session = Session::open(Transport::Polling);
    session.machine.on_post();
    session.machine.on_post_end(true);
    session.machine.on_post();
    session.machine.on_post_end(false);
    assert_eq!(session.machine.outputs(), [Output::Closed(CloseReason::TransportError)]);
}

#[test]
fn response_has_at_most_sixteen_packets() {
    let mut session = Session::open(Transport::Polling);
    (0..20).for_each(|_| session.send(""));
    assert_eq!(session.poll(), [answer(&["4"; 16])]);
    assert_eq!(session.poll(), [answer(&["4"; 4]), Output::Drained]);
    assert_eq!(session.machine.waiting_bytes(), 0);
}

#[test]
fn client_that_does_not_poll_is_bounded() {
    let mut session = Session::open(Transport::Polling);
    session.send(&"x".repeat(1900));
    assert!(session.machine.is_open());
    session.send(&"x".repeat(100));
    assert_eq!(session.machine.outputs(), [Output::Closed(CloseReason::TransportError)]);
    assert_eq!(session.machine.waiting_bytes(), 0);
}

#[test]
fn upgrade_answers_polls_until_it_is_done_and_moves_what_waits() {
    let mut session = Session::open(Transport::Polling);
    session.poll();
    assert!(session.machine.on_probe(session.now) && !session.machine.on_probe(session.now));
    assert_eq!(session.probe("2probe"), [Output::SendProbe("3probe"), answer(&["6"])]);
    assert!(!session.machine.is_writable());
    assert_eq!(session.poll(), []);
    assert_eq!(session.advance(100), [answer(&["6"])]);
    session.send("late");
    assert_eq!(session.probe("5"), [Output::Upgraded, sent("4late"), Output::Drained]);
    assert_eq!(session.machine.transport(), Transport::WebSocket);
    assert!(!session.machine.on_probe(session.now), "the session has a WebSocket");
    session.machine.on_websocket_end(true);
    assert_eq!(session.machine.outputs(), [Output::EndWebSocket, Output::Closed(CloseReason::TransportClose)]);
}

#[test]
fn failed_probe_leaves_the_polling_session_alone() {
    for message in ["4hello", "2", "1", "", "x"] {
        let mut session = Session::open(Transport::Polling);
        session.poll();
        session.machine.on_probe(session.now);
        assert_eq!(session.probe(message), [Output::EndProbe], "{message:?}");
        assert!(session.machine.is_open());
        assert!(session.machine.on_probe(session.now), "the client may try again");
    }
    let mut session = Session::open(Transport::Polling);
    session.machine.on_probe(session.now);
    session.machine.on_probe_message(None, session.now);
    assert_eq!(session.machine.outputs(), [Output::EndProbe]);
}

#[test]
fn probe_without_an_upgrade_ends_after_its_time() {
    let timing = Timing { ping_interval: Duration::from_secs(60), ..TIMING };
    let now = Instant::now();
    let mut session = Session { machine: Machine::open(timing, Transport::Polling, now), now };
    session.machine.on_probe(now);
    session.probe("2probe");
    assert_eq!(session.advance(999), []);
    assert_eq!(session.advance(1), [Output::EndProbe]);
    assert!(session.machine.is_open());
}

#[test]
fn client_closes_by_a_packet() {
    let mut session = Session::open(Transport::Polling);
    session.poll();
    assert_eq!(session.packet(Received::Close), [answer(&["6"]), Output::Closed(CloseReason::TransportClose)]);
    let mut session = Session::open(Transport::WebSocket);
    let closed = [Output::EndWebSocket, Output::Closed(CloseReason::TransportClose)];
    assert_eq!(session.packet(Received::Close), closed);
}

#[test]
fn ping_of_a_client_ends_the_session() {
    let mut session = Session::open(Transport::WebSocket);
    let closed = [Output::EndWebSocket, Output::Closed(CloseReason::TransportError)];
    assert_eq!(session.packet(Received::Ping("")), closed);
    let mut session = Session::open(Transport::WebSocket);
    assert_eq!(session.packet(Received::Upgrade), [], "it is upgraded");
}

#[test]
fn close_of_the_application_waits_for_a_poll() {
    let mut session = Session::open(Transport::Polling);
    session.send("bye");
    session.machine.close(session.now);
    session.send("too late");
    assert_eq!(session.poll(), [answer(&["4bye", "1"]), Output::Closed(CloseReason::ForcedClose)]);
    // A client that neither polls nor answers pings is gone as any other.
    let mut session = Session::open(Transport::Polling);
    session.machine.close(session.now);
    assert_eq!(session.advance(499), []);
    assert_eq!(session.advance(1), [Output::Closed(CloseReason::PingTimeout)]);
    let timing = Timing { ping_interval: Duration::from_secs(60), ..TIMING };
    let now = Instant::now();
    let mut session = Session { machine: Machine::open(timing, Transport::Polling, now), now };
    session.machine.close(now);
    assert_eq!(session.advance(29_999), []);
    assert_eq!(session.advance(1), [Output::Closed(CloseReason::ForcedClose)]);
}
