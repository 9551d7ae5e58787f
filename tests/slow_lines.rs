//! A peer on a slow line is alive: large messages arrive whole while they take many times the keep-alive timeouts.
//!
//! Real sockets; a TCP proxy of the test is the line. The tests of `cargo test` take 15 to 20 s. Those with the default
//! timeouts take about 4 minutes: `cargo test --test slow_lines -- --ignored`.
#![allow(clippy::unwrap_used)]

use std::{
    net::TcpListener,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use end::{Plan, Report, Transport, connect, serve};
use line::Buffers;
use raw::{Peer, Side};
use ws_reactor::{CloseCode, ClosedBy, OutputLimits, StreamConfig, TimeoutKind, WebSocketConfig, net::sim::Random};

#[path = "slow_lines/absolute.rs"]
mod absolute;
#[path = "slow_lines/end.rs"]
mod end;
#[path = "slow_lines/line.rs"]
mod line;
#[path = "slow_lines/raw.rs"]
mod raw;
#[allow(dead_code)]
#[path = "it/support/mod.rs"]
mod support;

/// Rates in bytes per second. A message of the quick tests takes 5 s.
const RATES: [usize; 2] = [40_000, 400_000];
const MESSAGE_SECONDS: usize = 5;

/// Time limit of a test with the default timeouts.
const LONG: Duration = Duration::from_secs(400);

/// Timeouts far below the time that a message takes on the line.
fn quick(closing_timeout: Duration) -> WebSocketConfig {
    let stream = StreamConfig::new()
        .output(OutputLimits::new().stall_timeout(Duration::from_secs(2)))
        .closing_timeout(closing_timeout);
    WebSocketConfig::new().ping_after(Some(Duration::from_secs(1))).pong_timeout(Duration::from_secs(1)).stream(stream)
}

/// Random bytes, which cannot be compressed.
fn random_message(length: usize) -> Arc<[u8]> {
    let mut random = Random::new(length as u64);
    (0..length.div_ceil(8)).flat_map(|_| random.number().to_le_bytes()).take(length).collect()
}

/// The end that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
    Both,
}

/// When the sender closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    RightAfterSending,
    AfterAnswer,
}

/// A server and a client of the crate with a line between them.
#[derive(Debug, Clone, Copy)]
struct Case {
    sender: Sender,
    closing: Closing,
    bytes_per_second: usize,
    transport: Transport,
    buffers: Buffers,
}

impl Case {
    /// Each transport, rate and kind of buffers.
    fn table(sender: Sender, closing: Closing) -> Vec<Case> {
        let mut cases = Vec::new();
        for &transport in Transport::ALL {
            for bytes_per_second in RATES {
                for buffers in [Buffers::Default, Buffers::Small] {
                    cases.push(Case { sender, closing, bytes_per_second, transport, buffers });
                }
            }
        }
        cases
    }

    /// The timeouts of [`quick`]; longer ones where output in the kernel's buffers delays a control frame.
    fn quick_config(self) -> WebSocketConfig {
        // With small buffers, the close frame leaves the queue at most 1.5 s before it arrives.
        let closing_timeout = match (self.buffers, self.bytes_per_second) {
            (Buffers::Small, 400_000) => 4,
            _ => 20,
        };
        // A ping waits behind up to 700 KB in the kernel's buffers. At 40 KB/s the whole message lies there.
        let pong_timeout = match (self.closing, self.bytes_per_second) {
            (Closing::RightAfterSending, _) => 1,
            (Closing::AfterAnswer, 400_000) => 4,
            (Closing::AfterAnswer, _) => 8,
        };
        // An end whose output waits reads once a second, so the output of the other end moves in coarse steps.
        let stall_timeout = if self.sender == Sender::Both { 4 } else { 2 };
        let mut config = quick(Duration::from_secs(closing_timeout)).pong_timeout(Duration::from_secs(pong_timeout));
        config.stream.output.stall_timeout = Duration::from_secs(stall_timeout);
        config
    }

