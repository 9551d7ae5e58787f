//! Memory while much passes through: a relay, and the output of a child process to a WebSocket that reads slowly.
//!
//! `RELAY_MIB=10240` and `CHILD_MIB=1024` set the amounts. The defaults are smaller.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::{
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use counting::{forget_peak, live, peak};
use ws_reactor::{CloseReason, ConnectionId, Reactor, Stream, StreamHandler};

#[path = "it/support/counting.rs"]
mod counting;

const MIB: u64 = 1024 * 1024;

fn mib(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |value| value.parse().unwrap()) * MIB
}

/// Relays a client to the stream that was adopted.
struct Relaying(ConnectionId);

impl StreamHandler for Relaying {
    fn on_connect(&mut self, stream: &mut Stream<'_>) {
        let id = stream.id();
        assert!(stream.hub().relay(id, self.0));
        forget_peak();
    }

    fn on_close(&mut self, stream: &mut Stream<'_>, _: &CloseReason) {
        stream.hub().stop();
    }
}

struct Idle;

impl StreamHandler for Idle {}

#[test]
fn relay_holds_less_than_a_mebibyte_whatever_passes() {
    let bytes = mib("RELAY_MIB", 256);
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let target_addr = target.local_addr().unwrap();
    let (listening, address) = mpsc::channel();
    let relay = thread::spawn(move || {
        let mut reactor = Reactor::new().unwrap();
        let onward = reactor.adopt_stream(TcpStream::connect(target_addr).unwrap(), Vec::new(), Idle).unwrap();
        listening.send(reactor.listen_stream("127.0.0.1:0", move |_| Relaying(onward)).unwrap().addr).unwrap();
        // The read buffer is there from now on.
        let before = live();
        reactor.run().unwrap();
        peak() - before
    });
    let source = thread::spawn(move || {
        let mut socket = TcpStream::connect(address.recv().unwrap()).unwrap();
        let block: Vec<u8> = (0..MIB).map(|index| index as u8).collect();
        (0..bytes / MIB).for_each(|_| socket.write_all(&block).unwrap());
    });
    let (mut sink, _) = target.accept().unwrap();
    let (mut block, mut received, mut sum) = (vec![0; MIB as usize], 0, 0_u64);
    loop {
        let length = sink.read(&mut block).unwrap();
        if length == 0 {
            break;
        }
        // The octets count up, whatever the pieces.
        assert!(block[0] == received as u8 && block[length - 1] == (received + length as u64 - 1) as u8);
        sum += u64::from(block[length / 2]);
        received += length as u64;
    }
    source.join().unwrap();
    assert!(received == bytes && sum > 0, "{received} bytes");
    let held = relay.join().unwrap();
    println!("{} MiB relayed with {} KiB", bytes / MIB, held / 1024);
    assert!(held < MIB as usize, "{held} bytes");
}

#[cfg(feature = "signals")]
mod child {
    use std::{
        process::{Command, ExitStatus},
        time::Duration,
    };

    use ws_reactor::{
        BlockingSocket, Callbacks, Client, CloseCode, Output, OutputLimits, Process, ProcessConfig, ProcessHandler,
        Server,
    };

    use super::*;

    /// Sends the output to a WebSocket, no faster than that reads.
    struct ToSocket(ConnectionId);

    impl ProcessHandler for ToSocket {
        fn on_output(&mut self, process: &mut Process<'_>, _: Output, data: &[u8]) {
            let id = self.0;
            let status = process.hub().send(id, data);
            assert!(status.is_queued());
            if status == ws_reactor::SendStatus::Congested {
                process.pause();
            }
        }

        fn on_exit(&mut self, process: &mut Process<'_>, status: ExitStatus) {
            assert!(status.success());
            let id = self.0;
            process.hub().close(id, CloseCode::NORMAL, "");
        }
    }

    fn server(bytes: u64) -> Server {
        Server::new(move |_| {
            let process = std::rc::Rc::new(std::cell::Cell::new(None));
            let started = std::rc::Rc::clone(&process);
            Callbacks::new()
                .on_open(move |ws, _| {
                    forget_peak();
                    let mut head = Command::new("head");
                    head.args(["-c", &bytes.to_string(), "/dev/zero"]);
                    let id = ws.id();
                    started.set(Some(ws.hub().spawn(head, ProcessConfig::new().lines(false), ToSocket(id)).unwrap()));
                })
                .on_drain(move |ws| {
                    if let Some(process) = process.get() {
                        ws.hub().resume_process(process);
                    }
                })
                .on_close(|ws, _| ws.hub().stop())
        })
    }

    #[test]
    fn output_of_a_child_waits_for_a_websocket_that_reads_slowly() {
        let bytes = mib("CHILD_MIB", 64);
        let (listening, address) = mpsc::channel();
        let server = thread::spawn(move || {
            let mut reactor = Reactor::new().unwrap();
            listening.send(reactor.listen("127.0.0.1:0", server(bytes)).unwrap().addr).unwrap();
            let before = live();
            reactor.run().unwrap();
            peak() - before
        });
        let url = format!("ws://{}/", address.recv().unwrap());
        let mut socket = BlockingSocket::connect_with(&url, |client: Client| client).unwrap();
        let (mut received, mut paused) = (0, 0);
        while received < bytes {
            received += socket.receive().unwrap().as_message().len() as u64;
            // A pause after each 16 MiB.
            if received / (16 * MIB) > paused {
                paused = received / (16 * MIB);
                thread::sleep(Duration::from_millis(20));
            }
        }
        assert_eq!(received, bytes);
        assert!(socket.receive().is_err(), "the end of the process closes the connection");
        drop(socket);
        let held = server.join().unwrap();
        println!("{} MiB of a child with {} KiB", bytes / MIB, held / 1024);
        // Two reads of 64 KiB are queued above the high-water mark: the first one reaches it, and the second one is the
        // first to be congested. A segment of the queue may be half empty.
        let queued = OutputLimits::default().high_water_bytes + 2 * 64 * 1024;
        assert!(held < 2 * queued + 256 * 1024, "{held} bytes");
    }
}
