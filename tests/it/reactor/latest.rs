//! `send_latest` and `publish_latest`: a queued message is replaced by the next of its key.

use std::{cell::Cell, rc::Rc, time::Duration};

use ws_reactor::{Callbacks, ClosedBy, OutputLimits, ReactorConfig, SendStatus, Server, TestSocket};

use crate::support::{Crowd, frames};

/// What a member receives from now on.
fn received(crowd: &mut Crowd, member: usize) -> Vec<String> {
    crowd.advance(Duration::ZERO);
    let peer = crowd.peers[member];
    let bytes = crowd.reactor.kernel_mut().received(peer);
    frames(&[b"\r\n\r\n", &bytes[..]].concat()).into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
}

fn send_latest(crowd: &mut Crowd, key: &str, text: &str) -> SendStatus {
    let id = crowd.ids.borrow()[0];
    crowd.reactor.hub().send_latest(id, key, text)
}

#[test]
fn queued_message_is_replaced_in_its_place_by_the_next_of_its_key() {
    let mut crowd = Crowd::new(ReactorConfig::default(), 1, |server| server.ping_after(None));
    crowd.send(0, "first");
    assert_eq!(send_latest(&mut crowd, "a", "a 1"), SendStatus::Queued);
    send_latest(&mut crowd, "b", "b 1");
    crowd.send(0, "between");
    send_latest(&mut crowd, "a", "a 2, and longer than before");
    send_latest(&mut crowd, "c", "c 1");
    send_latest(&mut crowd, "a", "a 3");
    crowd.send(0, "last");
    assert_eq!(received(&mut crowd, 0), ["first", "a 3", "b 1", "between", "c 1", "last"]);
    assert_eq!(crowd.reactor.hub().stats().conflated, 2);
    // A message that has been written is not replaced.
    send_latest(&mut crowd, "a", "a 4");
    assert_eq!(received(&mut crowd, 0), ["a 4"]);
}

#[test]
fn partly_written_message_is_not_replaced_and_queued_ones_are() {
    let mut crowd = Crowd::new(ReactorConfig::default(), 1, |server| server.ping_after(None));
    crowd.hold(0, 3);
    send_latest(&mut crowd, "a", "a 1");
    crowd.advance(Duration::ZERO);
    for round in 2..1000 {
        send_latest(&mut crowd, "a", &format!("a {round}"));
        send_latest(&mut crowd, "b", &format!("b {round}"));
        crowd.advance(Duration::ZERO);
    }
    let peer = crowd.peers[0];
    crowd.reactor.kernel_mut().release(peer);
    assert_eq!(received(&mut crowd, 0), ["a 1", "a 999", "b 999"]);
}

#[test]
fn output_of_a_slow_reader_is_bounded_by_the_number_of_keys_and_does_not_close_it() {
    let limits = OutputLimits::new().high_water_bytes(1000).limit_bytes(2000);
    let mut crowd = Crowd::new(ReactorConfig::default(), 1, |server| {
        server.ping_after(None).configure(|config| config.websocket.stream.output = limits)
    });
    crowd.hold(0, 1);
    for round in 0..100 {
        for key in 0..10 {
            let status = send_latest(&mut crowd, &key.to_string(), &format!("{key} {round:0>100}"));
            assert!(status.is_queued(), "{status:?}");
        }
        crowd.advance(Duration::ZERO);
    }
    assert_eq!(crowd.open(), [true]);
    let peer = crowd.peers[0];
    crowd.reactor.kernel_mut().release(peer);
    let received = received(&mut crowd, 0);
    // The first message was partly written.
    assert_eq!(received.len(), 1 + 10);
    assert!(received[1..].iter().all(|text| text.ends_with("99")), "{received:?}");
}

#[test]
fn publish_latest_replaces_for_slow_readers_and_reaches_every_subscriber() {
    let mut crowd = Crowd::new(ReactorConfig::default(), 3, |server| server.ping_after(None));
    crowd.hold(1, 1);
    for round in 0..5 {
        let published = crowd.reactor.hub().publish_latest("all", "price", format!("price {round}"));
        assert_eq!(published.queued, 3);
        crowd.advance(Duration::ZERO);
    }
    let peer = crowd.peers[1];
    crowd.reactor.kernel_mut().release(peer);
    let all: Vec<String> = (0..5).map(|round| format!("price {round}")).collect();
    assert_eq!(received(&mut crowd, 0), all);
    assert_eq!(received(&mut crowd, 1), ["price 0", "price 4"]);
    assert_eq!(received(&mut crowd, 2), all);
    assert_eq!(crowd.reactor.hub().stats().buffered_bytes, 0);
}

