//! The promises of every connection: one list, run for every protocol version, plain and over TLS.

mod back_pressure;
mod closing;
mod failures;
mod limits;
mod messages;
mod timeouts;

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

#[cfg(feature = "tls")]
use crate::support::secure;
use crate::support::wire::{self, Kind, closed, failed, frame, is_hixie, our_end, peers_end, text};
use ws_reactor::{
    Callbacks, CloseCode, CloseReason, ClosedBy, Error, OutputLimits, Overflow, ProtocolError, Received, SendStatus,
    Server, TestSocket, Version, WebSocket,
};

/// Makes a test of every promise. Each name is a function of the file that heads its group.
macro_rules! promises {
    ($($subject:ident { $($promise:ident,)* })*) => {
        $($(
            #[test]
            fn $promise() {
                for_every_version($subject::$promise);
            }
        )*)*
    };
}

promises! {
    messages {
        message_is_echoed_with_its_type_and_payload,
        message_of_any_size_is_echoed_unchanged,
        large_multibyte_text_is_echoed_unchanged,
        messages_of_one_read_are_echoed_in_order,
        fragments_are_delivered_as_one_message,
        feature_that_the_version_lacks_returns_unsupported_and_sends_nothing,
        ping_is_answered_with_its_payload_and_reported_to_the_handler,
    }
    closing {
        close_frame_of_the_peer_is_answered_with_its_code,
        empty_close_frame_is_answered_with_an_empty_close_frame,
        close_by_the_application_waits_for_the_close_frame_of_the_peer,
        close_behind_output_above_the_high_water_mark_still_receives_the_answer,
        reply_before_a_close_or_a_panic_is_sent_before_the_close_frame,
        close_code_that_must_not_be_sent_is_refused_and_the_connection_stays_open,
        terminate_ends_the_connection_without_a_close_frame,
        shutdown_sends_going_away_and_stop_sends_no_close_frame,
    }
    failures {
        protocol_violation_is_answered_with_its_close_code_and_later_input_is_discarded,
        panic_in_a_handler_fails_the_connection_and_is_reported,
        eof_without_a_close_frame_is_reported_as_unclean,
        reset_is_reported_to_on_error_and_then_to_on_close,
    }
    timeouts {
        peer_that_does_not_answer_a_close_is_cut_off_after_the_close_timeout,
        silent_peer_is_pinged_and_cut_off_when_no_pong_arrives,
        any_complete_frame_counts_as_an_answer_to_a_ping,
        bytes_of_an_unfinished_message_keep_the_connection_alive_from_4_kib_per_timeout_on,
        small_fragments_of_an_unfinished_message_keep_the_connection_alive,
        ping_behind_waiting_output_does_not_time_out,
        peer_that_reads_nothing_for_the_stall_timeout_is_closed,
        peer_that_sends_and_never_reads_is_closed_as_a_slow_reader,
        reset_at_the_end_of_the_stall_timeout_ends_the_connection_once,
    }
    back_pressure {
        slow_reader_is_not_read_until_its_output_has_drained,
        slices_of_the_input_are_sent_unchanged_while_the_peer_does_not_read,
        pings_while_the_socket_is_blocked_get_the_newest_pong_only,
        paused_connection_is_not_read_and_loses_no_message,
    }
    limits {
        limit_set_in_a_callback_applies_to_the_next_message,
        limit_set_in_a_callback_applies_to_messages_of_the_same_read,
        fragments_above_the_message_limit_fail_the_connection,
        output_at_its_limit_closes_the_connection_or_drops_by_policy,
    }
}

fn for_every_version(promise: fn(Version)) {
    for secure in [false, true] {
        SECURE.set(secure);
        Version::ALL.iter().copied().for_each(promise);
    }
}

thread_local! {
    /// Whether the connections of this test use TLS.
    static SECURE: Cell<bool> = const { Cell::new(false) };
}

/// The calls of a handler's callbacks, one line each, in order.
type Log = Rc<RefCell<Vec<String>>>;

/// A connection to a server that echoes and logs the calls of its callbacks.
fn connect_to_echo(version: Version, configure: impl FnOnce(Server) -> Server) -> (TestSocket, Log) {
    connect(version, configure, |ws, text| {
        ws.send(text);
    })
}

/// As [`connect_to_echo`], with another reply to text.
fn connect(
    version: Version,
    configure: impl FnOnce(Server) -> Server,
    reply: impl Fn(&mut WebSocket<'_>, &str) + Clone + 'static,
) -> (TestSocket, Log) {
    let log = Log::default();
    let shared = Rc::clone(&log);
    let server = Server::new(move |_| {
        let recorder = |log: &Log| {
            let log = Rc::clone(log);
            move |line: String| log.borrow_mut().push(line)
        };
        let (open, message) = (recorder(&shared), recorder(&shared));
        let (ping, pong, drain) = (recorder(&shared), recorder(&shared), recorder(&shared));
        let (failure, close) = (recorder(&shared), recorder(&shared));
        let reply = reply.clone();
        Callbacks::new()
            .on_open(move |_, handshake| open(format!("open {}", handshake.path())))
            .on_message(move |ws, incoming| {
                message(format!("message of {}", incoming.len()));
                match incoming.as_text() {
                    Some(text) => reply(ws, text),
                    None => drop(ws.send(incoming)),
                }
            })
            .on_ping(move |_, data| ping(format!("ping {}", data.len())))
            .on_pong(move |_, data| pong(format!("pong {}", data.len())))
            .on_drain(move |_| drain("drain".to_owned()))
            .on_error(move |_, error: &Error| failure(format!("error: {error:#}")))
            .on_close(move |ws, reason| {
                assert_eq!(ws.send("late"), SendStatus::Closed);
                close(close_line(reason));
            })
    });
    let server = configure(server);
    let socket = match SECURE.get() {
        false => TestSocket::connect_as(version, server, "/path?query"),
        true => connect_over_tls(version, server, "/path?query"),
    };
    (socket, log)
}

#[cfg(feature = "tls")]
fn connect_over_tls(version: Version, server: Server, target: &str) -> TestSocket {
    let trusted = secure::LOCALHOST.certificate.as_bytes();
    TestSocket::connect_over_tls(version, secure::server(server), target, trusted)
}

#[cfg(not(feature = "tls"))]
fn connect_over_tls(version: Version, server: Server, target: &str) -> TestSocket {
    TestSocket::connect_as(version, server, target)
}

fn close_line(reason: &CloseReason) -> String {
    format!(
        "close {} {:?} {:?} {}",
        reason.code,
        reason.reason,
        reason.by,
        if reason.clean { "clean" } else { "unclean" }
    )
}

fn events_after_open(log: &Log) -> Vec<String> {
    log.borrow().iter().skip(1).cloned().collect()
}

fn unchanged(server: Server) -> Server {
    server
}

/// Disables pings too, so that only the output limits can end the connection.
fn limited(server: Server, output: OutputLimits) -> Server {
    server.ping_after(None).configure(|config| config.websocket.stream.output = output)
}

/// The log line of `on_error` for a slow reader.
const SLOW_READER: &str = "error: the peer did not read the output fast enough";
