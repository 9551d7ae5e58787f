//! Real sockets and real threads: commands from elsewhere arrive, in order, and end the loop.
#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::mpsc,
    thread,
    time::Duration,
};

use ws_reactor::{Callbacks, Reactor, Sent, Server};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[test]
fn commands_of_other_threads_arrive_in_order_and_a_shutdown_ends_the_loop() {
    const SENDERS: u8 = 4;
    const EACH: u16 = 1000;
    let (open, opened) = mpsc::channel();
    let server = Server::new(move |_| {
        let open = open.clone();
        Callbacks::new().on_open(move |ws, _| {
            ws.subscribe("all");
            open.send(ws.id()).unwrap();
        })
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor.listen("127.0.0.1:0", server).unwrap().addr;
    let remote = reactor.remote();
    let late = remote.clone();

    let client = thread::spawn(move || {
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(REQUEST).unwrap();
        let id = opened.recv().unwrap();
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let remote = remote.clone();
                thread::spawn(move || {
                    for number in 0..EACH {
                        let message = [&[sender][..], &number.to_be_bytes()].concat();
                        let sent = match number % 2 {
                            0 => remote.send(id, message),
                            _ => remote.publish("all", message),
                        };
                        assert_eq!(sent, Sent::Queued);
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        remote.shutdown(Duration::from_secs(1));
        let mut bytes = Vec::new();
        // The end comes by the shutdown's deadline: this client does not answer the close frame.
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });

    reactor.run().unwrap();
    let bytes = client.join().unwrap();
    let frames = &bytes[129..];
    let (messages, close) = frames.split_at(usize::from(SENDERS) * usize::from(EACH) * 5);
    let mut next = [0_u16; SENDERS as usize];
    for frame in messages.chunks(5) {
        assert_eq!(frame[..2], [0x82, 3]);
        let number = &mut next[usize::from(frame[2])];
        assert_eq!(frame[3..], number.to_be_bytes());
        *number += 1;
    }
    assert_eq!(next, [EACH; SENDERS as usize]);
    assert_eq!(close, [0x88, 2, 0x03, 0xe9], "going away");
    drop(reactor);
    assert_eq!(late.stop(), Sent::Closed);
}