    /// Runs the case, and checks that each message arrives and that both ends close cleanly.
    fn run(self, message: &Arc<[u8]>, config: &WebSocketConfig, give_up_after: Duration) {
        let plan = Plan::new(config.clone()).gives_up_after(give_up_after);
        let close_after = match (self.closing, self.sender) {
            (Closing::RightAfterSending, _) => 0,
            (Closing::AfterAnswer, Sender::Both) => 2,
            (Closing::AfterAnswer, _) => 1,
        };
        let (client, server) = match self.sender {
            Sender::Client => (plan.clone().sends(message).closes_after(close_after), plan.answers()),
            Sender::Server => (plan.clone().answers(), plan.sends(message).closes_after(close_after)),
            Sender::Both => {
                let both = plan.sends(message).answers();
                (both.clone().closes_after(close_after), both)
            }
        };
        let (addr, server) = serve(self.transport, server);
        let client = connect(self.transport, line::open(addr, self.bytes_per_second, self.buffers), client);
        let (client, server) = (client.join().unwrap(), server.join().unwrap());
        let summary = format!("client: {}\nserver: {}", client.summary(), server.summary());
        println!("{self:?}\n{summary}");
        let server_closes = self.sender == Sender::Server;
        for (report, receives, closes) in [
            (&client, self.sender != Sender::Client, !server_closes),
            (&server, self.sender != Sender::Server, server_closes),
        ] {
            let expected = if receives { vec![&message[..]] } else { vec![] };
            assert!(report.messages == expected, "message is missing or changed\n{summary}");
            let by = if closes { ClosedBy::Application } else { ClosedBy::Peer };
            check_clean(report, by, &summary);
        }
    }
}

fn check_clean(report: &Report, by: ClosedBy, summary: &str) {
    assert!(report.errors.is_empty(), "{summary}");
    let closed = report.closed.as_ref().unwrap_or_else(|| panic!("an end has not ended\n{summary}"));
    assert!(closed.clean && closed.code == CloseCode::NORMAL && closed.by == by, "{summary}");
    // The answer to a close frame repeats the code only.
    assert_eq!(closed.reason, if by == ClosedBy::Peer { "done" } else { "" }, "{summary}");
}

/// Runs all cases at once, and fails with the names of those that failed.
fn run_all(cases: Vec<(String, impl FnOnce() + Send)>) {
    let failed: Vec<String> = thread::scope(|scope| {
        let start = |(name, run): (String, _)| {
            let thread = thread::Builder::new().name(name.clone()).spawn_scoped(scope, run).unwrap();
            (name, thread)
        };
        let threads = cases.into_iter().map(start).collect::<Vec<_>>();
        threads.into_iter().filter_map(|(name, thread)| thread.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "{} cases failed:\n{}", failed.len(), failed.join("\n"));
}

fn run_quick(cases: Vec<Case>) {
    let run = |case: Case| {
        let message = random_message(case.bytes_per_second * MESSAGE_SECONDS);
        (format!("{case:?}"), move || case.run(&message, &case.quick_config(), Duration::from_secs(30)))
    };
    run_all(cases.into_iter().map(run).collect());
}

#[test]
fn large_message_to_the_server_on_a_slow_line_arrives_whole_and_closes_cleanly() {
    let mut cases = Case::table(Sender::Client, Closing::RightAfterSending);
    cases.extend(Case::table(Sender::Client, Closing::AfterAnswer));
    run_quick(cases);
}

#[test]
fn large_message_to_the_client_on_a_slow_line_arrives_whole_and_closes_cleanly() {
    let mut cases = Case::table(Sender::Server, Closing::RightAfterSending);
    cases.extend(Case::table(Sender::Server, Closing::AfterAnswer));
    run_quick(cases);
}

#[test]
fn both_ends_that_send_large_messages_at_once_on_a_slow_line_receive_them_and_close_cleanly() {
    run_quick(Case::table(Sender::Both, Closing::AfterAnswer));
}

/// Starts an end of the crate, and a raw peer on the other `side` in a thread of its own.
fn against_raw_peer<T: Send + 'static>(
    side: Side,
    plan: Plan,
    peer: impl FnOnce(Peer) -> T + Send + 'static,
) -> (JoinHandle<Report>, JoinHandle<T>) {
    match side {
        Side::Client => {
            let (addr, end) = serve(Transport::Plain, plan);
            (end, thread::spawn(move || peer(Peer::connect(addr))))
        }
        Side::Server => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let end = connect(Transport::Plain, listener.local_addr().unwrap(), plan);
            (end, thread::spawn(move || peer(Peer::accept(&listener))))
        }
    }
}

/// A raw peer sends a message at 40 KB/s and closes.
fn receive_from_raw_peer(side: Side, fragment_bytes: Option<usize>, length: usize, plan: Plan) {
    let message = random_message(length);
    let sent = Arc::clone(&message);
    let (end, peer) = against_raw_peer(side, plan, move |mut peer| {
        peer.send(&sent, fragment_bytes, RATES[0]);
        peer.close()
    });
    let close = peer.join();
    let report = end.join().unwrap();
    let summary = report.summary();
    println!("{side:?}, {fragment_bytes:?}: {summary}");
    assert!(report.messages == [&message[..]], "message is missing or changed: {summary}");
    check_clean(&report, ClosedBy::Peer, &summary);
    assert_eq!(close.unwrap(), 1000_u16.to_be_bytes(), "the close frame is answered with its code");
}

