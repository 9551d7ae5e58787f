//! Clients of servers that listen on a Unix domain socket.

use super::*;
use crate::support::played::accept_key;

#[test]
fn client_opens_a_websocket_over_a_unix_domain_socket() {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixListener,
        thread,
    };
    let path = std::env::temp_dir().join(format!("ws-reactor-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        let request = String::from_utf8(request).unwrap();
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap().to_owned();
        let head =
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
        let response =
            [head.as_bytes(), accept_key(&key).as_bytes(), b"\r\n\r\n\x81\x05hello\x88\x02\x03\xe8"].concat();
        socket.write_all(&response).unwrap();
        // Waits for the client's close frame: the server ends the stream first.
        let mut close_frame = [0; 8];
        socket.read_exact(&mut close_frame).unwrap();
        (request.lines().next().unwrap().to_owned(), request.contains("\r\nHost: localhost\r\n"))
    });
    let mut reactor = Reactor::new().unwrap();
    let log = Log::default();
    let client = |log: &Log| Client::new(recording(log).on_open(|_, _| {}));
    reactor.connect(&format!("ws+unix:{}:/chat?room=1", path.display()), client(&log)).unwrap();
    while log.borrow().len() < 2 {
        reactor.turn(Some(Duration::from_secs(10))).unwrap();
    }
    assert_eq!(drain(&log), ["message hello", "close 1000, by the peer, clean"]);
    assert_eq!(server.join().unwrap(), ("GET /chat?room=1 HTTP/1.1".to_owned(), true));
    std::fs::remove_file(&path).unwrap();
    reactor.connect(&format!("ws+unix:{}", path.display()), client(&log)).unwrap();
    reactor.turn(Some(Duration::from_secs(10))).unwrap();
    let events = drain(&log);
    assert!(events[0].starts_with(&format!("error cannot connect to {}: ", path.display())), "{events:?}");
}
