//! Which messages are compressed, and how often.

use super::*;

#[test]
fn messages_of_any_length_are_echoed_unchanged_in_fewer_bytes() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        for level in [1, 3, 9] {
            let mut world = World::new(echo().deflate(compress_all(config.level(level).unwrap())));
            let mut client = world.connect();
            let (mut plain_bytes, mut sent_bytes) = (0, 0);
            for (number, length) in
                [0, 1, 5, 100, 125, 126, 1000, 5000, 65_535, 65_536, 200_000, 3].into_iter().enumerate()
            {
                let mut text: String = (0..=length / 50).map(|index| record(index * 31 + number)).collect();
                text.truncate(length);
                let kind = if number % 2 == 0 { TEXT } else { BINARY };
                world.send(&mut client, kind, text.as_bytes());
                let frames = world.frames(&mut client);
                sent_bytes += frames.iter().map(|frame| frame.payload.len()).sum::<usize>();
                plain_bytes += length;
                let messages = assemble(&mut client, frames);
                let [(echoed_kind, echoed, compressed)] = &messages[..] else {
                    panic!("expected one echo of {length} bytes")
                };
                assert!(*echoed_kind == kind && echoed == text.as_bytes(), "{length} bytes");
                assert!(*compressed || length < 200, "{length} bytes were not compressed");
            }
            assert!(sent_bytes * 5 < plain_bytes, "{sent_bytes} bytes sent for {plain_bytes}");
        }
    }
}

#[test]
fn messages_below_the_threshold_and_send_uncompressed_are_not_compressed() {
    let server = Server::new(|_| {
        on_message(|ws, message| {
            match message.as_text() {
                Some("secret") => ws.send_uncompressed("secret ".repeat(100)),
                Some("publish") => {
                    ws.subscribe("topic");
                    let published = ws.hub().publish_uncompressed("topic", "secret ".repeat(100));
                    assert_eq!(published.queued, 1);
                    SendStatus::Queued
                }
                _ => ws.send(message),
            };
        })
    });
    let mut world = World::new(server.deflate(DeflateConfig::dedicated().threshold_bytes(100)));
    let mut client = world.connect();
    for (text, compressed) in
        [("a".repeat(99), false), ("a".repeat(100), true), ("secret".into(), false), ("publish".into(), false)]
    {
        world.send(&mut client, TEXT, text.as_bytes());
        let messages = world.messages(&mut client);
        let [(TEXT, _, was_compressed)] = messages[..] else { panic!("expected one reply to {text}") };
        assert_eq!(was_compressed, compressed, "{text}");
    }
    // Uncompressed messages are not part of the context.
    world.send(&mut client, TEXT, "a".repeat(500).as_bytes());
    assert_eq!(world.messages(&mut client), [(TEXT, "a".repeat(500).into_bytes(), true)]);
}

#[test]
fn incompressible_message_is_sent_uncompressed() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let mut world = World::new(echo().deflate(config));
        let mut client = world.connect();
        world.send(&mut client, BINARY, &noise(10_000));
        assert_eq!(world.messages(&mut client), [(BINARY, noise(10_000), false)]);
        world.send(&mut client, TEXT, "a".repeat(500).as_bytes());
        assert_eq!(world.messages(&mut client), [(TEXT, "a".repeat(500).into_bytes(), true)]);
    }
}

/// Subscribes every connection to one topic, and publishes every message to that topic.
struct PublishToAll;

impl Handler for PublishToAll {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.subscribe("all");
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        ws.publish("all", message);
    }
}

#[test]
fn published_message_is_compressed_once_per_set_of_parameters() {
    let mut world = World::new(Server::new(|_| PublishToAll).deflate(DeflateConfig::shared()));
    let mut clients: Vec<Client> = (0..10).map(|_| world.connect()).collect();
    let smaller = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    clients.extend((0..10).map(|_| world.connect_with(smaller)));
    clients.extend((0..10).map(|_| world.connect_with("")));
    let text: String = (0..30).map(record).collect();
    for round in 1..=3 {
        world.send(&mut clients[0], TEXT, text.as_bytes());
        for (index, client) in clients.iter_mut().enumerate() {
            assert_eq!(world.messages(client), [(TEXT, text.clone().into_bytes(), index < 20)]);
        }
        assert_eq!(world.stats().compressions, 2 * round);
    }
    // With context takeover the message is compressed once per connection.
    let mut world = World::new(Server::new(|_| PublishToAll).deflate(DeflateConfig::dedicated()));
    let mut clients: Vec<Client> = (0..10).map(|_| world.connect()).collect();
    for _ in 0..3 {
        world.send(&mut clients[0], TEXT, text.as_bytes());
        for client in &mut clients {
            assert_eq!(world.messages(client), [(TEXT, text.clone().into_bytes(), true)]);
        }
    }
    assert_eq!(world.stats().compressions, 30);
}
