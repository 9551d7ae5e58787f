//! The message limit and compression bombs.

use super::*;

#[test]
fn message_limit_counts_inflated_bytes_and_fails_with_1009() {
    let limited = || echo().deflate(DeflateConfig::dedicated()).max_message_bytes(100_000);
    let mut world = World::new(limited());
    let mut client = world.connect();
    world.send(&mut client, BINARY, &vec![7; 100_000]);
    assert_eq!(world.messages(&mut client)[0].1, vec![7; 100_000]);
    world.send(&mut client, BINARY, &vec![7; 100_001]);
    assert_eq!(world.close_code(&mut client), 1009);
    // An incompressible message of the limit has a payload above the limit, and is accepted.
    let mut world = World::new(limited());
    let mut client = world.connect();
    let incompressible = noise(100_000);
    world.send(&mut client, BINARY, &incompressible);
    assert_eq!(world.messages(&mut client)[0].1, incompressible);
    // The same limit applies to a fragmented message.
    let compressed = client.deflate.as_mut().unwrap().compress(&vec![0; 1_000_000]);
    for (index, piece) in compressed.chunks(10).enumerate() {
        world.send_bytes(client.peer, &wire::raw(if index == 0 { RSV1 | BINARY } else { 0 }, piece));
    }
    assert_eq!(world.close_code(&mut client), 1009);
}

#[test]
fn bomb_within_the_limit_is_inflated_in_slices_while_other_connections_are_served() {
    let mut world = World::new(
        Server::new(|_| {
            on_message(|ws, message| {
                ws.send(message.len().to_string());
            })
        })
        .deflate(DeflateConfig::shared()),
    );
    let (mut bomber, mut other) = (world.connect(), world.connect());
    world.send(&mut bomber, BINARY, &vec![0; 10 << 20]);
    world.send(&mut bomber, BINARY, b"and another");
    let (mut turns, mut served) = (0, 0);
    let replies = loop {
        turns += 1;
        world.send(&mut other, TEXT, b"here");
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        served += world.available_frames(&mut other).len();
        let frames = world.available_frames(&mut bomber);
        if !frames.is_empty() {
            break assemble(&mut bomber, frames);
        }
    };
    assert!(turns >= 40 && served + 1 >= turns, "{served} messages served in {turns} turns while 10 MiB were inflated");
    assert_eq!(replies[0].1, b"10485760");
    let rest = if replies.len() == 2 { replies[1..].to_vec() } else { world.messages(&mut bomber) };
    assert_eq!(rest, [(TEXT, b"11".to_vec(), false)]);
}

#[test]
fn small_bombs_in_one_segment_are_handled_over_several_turns() {
    let handled = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&handled);
    let server = Server::new(move |_| {
        let counted = Rc::clone(&counted);
        on_message(move |_, _| *counted.borrow_mut() += 1)
    });
    let mut world = World::new(server.deflate(DeflateConfig::shared()));
    let mut client = world.connect();
    let bomb = client.deflate.as_mut().unwrap().compress(&vec![0; 100_000]);
    let segment: Vec<u8> = (0..100).flat_map(|_| wire::raw(FIN | RSV1 | BINARY, &bomb)).collect();
    world.send_bytes(client.peer, &segment);
    let mut most = 0;
    while *handled.borrow() < 100 {
        let before = *handled.borrow();
        world.reactor.turn(Some(Duration::ZERO)).unwrap();
        most = most.max(*handled.borrow() - before);
    }
    assert!(most <= 4, "{most} messages of 100 kB were handled in one turn");
}
