//! Context takeover.

use super::*;

#[test]
fn message_refers_to_earlier_messages_only_with_context_takeover() {
    let lengths = |config| {
        let mut world = World::new(echo().deflate(compress_all(config)));
        let mut client = world.connect();
        let lengths: Vec<usize> = (0..10)
            .map(|number| {
                world.send(&mut client, TEXT, record(number).as_bytes());
                let frames = world.frames(&mut client);
                let length = frames[0].payload.len();
                assert_eq!(assemble(&mut client, frames)[0].1, record(number).as_bytes());
                length
            })
            .collect();
        lengths
    };
    let (shared, dedicated) = (lengths(DeflateConfig::shared()), lengths(DeflateConfig::dedicated()));
    assert!(dedicated[9] * 2 < shared[9], "{dedicated:?} {shared:?}");
    // A client may request no context takeover from the server.
    let mut world = World::new(echo().deflate(compress_all(DeflateConfig::dedicated())));
    let mut client = world.connect_with("Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n");
    for (number, length) in shared.into_iter().enumerate() {
        world.send(&mut client, TEXT, record(number).as_bytes());
        let frames = world.frames(&mut client);
        assert_eq!(frames[0].payload.len(), length);
        assert_eq!(assemble(&mut client, frames)[0].1, record(number).as_bytes());
    }
}

#[test]
fn contexts_of_many_connections_are_independent() {
    let mut world = World::new(echo().deflate(compress_all(DeflateConfig::dedicated())));
    let mut clients: Vec<Client> = (0..20).map(|_| world.connect()).collect();
    for round in 0..30 {
        for (index, client) in clients.iter_mut().enumerate() {
            for number in 0..(index + round) % 4 {
                world.send(client, TEXT, record(index * 1000 + number).as_bytes());
            }
        }
        for (index, client) in clients.iter_mut().enumerate() {
            let messages = world.messages(client);
            let expected: Vec<_> = (0..(index + round) % 4)
                .map(|number| (TEXT, record(index * 1000 + number).into_bytes(), true))
                .collect();
            assert_eq!(messages, expected);
        }
    }
}
