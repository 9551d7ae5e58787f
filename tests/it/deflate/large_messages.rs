//! Large outgoing messages, which are compressed in slices.

use super::*;

/// Obeys the commands that clients send as text, and echoes all other messages.
fn command_server(large: OwnedMessage) -> Server {
    Server::new(move |_| {
        let large = large.clone();
        on_message(move |ws, message| match message.as_text() {
            Some("large") => drop(ws.send(&large)),
            Some("large, then close") => {
                ws.send(&large);
                ws.send("behind");
                ws.close(CloseCode::NORMAL, "done");
            }
            Some("large, then publish") => {
                ws.subscribe("topic");
                ws.send(&large);
                ws.publish("topic", "published");
                ws.send_uncompressed("uncompressed");
            }
            Some("large, then panic") => {
                ws.send(&large);
                panic!("deliberate");
            }
            _ => drop(ws.send(message)),
        })
    })
}

/// More than ten slices, and less than the high-water mark of the output.
fn large_text() -> String {
    (0..13_000).map(record).collect()
}

#[test]
fn large_message_is_compressed_in_slices_while_other_connections_are_served() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let text = large_text();
        let mut world = World::new(command_server(OwnedMessage::text(text.as_str())).deflate(config));
        let (mut large, mut small) = (world.connect(), world.connect());
        world.send(&mut large, TEXT, b"large");
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        let slices = text.len() / (32 * 1024);
        let (mut served, mut frames, mut buffered) = (0, Vec::new(), usize::MAX);
        for number in 0..slices - 1 {
            world.send(&mut small, TEXT, record(number).as_bytes());
            world.reactor.turn(Some(Duration::ZERO)).unwrap();
            served += world.available_frames(&mut small).len();
            frames.extend(world.available_frames(&mut large));
            let left = world.stats().buffered_bytes;
            assert!(left < buffered, "every turn compresses a part");
            buffered = left;
        }
        // An echo is written in the turn after its message arrives.
        assert_eq!(served, slices - 2, "every turn serves the other connection");
        assert!(frames.len() > 2, "frames are sent while the message is compressed");
        frames.extend(world.frames(&mut large));
        let messages = assemble(&mut large, frames);
        assert!(messages == [(TEXT, text.into_bytes(), true)], "the message arrives whole");
    }
}

/// Sends a large message on the first message and on every drain.
struct Flood(OwnedMessage);

impl Handler for Flood {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, _: Message<'_>) {
        ws.send(&self.0);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_>) {
        ws.send(&self.0);
    }
}

#[test]
fn connection_that_always_has_more_to_compress_does_not_delay_others() {
    let record: String = (0..10_000).map(record).collect();
    for length in [33_000, 66_000, 4 * 64 * 1024, 290_000] {
        let text = OwnedMessage::text(&record[..length]);
        let server = Server::new(move |handshake| -> Box<dyn Handler> {
            let text = text.clone();
            match handshake.path() {
                "/flood" => Box::new(Flood(text)),
                _ => Box::new(on_message(move |ws, _| {
                    ws.send(&text);
                })),
            }
        });
        let mut world = World::new(server.deflate(DeflateConfig::dedicated()));
        let (mut flooded, mut other) = (world.connect_to("/flood", OFFER), world.connect());
        world.send(&mut flooded, TEXT, b"go");
        for _ in 0..5 {
            world.send(&mut other, TEXT, b"go");
            let mut frames = Vec::new();
            for _ in 0..40 {
                world.reactor.turn(Some(Duration::ZERO)).unwrap();
                frames.extend(world.available_frames(&mut other));
                world.available_frames(&mut flooded);
            }
            assert_eq!(assemble(&mut other, frames).len(), 1, "{length} bytes");
        }
    }
}

