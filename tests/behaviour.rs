//! What every connection promises, in every version: one list, run for each row.
#![allow(clippy::unwrap_used)]

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{
    Callbacks, CloseCode, CloseReason, ClosedBy, Error, Limits, OutputLimits, Overflow, ProtocolError, Received, Sent,
    Server, Settings, StreamSettings, TestSocket, Version, WebSocket,
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
    assert_eq!(version, Version::Rfc6455, "a version that is added says here how its handshake is made");
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
            .on_error(move |_, why: &Error| error(format!("error: {why}")))
            .on_close(move |ws, reason| {
                assert_eq!(ws.send("late"), Sent::Closed);
                close(end(reason));
            })
    });
    (TestSocket::connect(change(server), "/path?query"), log)
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

fn closed(code: CloseCode, reason: &str) -> Received {
    Received::Close(Some((code, reason.to_owned())))
}

/// A client's frame with a key of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xffff => {
            frame.push(0xfe);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0xff);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// One list for all versions.
macro_rules! promises {
    ($($name:ident($version:ident) $body:block)*) => {
        $(
            #[test]
            fn $name() {
                for $version in Version::ALL.iter().copied() $body
            }
        )*
    };
}

promises! {
    a_message_comes_back_as_what_it_is(version) {
        let (mut socket, log) = echo(version, same);
        socket.send("text, κόσμε");
        socket.send(b"\x00\xff");
        socket.send("");
        let binary = Received::Message(vec![0, 0xff].into());
        assert_eq!(socket.received(), ["text, κόσμε".into(), binary, "".into()]);
        assert_eq!(log.borrow()[0], "open /path");
    }

    every_size_comes_back_whole(version) {
        let (mut socket, _) = echo(version, same);
        for size in [1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000, 5 << 20] {
            let message: Vec<u8> = (0..size).map(|index: usize| (index * 7) as u8).collect();
            socket.send(&message);
            assert_eq!(socket.received(), [Received::Message(message.into())], "{size} bytes");
        }
    }

    large_text_comes_back_whole(version) {
        let (mut socket, _) = echo(version, same);
        let message = "mixed Ω 🦀 ".repeat(30_000);
        socket.send(&message);
        assert_eq!(socket.received(), [message.as_str().into()]);
    }

    what_is_sent_at_once_comes_back_in_order(version) {
        let (mut socket, _) = echo(version, same);
        let bytes: Vec<u8> = (0..3000).flat_map(|number| frame(0x81, format!("message {number}").as_bytes())).collect();
        socket.send_bytes(&bytes);
        let expected: Vec<Received> = (0..3000).map(|number| format!("message {number}").as_str().into()).collect();
        assert_eq!(socket.received(), expected);
    }

    a_ping_is_answered_with_its_payload_and_told(version) {
        let (mut socket, log) = echo(version, same);
        socket.ping(b"are you there");
        socket.pong(b"unasked");
        assert_eq!(socket.received(), [Received::Pong(b"are you there".to_vec())]);
        assert_eq!(said(&log), ["ping 13", "pong 7"]);
    }

    the_peers_close_is_answered_with_its_code(version) {
        let (mut socket, log) = echo(version, same);
        socket.close(CloseCode::Other(4001), "enough");
        assert_eq!(socket.received(), [closed(CloseCode::Other(4001), "")]);
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["close 4001 \"enough\" Peer clean"]);
    }

    an_empty_close_is_answered_with_an_empty_close(version) {
        let (mut socket, log) = echo(version, same);
        socket.send_bytes(&frame(0x88, b""));
        assert_eq!(socket.received(), [Received::Close(None)]);
        assert_eq!(said(&log), ["close 1005 \"\" Peer clean"]);
    }

    our_close_waits_for_the_peers(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.send("last words");
            assert_eq!(ws.close(CloseCode::Normal, "done"), Sent::Queued);
            assert_eq!(ws.close(CloseCode::Normal, "again"), Sent::Closed);
            assert_eq!(ws.send("late"), Sent::Closed);
        });
        socket.send("go");
        assert_eq!(socket.received(), ["last words".into(), closed(CloseCode::Normal, "done")]);
        socket.send("not delivered");
        socket.ping(b"hi");
        assert_eq!(socket.received_bytes(), [0x8a, 2, b'h', b'i'], "a ping is still answered");
        assert!(!socket.is_closed());
        socket.close(CloseCode::Normal, "yes");
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["message of 2", "close 1000 \"yes\" Application clean"]);
    }

    a_peer_that_does_not_close_is_cut(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.close(CloseCode::Normal, "");
        });
        socket.send("go");
        socket.advance(Duration::from_millis(4990));
        assert!(!socket.is_closed());
        socket.advance(Duration::from_millis(20));
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["message of 2", "close 1006 \"\" Timeout(Closing) unclean"]);
    }

    a_code_that_must_not_be_sent_is_refused_and_nothing_happens(version) {
        let (mut socket, _) = with(version, same, |ws, _| {
            for code in [1002, 1004, 1005, 1006, 1015, 2000, 2999, 5000] {
                assert_eq!(ws.close(CloseCode::from(code), ""), Sent::Unsupported, "{code}");
            }
            ws.send("still open");
        });
        socket.send("go");
        assert_eq!(socket.received(), ["still open".into()]);
    }

    a_cut_says_nothing(version) {
        let (mut socket, log) = with(version, same, |ws, _| ws.cut());
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
        let cases: [(&[u8], ProtocolError); 4] = [
            (&frame(0x83, b"bad"), ProtocolError::UnknownOpCode(3)),
            (&[0x81, 5, b'h', b'e', b'l', b'l', b'o'], ProtocolError::Unmasked),
            (&frame(0x81, b"\xff"), ProtocolError::InvalidUtf8),
            (&frame(0x82, &[0; 101])[..8], ProtocolError::TooBig { limit: 100, length: 101 }),
        ];
        for (bytes, error) in cases {
            let (mut socket, log) = echo(version, |server| server.max_frame_bytes(100));
            // The message before the violation is still answered, and what follows it is not looked at.
            socket.send_bytes(&[&frame(0x81, b"good"), bytes, &frame(0x81, b"ignored")].concat());
            assert_eq!(socket.received(), ["good".into(), closed(error.close_code(), &error.to_string())]);
            assert!(socket.is_ended() && !socket.is_closed(), "our side ends at once, input is discarded");
            socket.send_bytes(&vec![0; 200_000]);
            socket.advance(Duration::from_secs(5));
            assert!(socket.is_closed());
            let code = error.close_code();
            let expected = format!("close {code} {:?} {:?} unclean", error.to_string(), ClosedBy::Protocol(error));
            assert_eq!(said(&log), ["message of 4".to_owned(), format!("error: protocol error: {error}"), expected]);
        }
    }

    silence_is_pinged_and_a_dead_peer_is_given_up(version) {
        let (mut socket, log) = echo(version, same);
        socket.advance(Duration::from_millis(19_990));
        assert!(socket.received().is_empty());
        socket.advance(Duration::from_millis(20));
        assert_eq!(socket.received(), [Received::Ping(Vec::new())]);
        // The beginning of a frame proves nothing, so it does not move the deadline.
        socket.send_bytes(&frame(0x81, b"whole")[..7]);
        socket.advance(Duration::from_millis(19_980));
        assert!(!socket.is_closed());
        socket.advance(Duration::from_millis(20));
        assert!(socket.is_closed());
        assert_eq!(said(&log), ["close 1006 \"\" Timeout(Pong) unclean"]);
    }

    any_whole_frame_is_a_sign_of_life(version) {
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
        assert!(matches!(&socket.received()[..], [Received::Close(Some((CloseCode::TooBig, _)))]));
    }

    fragments_above_the_limit_are_refused(version) {
        let (mut socket, _) = echo(version, |server| server.settings(Settings {
            limits: Limits { max_frame_bytes: 50, max_message_bytes: 60 },
            ..Settings::default()
        }));
        socket.send_bytes(&[frame(0x01, &[b'x'; 50]), frame(0x80, &[b'x'; 10])].concat());
        assert_eq!(socket.received().len(), 1);
        socket.send_bytes(&[frame(0x01, &[b'x'; 50]), frame(0x80, &[b'x'; 11])].concat());
        assert!(matches!(&socket.received()[..], [Received::Close(Some((CloseCode::TooBig, _)))]));
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

    a_slow_reader_is_closed_after_its_grace_or_kept_by_policy(version) {
        for overflow in [Overflow::Close, Overflow::Drop] {
            let output = OutputLimits { limit_bytes: 100_000, overflow, ..OutputLimits::default() };
            let stream = StreamSettings { output, ..StreamSettings::default() };
            let settings = Settings { stream, ping_after: None, ..Settings::default() };
            let (mut socket, log) = with(version, |server| server.settings(settings), |ws, _| {
                let message = "x".repeat(60_000);
                let sent: Vec<Sent> = (0..4).map(|_| ws.send(&message)).collect();
                assert_eq!(sent, [Sent::Queued, Sent::Queued, Sent::Full, Sent::Full]);
            });
            socket.hold(1000);
            socket.send("go");
            socket.advance(Duration::from_millis(4990));
            assert!(!socket.is_closed());
            socket.advance(Duration::from_millis(20));
            assert_eq!(socket.is_closed(), overflow == Overflow::Close);
            if overflow == Overflow::Close {
                assert_eq!(said(&log), ["message of 2", "close 1013 \"\" SlowReader unclean"]);
            } else {
                socket.release();
                assert_eq!(socket.received().len(), 2);
            }
        }
    }

    pings_while_the_socket_is_blocked_get_the_newest_pong_only(version) {
        let (mut socket, _) = with(version, same, |ws, _| {
            ws.send(&"x".repeat(50_000));
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
        socket.send_bytes(&[frame(0x81, b"pause"), frame(0x81, b"one")].concat());
        socket.send("two");
        assert_eq!((socket.received(), said(&log).len()), (vec!["pause".into()], 1));
        socket.advance(Duration::from_millis(99_990));
        assert!(!socket.is_closed(), "a peer that is not read cannot be silent");
        socket.received();
        socket.advance(Duration::from_millis(20));
        assert_eq!(socket.received(), ["one".into(), "two".into()]);
    }

    a_peer_that_asks_and_never_reads_is_given_up(version) {
        let (mut socket, log) = echo(version, same);
        socket.hold(1000);
        for _ in 0..20 {
            socket.send(&"x".repeat(10_000));
        }
        socket.advance(Duration::from_secs(41));
        assert!(socket.is_closed());
        assert_eq!(log.borrow().last().unwrap(), "close 1006 \"\" SlowReader unclean");
    }

    a_reset_at_the_end_of_the_grace_ends_it_once(version) {
        let output = OutputLimits { limit_bytes: 1000, pause_reading_bytes: 1000, ..OutputLimits::default() };
        let stream = StreamSettings { output, ..StreamSettings::default() };
        let settings = Settings { stream, ..Settings::default() };
        let (mut socket, log) = with(version, |server| server.settings(settings), |ws, _| {
            while ws.send(&"x".repeat(1000)).is_queued() {}
        });
        socket.hold(100);
        socket.send("go");
        socket.advance(Duration::from_millis(4999));
        // The reset and the end of the grace are news in the same turn.
        socket.reset_after(Duration::from_millis(1));
        assert!(socket.is_closed());
        assert_eq!(log.borrow().iter().filter(|line| line.starts_with("close")).count(), 1);
    }

    a_close_above_the_mark_does_not_spin_and_finds_the_peers_answer(version) {
        let (mut socket, log) = with(version, same, |ws, _| {
            ws.send(&"x".repeat(200_000));
            ws.close(CloseCode::Normal, "");
        });
        socket.hold(1000);
        socket.send("go");
        socket.close(CloseCode::Normal, "seen");
        socket.release();
        assert!(socket.is_closed());
        assert_eq!(log.borrow().last().unwrap(), "close 1000 \"seen\" Application clean");
    }

    shutdown_says_going_away_and_stop_says_nothing(version) {
        let (mut socket, log) = echo(version, same);
        socket.hub().shutdown(Duration::from_secs(9));
        socket.settle();
        assert_eq!(socket.received(), [closed(CloseCode::GoingAway, "")]);
        socket.close(CloseCode::GoingAway, "");
        assert_eq!(said(&log), ["close 1001 \"\" Shutdown clean"]);
        let (mut socket, log) = echo(version, same);
        socket.hub().stop();
        socket.settle();
        assert!(socket.is_closed() && socket.received().is_empty());
        assert_eq!(said(&log), ["close 1006 \"\" Shutdown unclean"]);
    }
}