#[test]
fn raw_peer_that_sends_slowly_and_answers_no_ping_is_alive() {
    let mut cases = Vec::new();
    for side in [Side::Client, Side::Server] {
        for fragment_bytes in [None, Some(4096)] {
            let plan = Plan::new(quick(Duration::from_secs(5)));
            let run = move || receive_from_raw_peer(side, fragment_bytes, RATES[0] * MESSAGE_SECONDS, plan);
            cases.push((format!("{side:?}, fragments {fragment_bytes:?}"), run));
        }
    }
    run_all(cases);
}

/// Behaviour of a dead peer.
#[derive(Debug, Clone, Copy)]
enum Dead {
    /// Drips a frame of 1 MB, 100 bytes per second.
    Drips,
    /// Reads nothing.
    ReadsNothing,
    /// Reads 100 bytes per second.
    BarelyReads,
}

/// Checks that the end under test terminates a dead peer: not before the timeouts of [`quick`], and within 20 s.
fn end_dead_peer(side: Side, dead: Dead, closes: bool) {
    let mut plan = Plan::new(quick(Duration::from_secs(3)));
    if !matches!(dead, Dead::Drips) {
        plan = plan.sends(&random_message(8_000_000));
    }
    if closes {
        plan = plan.closes_after(0);
    }
    let (end, _) = against_raw_peer(side, plan, move |peer| match dead {
        Dead::Drips => peer.drip(),
        Dead::ReadsNothing => peer.barely_read(false),
        Dead::BarelyReads => peer.barely_read(true),
    });
    let report = end.join().unwrap();
    let summary = report.summary();
    println!("{side:?}, {dead:?}, closes {closes}: {summary}");
    let closed = report.closed.as_ref().unwrap_or_else(|| panic!("the peer is not ended: {summary}"));
    let expected = match (dead, closed.by) {
        (Dead::Drips, by) => by == ClosedBy::Timeout(TimeoutKind::Pong),
        (_, ClosedBy::Timeout(TimeoutKind::Closing)) => closes,
        (_, by) => by == ClosedBy::SlowReader,
    };
    assert!(expected && !closed.clean && report.messages.is_empty() && report.errors.len() == 1, "{summary}");
    assert!((1900..20_000).contains(&report.lived.as_millis()), "{summary}");
}

#[test]
fn peer_that_drips_or_stops_reading_is_ended() {
    let mut cases = Vec::new();
    for side in [Side::Client, Side::Server] {
        for (dead, closes) in [
            (Dead::Drips, false),
            (Dead::ReadsNothing, false),
            (Dead::BarelyReads, false),
            (Dead::ReadsNothing, true),
            (Dead::BarelyReads, true),
        ] {
            let name = format!("raw {side:?}, {dead:?}, closes {closes}");
            cases.push((name, move || end_dead_peer(side, dead, closes)));
        }
    }
    run_all(cases);
}

/// The frame takes 55 s; the default timeouts are 20 s for silence, 20 s for the pong and 30 s for a stall.
#[test]
#[ignore = "takes a minute"]
fn frame_of_2_mb_at_40_kb_per_second_arrives_with_the_default_timeouts() {
    const LENGTH: usize = 2_200_000;
    let mut cases: Vec<(String, Box<dyn FnOnce() + Send>)> = Vec::new();
    for side in [Side::Client, Side::Server] {
        let plan = Plan::new(WebSocketConfig::new()).gives_up_after(LONG);
        cases.push((format!("raw {side:?}"), Box::new(move || receive_from_raw_peer(side, None, LENGTH, plan))));
    }
    for sender in [Sender::Client, Sender::Server, Sender::Both] {
        let slow = |case: &Case| case.bytes_per_second == RATES[0];
        for case in Case::table(sender, Closing::AfterAnswer).into_iter().filter(slow) {
            let message = random_message(LENGTH);
            let run = move || case.run(&message, &WebSocketConfig::new(), LONG);
            cases.push((format!("{case:?}"), Box::new(run)));
        }
    }
    run_all(cases);
}

/// The message takes 225 s.
#[test]
#[ignore = "takes four minutes"]
fn message_of_9_mb_to_a_peer_that_reads_40_kb_per_second_arrives_with_the_default_timeouts() {
    let cases = [Side::Client, Side::Server].map(|side| {
        let run = move || {
            let message = random_message(9_000_000);
            let plan = Plan::new(WebSocketConfig::new()).sends(&message).gives_up_after(LONG);
            let (end, peer) = against_raw_peer(side, plan, |peer| peer.receive(RATES[0]));
            let received = peer.join();
            let report = end.join().unwrap();
            println!("{side:?}: {}", report.summary());
            check_clean(&report, ClosedBy::Peer, &report.summary());
            assert!(received.unwrap() == message[..], "the message is changed: {}", report.summary());
        };
        (format!("raw {side:?}"), run)
    });
    run_all(Vec::from(cases));
}