#[test]
fn slow_compression_does_not_make_the_client_a_slow_reader() {
    let text = OwnedMessage::text((0..80_000).map(record).collect::<String>());
    let mut world = World::new(command_server(text).deflate(DeflateConfig::dedicated()));
    let mut clients: Vec<Client> = (0..4).map(|_| world.connect()).collect();
    let mut frames = vec![Vec::new(); clients.len()];
    for client in &mut clients {
        world.send(client, TEXT, b"large, then publish");
    }
    for _ in 0..1000 {
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        world.reactor.kernel_mut().advance(Duration::from_millis(60));
        for (client, frames) in clients.iter_mut().zip(&mut frames) {
            frames.extend(world.available_frames(client));
        }
    }
    assert_eq!(world.stats().dropped, 0);
    for (client, frames) in clients.iter_mut().zip(frames) {
        assert!(frames.iter().all(|frame| frame.first != 0x88), "no close frame is sent");
        // The large message, the uncompressed one, and at least the publication of the client itself.
        assert!(assemble(client, frames).len() >= 3);
    }
}

#[test]
fn messages_sent_after_a_large_message_arrive_after_it() {
    for config in [DeflateConfig::shared(), DeflateConfig::dedicated()] {
        let text = large_text();
        let mut world = World::new(command_server(OwnedMessage::text(text.as_str())).deflate(compress_all(config)));
        let mut client = world.connect();
        for command in ["large", "one", "large, then publish", "two"] {
            world.send(&mut client, TEXT, command.as_bytes());
        }
        let messages = world.messages(&mut client);
        let received: Vec<&[u8]> = messages.iter().map(|(_, message, _)| &message[..]).collect();
        let all = [text.as_bytes(), b"one", text.as_bytes(), b"published", b"uncompressed", b"two"];
        assert!(received == all, "{:?}", received.iter().map(|message| message.len()).collect::<Vec<_>>());
    }
}

#[test]
fn close_or_panic_after_a_large_message_sends_all_of_it_before_the_close_frame() {
    for command in ["large, then close", "large, then panic"] {
        let text = large_text();
        let mut world =
            World::new(command_server(OwnedMessage::text(text.as_str())).deflate(DeflateConfig::dedicated()));
        let mut client = world.connect();
        world.send(&mut client, TEXT, command.as_bytes());
        let frames = world.frames(&mut client);
        assert_eq!(frames.last().unwrap().first, 0x88);
        let messages = assemble(&mut client, frames);
        assert!(messages[0].1 == text.as_bytes(), "{command}");
        assert_eq!(messages.len(), if command.ends_with("close") { 2 } else { 1 });
    }
}

#[test]
fn reset_connection_releases_its_unfinished_compression() {
    let mut world = World::new(command_server(OwnedMessage::text(large_text())).deflate(DeflateConfig::dedicated()));
    let (mut leaving, mut staying) = (world.connect(), world.connect());
    world.send(&mut leaving, TEXT, b"large");
    world.send(&mut staying, TEXT, b"large");
    world.reactor.turn(Some(Duration::ZERO)).unwrap();
    world.reactor.kernel_mut().reset(leaving.peer);
    assert_eq!(world.messages(&mut staying).len(), 1);
    assert_eq!((world.stats().connections, world.stats().buffered_bytes), (1, 0));
    let mut next = world.connect();
    world.send(&mut next, TEXT, b"small");
    assert_eq!(world.messages(&mut next), [(TEXT, b"small".to_vec(), false)]);
}

#[test]
fn slow_reader_is_dropped_in_the_middle_of_a_large_message() {
    let text = large_text();
    let mut world = World::new(command_server(OwnedMessage::text(text.as_str())).deflate(DeflateConfig::dedicated()));
    let mut client = world.connect();
    world.reactor.kernel_mut().hold(client.peer, 1000);
    for _ in 0..3 {
        world.send(&mut client, TEXT, b"large");
    }
    world.reactor.advance(Duration::from_secs(60)).unwrap();
    assert_eq!((world.stats().connections, world.stats().buffered_bytes), (0, 0));
}
