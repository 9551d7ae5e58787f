//! Commands of other threads, on real sockets: none is lost without an error, and their order is kept.

use std::{
    cell::RefCell,
    env,
    io::{BufReader, Read, Write},
    net::TcpStream,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ws_reactor::{Callbacks, Reactor, ReactorConfig, RemoteError, Server};

use crate::support::REQUEST;

/// The length of the response to [`REQUEST`].
const RESPONSE: usize = 129;
const TICK: Duration = Duration::from_millis(1);

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
    let remote_after_the_end = remote.clone();

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
                        assert_eq!(sent, Ok(()));
                    }
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        remote.shutdown(Duration::from_secs(1)).unwrap();
        let mut bytes = Vec::new();
        // The deadline of the shutdown ends the connection: this client does not answer the close frame.
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    });

    reactor.run().unwrap();
    let bytes = client.join().unwrap();
    let frames = &bytes[RESPONSE..];
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
    assert_eq!(remote_after_the_end.stop(), Err(RemoteError::Closed));
}

// `SENDS=1000000 cargo test --release --test it remote_threads -- --nocapture` prints the loop's latency meanwhile.
#[test]
fn eight_threads_that_fill_the_command_queue_lose_no_message_and_get_full() {
    const SENDERS: usize = 8;
    let sends: u32 = env::var("SENDS").map_or(20_000, |sends| sends.parse().unwrap());
    let capacity = ReactorConfig::default().remote_commands;
    let (open, opened) = mpsc::channel();
    let server = Server::new(move |_| {
        let open = open.clone();
        Callbacks::new().on_open(move |ws, _| open.send(ws.id()).unwrap())
    });
    let mut reactor = Reactor::new().unwrap();
    let addr = reactor
        .listen(
            "127.0.0.1:0",
            server.configure(|config| config.websocket.stream.output.limit_bytes = usize::MAX).ping_after(None),
        )
        .unwrap()
        .addr;
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(REQUEST).unwrap();
    let id = loop {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
        if let Ok(id) = opened.try_recv() {
            break id;
        }
    };

    // The loop does not run now: the queue takes commands up to its capacity.
    let remote = reactor.remote();
    let refusals = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let (remote, refusals) = (remote.clone(), Arc::clone(&refusals));
            thread::spawn(move || {
                for number in 0..sends {
                    let message = (u64::from(number) << 8 | sender as u64).to_be_bytes();
                    while remote.send(id, message.to_vec()) == Err(RemoteError::Full) {
                        refusals.fetch_add(1, Ordering::Relaxed);
                        thread::sleep(Duration::from_micros(100));
                    }
                }
            })
        })
        .collect();
    let began = Instant::now();
    let exceeds = sends as usize * SENDERS > capacity;
    while exceeds && refusals.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(60), "the queue is bounded");
        thread::sleep(Duration::from_millis(10));
    }

    let reader = thread::spawn(move || {
        let mut frames = BufReader::with_capacity(1 << 20, stream);
        frames.read_exact(&mut [0; RESPONSE]).unwrap();
        let mut next = [0; SENDERS];
        while next.iter().sum::<u64>() < u64::from(sends) * SENDERS as u64 {
            let mut frame = [0; 10];
            frames.read_exact(&mut frame).unwrap();
            let word = u64::from_be_bytes(frame[2..].try_into().unwrap());
            let (number, sender) = (word >> 8, (word & 0xff) as usize);
            assert_eq!(number, next[sender], "sender {sender}");
            next[sender] += 1;
        }
    });
    let delays = Rc::new(RefCell::new(Vec::new()));
    let (log, mut due) = (Rc::clone(&delays), Instant::now() + TICK);
    reactor.hub().add_periodic_timer(TICK, move |_| {
        log.borrow_mut().push(Instant::now().saturating_duration_since(due));
        due = Instant::now() + TICK;
    });
    while !reader.is_finished() {
        reactor.turn(Some(Duration::from_millis(10))).unwrap();
    }
    reader.join().unwrap();
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let refused = refusals.load(Ordering::Relaxed);
    assert!(refused > 0 || !exceeds);
    let mut delays = delays.borrow_mut();
    delays.sort_unstable();
    println!(
        "{SENDERS} threads, {sends} messages each, in {:?}; queue full {refused} times; delay of {} ticks of {TICK:?}: {:?} (99th percentile), {:?} (longest)",
        began.elapsed(),
        delays.len(),
        delays.get(delays.len() * 99 / 100),
        delays.last(),
    );
}
