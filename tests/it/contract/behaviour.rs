//! What every connection promises, in every version: one list, run for each row.

#[cfg(feature = "tls")]
use crate::support::secure;
use crate::support::wire;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use crate::support::wire::{Kind, closed, failed, frame, is_hixie, our_end, peers_end, text};
use ws_reactor::{
    Callbacks, CloseCode, CloseReason, ClosedBy, Error, OutputLimits, Overflow, ProtocolError, Received, SendStatus,
    Server, TestSocket, Version, WebSocket,
};

/// What a handler was told, in order.
type Log = Rc<RefCell<Vec<String>>>;

/// A connection of the version, to a server that echoes and writes down what it is told.
fn echo(version: Version, change: impl FnOnce(Server) -> Server) -> (TestSocket, Log) {
    with(version, change, |ws, text| {
        ws.send(text);
    })
}

/// As [`echo`], with another answer to text.
fn with(
    version: Version,
    change: impl FnOnce(Server) -> Server,
    answer: impl Fn(&mut WebSocket<'_>, &str) + Clone + 'static,
) -> (TestSocket, Log) {
    let log = Log::default();
    let shared = Rc::clone(&log);
    let server = Server::new(move |_| {
        let note = |log: &Log| {
            let log = Rc::clone(log);
            move |line: String| log.borrow_mut().push(line)
        };
        let (open, message, ping, pong) = (note(&shared), note(&shared), note(&shared), note(&shared));
        let (drain, error, close) = (note(&shared), note(&shared), note(&shared));
        let answer = answer.clone();
        Callbacks::new()
            .on_open(move |_, handshake| open(format!("open {}", handshake.path())))
            .on_message(move |ws, incoming| {
                message(format!("message of {}", incoming.len()));
                match incoming.as_text() {
                    Some(text) => answer(ws, text),
                    None => drop(ws.send(incoming)),
                }
            })
            .on_ping(move |_, data| ping(format!("ping {}", data.len())))
            .on_pong(move |_, data| pong(format!("pong {}", data.len())))
            .on_drain(move |_| drain("drain".to_owned()))
            .on_error(move |_, why: &Error| error(format!("error: {why:#}")))
            .on_close(move |ws, reason| {
                assert_eq!(ws.send("late"), SendStatus::Closed);
                close(end(reason));
            })
    });
    let server = change(server);
    let socket = match SECURE.get() {
        false => TestSocket::connect_as(version, server, "/path?query"),
        true => over_tls(version, server, "/path?query"),
    };
    (socket, log)
}

thread_local! {
    /// Whether the promises are tried over TLS.
    static SECURE: Cell<bool> = const { Cell::new(false) };
}

#[cfg(feature = "tls")]
fn over_tls(version: Version, server: Server, target: &str) -> TestSocket {
    let trusted = secure::LOCALHOST.certificate.as_bytes();
    TestSocket::connect_over_tls(version, secure::server(server), target, trusted)
}

#[cfg(not(feature = "tls"))]
fn over_tls(version: Version, server: Server, target: &str) -> TestSocket {
    TestSocket::connect_as(version, server, target)
}

fn end(reason: &CloseReason) -> String {
    format!(
        "close {} {:?} {:?} {}",
        reason.code,
        reason.reason,
        reason.by,
        if reason.clean { "clean" } else { "unclean" }
    )
}

fn said(log: &Log) -> Vec<String> {
    log.borrow().iter().skip(1).cloned().collect()
}

fn same(server: Server) -> Server {
    server
}

/// Without pings, so that nothing but the output is judged.
fn limited(server: Server, output: OutputLimits) -> Server {
    server.ping_after(None).configure(|config| config.websocket.stream.output = output)
}

/// What `on_error` of a slow reader notes.
const SLOW_READER: &str = "error: the peer did not read what was sent to it";

/// One list for all versions, plain and over TLS.
macro_rules! promises {
    ($($name:ident($version:ident) $body:block)*) => {
        $(
            #[test]
            fn $name() {
                for secure in [false, true] {
                    SECURE.set(secure);
                    for $version in Version::ALL.iter().copied() $body
                }
            }
        )*
    };
}

promises! {
    a_message_comes_back_as_what_it_is(version) {
        let (mut socket, log) = echo(version, same);
        socket.send("text, κόσμε, \0");
        socket.send("");
        assert_eq!(socket.received(), ["text, κόσμε, \0".into(), "".into()]);
        if version.supports_binary() {
            socket.send(b"\x00\xff");
            assert_eq!(socket.received(), [Received::Message(vec![0, 0xff].into())]);
        }
        assert_eq!(log.borrow()[0], "open /path");
    }

    what_the_version_lacks_is_told_and_nothing_is_sent(version) {
        let (mut socket, _) = with(version, same, |ws, _| {
            let sent = [ws.send(b"octets"), ws.ping(b""), ws.pong(b"")];
            assert_eq!(sent, if ws.supports_ping() { [SendStatus::Queued; 3] } else { [SendStatus::Unsupported; 3] });
            assert_eq!(ws.supports_ping(), !is_hixie(ws.version()));
            assert_eq!(ws.supports_close_codes(), ws.version() >= Version::Hybi06);
            ws.subscribe("all");
            let published = ws.publish("all", b"octets");
            assert_eq!((published.queued, published.unsupported), if ws.supports_ping() { (1, 0) } else { (0, 1) });
        });
        socket.send("go");
        assert_eq!(socket.received().len(), if is_hixie(version) { 0 } else { 4 });
    }

    every_size_comes_back_whole(version) {
        let (mut socket, _) = echo(version, same);
        for size in [1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000, 5 << 20] {
            let message: String = (0..size).map(|index: usize| char::from((index * 7 % 128) as u8)).collect();
            socket.send(&message);
            assert_eq!(socket.received(), [message.as_str().into()], "{size} bytes");
            if version.supports_binary() {
                let message: Vec<u8> = (0..size).map(|index: usize| (index * 7) as u8).collect();
                socket.send(&message);
                assert_eq!(socket.received(), [Received::Message(message.into())], "{size} bytes");
            }
        }
    }

    large_text_comes_back_whole(version) {
        let (mut socket, _) = echo(version, same);
        let message = "mixed Ω 🦀 ".repeat(30_000);
        socket.send(&message);
        assert_eq!(socket.received(), [message.as_str().into()]);
    }

    what_is_sent_on_from_the_input_is_whole_though_the_peer_does_not_read(version) {
        let output = OutputLimits::new().pause_reading_bytes(4 << 20).limit_bytes(8 << 20);
        for room in [1, 1000, 20_000, 45_000, 100_000] {
            let output = output.clone();
            let (mut socket, _) = with(version, |server| limited(server, output), |ws, text| {
                ws.send(text);
                ws.send(&text[1000..18_000]);
                ws.send("and so on");
            });
            socket.hold(room);
            let messages = ["a", "b", "c", "d"].map(|letter| letter.repeat(20_000));
            let bytes: Vec<u8> = messages.iter().flat_map(|message| text(version, message)).collect();
            socket.send_bytes(&bytes[..45_000]);
            socket.send_bytes(&bytes[45_000..]);
            socket.release();
            let expected = messages.iter().flat_map(|message| [message, &message[1000..18_000], "and so on"]);
            let expected: Vec<Received> = expected.map(Into::into).collect();
            assert!(socket.received() == expected, "{version}, {room} bytes of room");
        }
    }

    what_is_sent_back_before_the_end_comes_before_it(version) {
        type End = fn(&mut WebSocket<'_>);
        let ends: [End; 2] = [|ws| _ = ws.close(CloseCode::NORMAL, "enough"), |_| panic!("enough")];
        for (number, end) in ends.into_iter().enumerate() {
            let (mut socket, _) = with(version, same, move |ws, text| {
                ws.send(text);
                end(ws);
            });
            socket.hold(1000);
            let message = "mixed Ω 🦀 ".repeat(3000);
            socket.send(&message);
            socket.send("what comes behind it is not heard");
            socket.release();
            let received = socket.received();
            // A failure drops what has not begun to leave, and this has.
            assert_eq!(received.first(), Some(&Received::from(message.as_str())), "{version}, end {number}");
        }
    }

    what_is_sent_at_once_comes_back_in_order(version) {
        let (mut socket, _) = echo(version, same);
        let bytes: Vec<u8> = (0..3000).flat_map(|number| text(version, format!("message {number}"))).collect();
        socket.send_bytes(&bytes);
        let expected: Vec<Received> = (0..3000).map(|number| format!("message {number}").as_str().into()).collect();
        assert_eq!(socket.received(), expected);
    }

    a_ping_is_answered_with_its_payload_and_told(version) {
        if !version.supports_ping() {
            continue;
        }
        let (mut socket, log) = echo(version, same);
        socket.ping(b"are you there");
        socket.pong(b"unasked");
        assert_eq!(socket.received(), [Received::Pong(b"are you there".to_vec())]);
        assert_eq!(said(&log), ["ping 13", "pong 7"]);
    }

    the_peers_close_is_answered_with_its_code(version) {
        let (mut socket, log) = echo(version, same);
        // What is said behind a close is not heard.
        let last = frame(version, Kind::Close, true, b"\x0f\xa1enough");
        socket.send_bytes(&[last, text(version, "late")].concat());
        let answer = match version.number() {
            75 | 76 => vec![0xff, 0],
            1..=3 => b"\x01\x08\x0f\xa1enough".to_vec(),
            5 => b"\x81\x08\x0f\xa1enough".to_vec(),
            6 => vec![0x81, 2, 0x0f, 0xa1],
            _ => vec![0x88, 2, 0x0f, 0xa1],
        };
        assert_eq!(socket.received_bytes(), answer);
        assert!(socket.is_closed());
        assert_eq!(said(&log), [peers_end(version, 4001, "enough", ClosedBy::Peer)]);
    }

    an_empty_close_is_answered_with_an_empty_close(version) {
        let (mut socket, log) = echo(version, same);
        socket.send_bytes(&frame(version, Kind::Close, true, b""));
        assert_eq!(socket.received(), [Received::Close(None)]);
        assert_eq!(said(&log), [peers_end(version, 1005, "", ClosedBy::Peer)]);
    }

    our_close_waits_for_the_peers(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.send("last words");
            assert_eq!(ws.close(CloseCode::NORMAL, "done"), SendStatus::Queued);
            assert_eq!(ws.close(CloseCode::NORMAL, "again"), SendStatus::Closed);
            assert_eq!(ws.send("late"), SendStatus::Closed);
        });
        socket.send("go");
        assert_eq!(socket.received(), [vec!["last words".into()], closed(version, CloseCode::NORMAL, "done")].concat());
        socket.send("not delivered");
        if version.supports_ping() {
            socket.ping(b"hi");
            let first = if version < Version::Hybi05 { 3 } else if version < Version::Hybi07 { 0x83 } else { 0x8a };
            assert_eq!(socket.received_bytes(), [first, 2, b'h', b'i'], "a ping is still answered");
        }
        assert!(!socket.is_closed());
        // Without a closing handshake it is the stream that ends.
        assert_eq!(socket.is_ended(), version == Version::Hixie75);
        match version {
            Version::Hixie75 => socket.finish(),
            _ => socket.close(CloseCode::NORMAL, "yes"),
        }
        assert!(socket.is_closed() && socket.received().is_empty());
        assert_eq!(said(&log), ["message of 2".to_owned(), peers_end(version, 1000, "yes", ClosedBy::Application)]);
    }

    a_peer_that_does_not_close_is_cut(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.close(CloseCode::NORMAL, "");
        });
        socket.send("go");
        socket.advance(Duration::from_millis(4990));
        assert!(!socket.is_closed());
        socket.advance(Duration::from_millis(20));
        assert!(socket.is_closed());
        let mut expected = vec!["message of 2"];
        match version {
            Version::Hixie75 => expected.push("close 1006 \"\" Application unclean"),
            _ => expected.extend(["error: the closing handshake timed out", "close 1006 \"\" Timeout(Closing) unclean"]),
        }
        assert_eq!(said(&log), expected);
    }

    a_code_that_must_not_be_sent_is_refused_and_nothing_happens(version) {
        let (mut socket, _) = with(version, same, |ws, _| {
            for code in [1002, 1004, 1005, 1006, 1015, 2000, 2999, 5000] {
                assert_eq!(ws.close(CloseCode::from(code), ""), SendStatus::Unsupported, "{code}");
            }
            ws.send("still open");
        });
        socket.send("go");
        assert_eq!(socket.received(), ["still open".into()]);
    }

    a_cut_says_nothing(version) {
        let (mut socket, log) = with(version, same, |ws, _| ws.terminate());
        socket.send("go");
        assert!(socket.is_closed() && socket.received().is_empty());
        assert_eq!(said(&log), ["message of 2", "close 1006 \"\" Application unclean"]);
    }

    an_end_without_a_close_frame_is_not_clean(version) {
        let (mut socket, log) = echo(version, same);
        socket.finish();
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["close 1006 \"\" Peer unclean"]);
    }

    a_reset_is_an_error_and_an_end(version) {
        let (mut socket, log) = echo(version, same);
        socket.reset();
        let said = said(&log);
        assert!(said[0].starts_with("error: connection failed"), "{said:?}");
        assert_eq!(said[1..], ["close 1006 \"\" Network(ConnectionReset) unclean"]);
    }

    a_violation_gets_its_code_and_the_violator_is_not_waited_for(version) {
        let mut cases = vec![(text(version, b"\xf5"), ProtocolError::InvalidUtf8)];
        if let Some(unknown) = wire::unknown(version) {
            let code = if version < Version::Hybi07 { 7 } else { 3 };
            cases.push((unknown, ProtocolError::UnknownOpCode(code)));
            let header = frame(version, Kind::Binary, true, &[0; 101])[..8].to_vec();
            cases.push((header, ProtocolError::TooBig { limit: 100, length: 101 }));
            cases.push((frame(version, Kind::Ping, false, b""), ProtocolError::FragmentedControl));
            cases.push((frame(version, Kind::Continuation, true, b""), ProtocolError::UnexpectedContinuation));
            let inside = [frame(version, Kind::Text, false, b"a"), text(version, "b")].concat();
            cases.push((inside, ProtocolError::ExpectedContinuation));
        } else {
            // Nothing tells the length before the end.
            cases.push(([&[0; 102][..], &[0xff]].concat(), ProtocolError::TooBig { limit: 100, length: 101 }));
            cases.push((vec![0x80, 0x85, 0x80, 0x00], ProtocolError::TooBig { limit: 100, length: 640 }));
        }
        if version == Version::Rfc6455 {
            cases.push((b"\x81\x05hello".to_vec(), ProtocolError::Unmasked));
            cases.push((frame(version, Kind::Close, true, b"\x07\xd0"), ProtocolError::InvalidCloseCode(2000)));
        }
        for (bytes, error) in cases {
            let (mut socket, log) = echo(version, |server| server.max_frame_bytes(100));
            // The message before the violation is still answered, and what follows it is not looked at.
            socket.send_bytes(&[&text(version, "good"), &bytes[..], &text(version, "ignored")].concat());
            let (code, why) = (error.close_code(), error.close_reason());
            assert_eq!(socket.received(), [vec!["good".into()], failed(version, code, &why)].concat(), "{version}: {error}");
            assert!(socket.is_ended() && !socket.is_closed(), "our side ends at once, input is discarded");
            socket.send_bytes(&vec![0; 200_000]);
            socket.advance(Duration::from_secs(5));
            assert!(socket.is_closed());
            let end = our_end(version, code, &why, ClosedBy::Protocol(error));
            assert_eq!(said(&log), ["message of 4".to_owned(), format!("error: protocol error: {error}"), end]);
        }
    }

    a_panic_ends_its_connection_and_is_told(version) {
        let (mut socket, log) = with(version, same, |_, text| panic!("cannot bear {text:?}"));
        socket.send("this");
        let code = if version == Version::Rfc6455 { CloseCode::INTERNAL_ERROR } else { CloseCode::new(3000) };
        assert_eq!(socket.received(), failed(version, code, ""));
        socket.finish();
        let end = our_end(version, code, "", ClosedBy::Panic);
        let error = "error: the handler panicked: cannot bear \"this\"".to_owned();
        assert_eq!(said(&log), ["message of 4".to_owned(), error, end]);
    }

    silence_is_pinged_and_a_dead_peer_is_given_up(version) {
        let (mut socket, log) = echo(version, same);
        if !version.supports_ping() {
            socket.advance(Duration::from_secs(86_400));
            assert!(!socket.is_closed() && socket.received_bytes().is_empty(), "silence proves nothing");
            continue;
        }
        socket.advance(Duration::from_millis(19_990));
        assert!(socket.received().is_empty());
        socket.advance(Duration::from_millis(20));
        assert_eq!(socket.received(), [Received::Ping(Vec::new())]);
        // The beginning of a frame proves nothing, so it does not move the deadline.
        socket.send_bytes(&text(version, "whole")[..6]);
        socket.advance(Duration::from_millis(19_980));
        assert!(!socket.is_closed());
        socket.advance(Duration::from_millis(20));
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["error: the peer did not answer a ping", "close 1006 \"\" Timeout(Pong) unclean"]);
    }

    any_whole_frame_is_a_sign_of_life(version) {
        if !version.supports_ping() {
            continue;
        }
        let (mut socket, _) = echo(version, same);
        for _ in 0..5 {
            socket.advance(Duration::from_secs(30));
            assert_eq!(socket.received().last(), Some(&Received::Ping(Vec::new())));
            socket.send("here");
            assert_eq!(socket.received(), ["here".into()]);
        }
        let (mut quiet, _) = echo(version, |server| server.ping_after(None));
        quiet.advance(Duration::from_secs(86_400));
        assert!(quiet.received().is_empty() && !quiet.is_closed());
    }

    limits_can_be_changed_in_a_callback(version) {
        let (mut socket, _) = with(version, same, |ws, text| {
            ws.set_max_message_bytes(10);
            ws.send(text);
        });
        socket.send("a text of more than ten");
        assert_eq!(socket.received(), ["a text of more than ten".into()]);
        socket.send("a text of more than ten");
        assert_eq!(socket.received(), failed(version, CloseCode::MESSAGE_TOO_BIG, "Frame length too long (23 bytes); the limit is 10 bytes"));
        assert!(socket.is_ended());
    }

    limits_that_a_callback_sets_hold_for_what_came_with_its_message(version) {
        let (mut socket, _) = with(version, same, |ws, text| {
            ws.set_max_message_bytes(10);
            ws.send(text);
        });
        socket.send_bytes(&[text(version, "first"), text(version, "a text of more than ten")].concat());
        let refused = failed(version, CloseCode::MESSAGE_TOO_BIG, "Frame length too long (23 bytes); the limit is 10 bytes");
        assert_eq!(socket.received(), [vec!["first".into()], refused].concat());
        assert!(socket.is_ended());
    }

    many_fragments_make_one_message(version) {
        if is_hixie(version) {
            continue;
        }
        let (mut socket, log) = echo(version, same);
        let pieces = [
            frame(version, Kind::Text, false, "κό".as_bytes()),
            frame(version, Kind::Ping, true, b"between"),
            frame(version, Kind::Continuation, false, b"\xcf"),
            frame(version, Kind::Continuation, false, b""),
            frame(version, Kind::Continuation, true, b"\x83\xce\xbc\xce\xb5"),
        ];
        socket.send_bytes(&pieces.concat());
        assert_eq!(socket.received(), [Received::Pong(b"between".to_vec()), "κόσμε".into()]);
        assert_eq!(said(&log), ["ping 7", "message of 10"]);
    }

    fragments_above_the_limit_are_refused(version) {
        if is_hixie(version) {
            continue;
        }
        let (mut socket, _) = echo(version, |server| server.max_frame_bytes(50).max_message_bytes(60));
        let first = frame(version, Kind::Text, false, &[b'x'; 50]);
        socket.send_bytes(&[&first[..], &frame(version, Kind::Continuation, true, &[b'x'; 10])].concat());
        assert_eq!(socket.received().len(), 1);
        socket.send_bytes(&[&first[..], &frame(version, Kind::Continuation, true, &[b'x'; 11])].concat());
        assert_eq!(socket.received(), failed(version, CloseCode::MESSAGE_TOO_BIG, "Frame length too long (61 bytes); the limit is 60 bytes"));
    }

    a_peer_that_does_not_read_slows_itself_down(version) {
        let (mut socket, log) = echo(version, same);
        socket.hold(1000);
        let message = "x".repeat(10_000);
        for _ in 0..50 {
            socket.send(&message);
        }
        let taken = said(&log).len();
        assert!((7..12).contains(&taken), "reading stops above 64 KiB of output: {taken} messages were read");
        socket.release();
        assert_eq!(socket.received(), vec![message.as_str().into(); 50]);
        assert_eq!(said(&log).iter().filter(|line| *line == "message of 10000").count(), 50);
        assert!(said(&log).contains(&"drain".to_owned()));
    }

    output_at_its_limit_closes_the_connection_or_drops_by_policy(version) {
        for overflow in [Overflow::Close, Overflow::DropNewest] {
            let output = OutputLimits::new().high_water_bytes(50_000).limit_bytes(100_000).overflow(overflow);
            let last = if overflow == Overflow::Close { SendStatus::Closed } else { SendStatus::Dropped };
            let (mut socket, log) = with(version, |server| limited(server, output), move |ws, _| {
                let message = "x".repeat(60_000);
                let sent: Vec<SendStatus> = (0..4).map(|_| ws.send(&message)).collect();
                assert_eq!(sent, [SendStatus::Queued, SendStatus::Congested, last, last]);
            });
            socket.hold(1000);
            socket.send("go");
            assert_eq!(socket.is_closed(), overflow == Overflow::Close);
            if overflow == Overflow::Close {
                let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
                assert_eq!(said(&log), ["message of 2".to_owned(), SLOW_READER.to_owned(), end]);
            } else {
                socket.release();
                assert_eq!(socket.received().len(), 2);
            }
        }
    }

    peer_that_reads_nothing_for_the_stall_timeout_is_closed(version) {
        let (mut socket, log) = with(version, |server| server.ping_after(None), |ws, _| {
            assert_eq!(ws.send("x".repeat(2000)), SendStatus::Queued);
        });
        socket.hold(1000);
        socket.send("go");
        socket.advance(Duration::from_millis(29_990));
        assert!(!socket.is_closed());
        socket.advance(Duration::from_millis(20));
        assert!(socket.is_closed());
        let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
        assert_eq!(said(&log), ["message of 2".to_owned(), SLOW_READER.to_owned(), end]);
    }

    pings_while_the_socket_is_blocked_get_the_newest_pong_only(version) {
        if !version.supports_ping() {
            continue;
        }
        let (mut socket, _) = with(version, same, |ws, _| {
            ws.send("x".repeat(50_000));
        });
        socket.hold(1000);
        socket.send("go");
        for number in 0..100_u8 {
            socket.ping(&[number]);
        }
        socket.release();
        assert_eq!(socket.received(), [Received::from("x".repeat(50_000).as_str()), Received::Pong(vec![99])]);
    }

    nothing_is_read_while_paused_and_nothing_is_lost(version) {
        let (mut socket, log) = with(version, same, |ws, text| {
            ws.send(text);
            if text == "pause" {
                let id = ws.id();
                ws.pause();
                ws.hub().add_timer(Duration::from_secs(100), move |hub| {
                    hub.resume(id);
                });
            }
        });
        socket.send_bytes(&[text(version, "pause"), text(version, "one")].concat());
        socket.send("two");
        assert_eq!((socket.received(), said(&log).len()), (vec!["pause".into()], 1));
        socket.advance(Duration::from_millis(99_990));
        assert!(!socket.is_closed(), "a peer that is not read cannot be silent");
        socket.received();
        socket.advance(Duration::from_millis(20));
        assert_eq!(socket.received(), ["one".into(), "two".into()]);
        // The last of a read.
        socket.send_bytes(&[text(version, "three"), text(version, "pause")].concat());
        socket.send("four");
        assert_eq!(socket.received(), ["three".into(), "pause".into()]);
        socket.advance(Duration::from_secs(101));
        assert_eq!(socket.received().last(), Some(&"four".into()));
    }

    a_peer_that_asks_and_never_reads_is_given_up(version) {
        let (mut socket, log) = echo(version, same);
        socket.hold(1000);
        for _ in 0..20 {
            socket.send(&"x".repeat(10_000));
        }
        socket.advance(Duration::from_secs(41));
        assert!(socket.is_closed());
        let end = our_end(version, CloseCode::TRY_AGAIN_LATER, "", ClosedBy::SlowReader);
        assert_eq!(*log.borrow().last().unwrap(), end);
    }

    reset_at_the_end_of_the_stall_timeout_ends_the_connection_once(version) {
        let output = OutputLimits::new().limit_bytes(1000).pause_reading_bytes(1000);
        let (mut socket, log) = with(version, |server| limited(server, output), |ws, _| {
            ws.send("x".repeat(1000));
        });
        socket.hold(100);
        socket.send("go");
        socket.advance(Duration::from_millis(29_999));
        // The reset and the end of the stall time-out are news in the same turn.
        socket.reset_after(Duration::from_millis(1));
        assert!(socket.is_closed());
        assert_eq!(log.borrow().iter().filter(|line| line.starts_with("close")).count(), 1);
    }

    a_close_above_the_mark_does_not_spin_and_finds_the_peers_answer(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.send("x".repeat(200_000));
            ws.close(CloseCode::NORMAL, "");
        });
        socket.hold(1000);
        socket.send("go");
        match version {
            Version::Hixie75 => socket.finish(),
            _ => socket.close(CloseCode::NORMAL, "seen"),
        }
        socket.release();
        assert!(socket.is_closed());
        assert_eq!(*log.borrow().last().unwrap(), peers_end(version, 1000, "seen", ClosedBy::Application));
    }

    shutdown_says_going_away_and_stop_says_nothing(version) {
        let (mut socket, log) = echo(version, same);
        socket.hub().shutdown(Duration::from_secs(9));
        socket.settle();
        assert_eq!(socket.received(), closed(version, CloseCode::GOING_AWAY, ""));
        match version {
            Version::Hixie75 => socket.finish(),
            _ => socket.close(CloseCode::GOING_AWAY, ""),
        }
        assert_eq!(said(&log), [peers_end(version, 1001, "", ClosedBy::Shutdown)]);
        let (mut socket, log) = echo(version, same);
        socket.hub().stop();
        socket.settle();
        assert!(socket.is_closed() && socket.received().is_empty());
        assert_eq!(said(&log), ["close 1006 \"\" Shutdown unclean"]);
    }
}