#[test]
fn congested_send_latest_is_followed_by_on_drain() {
    let drained = Rc::new(Cell::new(0));
    let counted = Rc::clone(&drained);
    let server = Server::new(move |_| {
        let counted = Rc::clone(&counted);
        Callbacks::new()
            .on_message(|ws, _| {
                assert_eq!(ws.send_latest("a", "x".repeat(1500)), SendStatus::Queued);
                assert_eq!(ws.send_latest("b", "x".repeat(1500)), SendStatus::Congested);
                assert_eq!(ws.send_latest("a", "y".repeat(1500)), SendStatus::Congested);
            })
            .on_drain(move |_| counted.set(counted.get() + 1))
    });
    let limits = OutputLimits::new().high_water_bytes(1000).limit_bytes(10_000);
    let mut socket = TestSocket::connect(server.configure(|config| config.websocket.stream.output = limits), "/");
    // The network takes everything at once, right after the callback.
    socket.send("go");
    assert_eq!(drained.get(), 1);
    assert_eq!(socket.received(), ["y".repeat(1500).as_str().into(), "x".repeat(1500).as_str().into()]);
}

#[test]
fn publish_latest_counts_towards_the_excess_of_all_connections() {
    let limits = OutputLimits::new().high_water_bytes(1000);
    let config = ReactorConfig::new().excess_output_bytes(50_000);
    let mut crowd = Crowd::new(config, 2, |server| {
        server.ping_after(None).configure(|config| config.websocket.stream.output = limits)
    });
    crowd.hold(1, 1);
    let mut published = Vec::new();
    for key in 0..100 {
        published.push(crowd.reactor.hub().publish_latest("all", &key.to_string(), "x".repeat(1000)));
        crowd.advance(Duration::ZERO);
    }
    assert_eq!(crowd.open(), [true, false]);
    assert_eq!(crowd.ends(), [(1, ClosedBy::SlowReader)]);
    let closed = published.iter().position(|published| published.closed > 0).unwrap();
    assert!((48..=54).contains(&closed), "closed by publish {closed}");
    assert!(published[..closed].iter().all(|published| published.queued == 2));
    assert!(published[closed + 1..].iter().all(|published| published.queued == 1));
    assert_eq!(crowd.reactor.hub().stats().dropped, 1);
}

#[cfg(feature = "deflate")]
#[test]
fn latest_message_arrives_whole_between_compressed_messages() {
    use std::cell::RefCell;
    use ws_reactor::{Client, DeflateConfig, Reactor, net::sim::Sim};

    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let received = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&received);
        let mut reactor = Reactor::on(Sim::new(), ReactorConfig::default());
        let large: String = (0..40_000).map(|number| format!("{number} ")).collect();
        let server = Server::new(move |_| {
            let large = large.clone();
            Callbacks::new().on_open(move |ws, _| {
                ws.send("before ".repeat(100));
                ws.send_latest("key", "replaced ".repeat(100));
                ws.send("between ".repeat(100));
                ws.send_latest("key", "kept ".repeat(100));
                // This message waits for the compressor, and the messages after it wait too.
                ws.send(&large);
                ws.send_latest("other", "replaced");
                ws.send("behind");
                ws.send_latest("other", "kept");
            })
        });
        reactor.listen("10.0.0.1:80", server.deflate(config)).unwrap();
        let handler = Callbacks::new().on_message(move |_, message| log.borrow_mut().push(message.to_string()));
        reactor.connect("ws://10.0.0.1/", Client::new(handler).deflate(config)).unwrap();
        reactor.advance(Duration::from_secs(1)).unwrap();
        let starts: Vec<String> =
            received.borrow().iter().map(|text| text.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(starts, ["before", "kept", "between", "0", "kept", "behind"]);
    }
}
