//! The servers and clients that run in the namespaces. Each prints a line when it is ready, or its result.

use std::{
    cell::RefCell,
    net::TcpStream,
    process,
    rc::Rc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use ws_reactor::{Bind, Callbacks, Client, Handler, Hub, OutputLimits, Reactor, Server, SocketOptions, WebSocket};

use crate::{Failure, link::FAR};

const PORT: u16 = 7001;
const BULK_PORT: u16 = 7002;

/// Time of a measurement.
const MEASURED: Duration = Duration::from_secs(4);

/// Time in which a peer that does not read is given bytes.
const FILLED: Duration = Duration::from_secs(1);

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub(crate) fn play(role: &str) -> Result<(), Failure> {
    let options = SocketOptions::new();
    match role.split(' ').collect::<Vec<_>>()[..] {
        ["serve", "pairs"] => serve(PORT, options, pairs),
        ["serve", "lazy-pairs"] => serve(PORT, options.nodelay(false), pairs),
        ["serve", "quotes", bytes] => serve(PORT, options.unsent_bytes(bytes.parse()?), quotes),
        ["serve", "steady"] => serve(PORT, options, |ws| every(ws, Duration::from_micros(200))),
        ["serve", "beside-bulk", option] => serve_beside_bulk(option),
        ["serve", "sink"] => serve(PORT, options, |_| ()),
        ["serve", "held", buffer, unsent] => {
            serve_held(options.send_buffer_bytes(buffer.parse().ok()).unsent_bytes(unsent.parse()?))
        }
        ["serve", "two-listeners", option] => serve_by_two_listeners(option == "cpus"),
        ["read", "default"] => read(options, &[PORT], false),
        ["read", "answering"] => read(options, &[PORT], true),
        ["read", "answering-quickack"] => read(options.quickack(true), &[PORT], true),
        ["read", "poll"] => read(options.busy_poll(Some(Duration::from_micros(50))), &[PORT], false),
        ["read", "beside-bulk"] => read(options, &[BULK_PORT, PORT], false),
        ["pause", bytes] => pause(options.receive_buffer_bytes(bytes.parse().ok())),
        ["wait", manner] => wait_for_end(manner),
        ["connect", count] => connect(count.parse()?),
        _ => Err(format!("{role} is not a role").into()),
    }
}

/// Serves a single kind of connection, until this process is killed.
fn serve(port: u16, options: SocketOptions, open: fn(&mut WebSocket<'_>)) -> Result<(), Failure> {
    let mut reactor = Reactor::new()?;
    listen(&mut reactor, port, options, open)?;
    println!("ready");
    Ok(reactor.run()?)
}

fn listen(
    reactor: &mut Reactor,
    port: u16,
    options: SocketOptions,
    open: fn(&mut WebSocket<'_>),
) -> Result<(), Failure> {
    let server = Server::new(move |_| Callbacks::new().on_open(move |ws, _| open(ws))).ping_after(None);
    reactor.listen(Bind::to(format!("0.0.0.0:{port}")).socket(options), server)?;
    Ok(())
}

/// Two messages, 5 ms apart, ten times a second.
fn pairs(ws: &mut WebSocket<'_>) {
    let id = ws.id();
    ws.hub().add_periodic_timer(Duration::from_millis(100), move |hub| {
        hub.send(id, "first");
        hub.add_timer(Duration::from_millis(5), move |hub| _ = hub.send(id, timestamp(0)));
    });
}

/// 10,000 quotes of 1 KiB a second. The newest of ten symbols wait.
fn quotes(ws: &mut WebSocket<'_>) {
    let id = ws.id();
    ws.hub().add_periodic_timer(Duration::from_millis(1), move |hub| {
        for symbol in ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J"] {
            hub.send_latest(id, symbol, timestamp(KIB));
        }
    });
}

fn every(ws: &mut WebSocket<'_>, interval: Duration) {
    let id = ws.id();
    ws.hub().add_periodic_timer(interval, move |hub| _ = hub.send(id, timestamp(0)));
}

fn serve_beside_bulk(option: &str) -> Result<(), Failure> {
    let options = match option {
        "priority" => SocketOptions::new().priority(Some(6)),
        "service" => SocketOptions::new().type_of_service(Some(0x10)),
        _ => SocketOptions::new(),
    };
    let mut reactor = Reactor::new()?;
    listen(&mut reactor, PORT, options, |ws| every(ws, Duration::from_millis(10)))?;
    let bulk = Server::new(|_| {
        let fill = |ws: &mut WebSocket<'_>| _ = ws.send(vec![0; MIB]);
        Callbacks::new().on_open(move |ws, _| fill(ws)).on_drain(fill)
    });
    reactor.listen(format!("0.0.0.0:{BULK_PORT}"), bulk)?;
    println!("ready");
    Ok(reactor.run()?)
}

/// Sends to a client that does not read. Prints how much the system has taken.
fn serve_held(options: SocketOptions) -> Result<(), Failure> {
    const OFFERED: usize = 64;
    let mut reactor = Reactor::new()?;
    let server = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            (0..OFFERED).for_each(|_| _ = ws.send(vec![0; MIB]));
            let id = ws.id();
            ws.hub().add_timer(FILLED, move |hub| {
                println!("{} KiB", (OFFERED * MIB - hub.buffered(id)) / KIB);
            });
        })
    })
    .configure(|config| config.websocket.stream.output = OutputLimits::new().limit_bytes(usize::MAX));
    reactor.listen(Bind::to(format!("0.0.0.0:{PORT}")).socket(options), server)?;
    println!("ready");
    Ok(reactor.run()?)
}

/// Serves one port by two reactors. Prints how many connections each has accepted, when all have come.
fn serve_by_two_listeners(by_cpu: bool) -> Result<(), Failure> {
    let reactors = [0, 1].map(|cpu| {
        thread::spawn(move || {
            let options = SocketOptions::new().incoming_cpu(by_cpu.then_some(cpu));
            let mut reactor = Reactor::new().expect("a reactor");
            let server = Server::new(|_| Callbacks::new());
            let bind = Bind::to(format!("127.0.0.1:{PORT}")).reuse_port(true).socket(options);
            reactor.listen(bind, server).expect("a listener");
            reactor.hub().add_timer(MEASURED, Hub::stop);
            reactor.run().expect("the reactor runs");
            reactor.hub().stats().accepted
        })
    });
    thread::sleep(Duration::from_millis(200));
    println!("ready");
    let [first, second] = reactors.map(|reactor| reactor.join().expect("a reactor ended"));
    println!("{first}, {second}");
    Ok(())
}

/// Opens connections, one after the other.
fn connect(count: usize) -> Result<(), Failure> {
    let connections: Vec<TcpStream> =
        (0..count).map(|_| TcpStream::connect(("127.0.0.1", PORT))).collect::<Result<_, _>>()?;
    println!("{} connections", connections.len());
    thread::sleep(MEASURED);
    Ok(())
}

/// Reads from all ports, and answers messages that have a time if `answers` is set: Linux delays acknowledgements only
/// on connections on which both sides talk. Prints how old those messages are.
fn read(options: SocketOptions, ports: &[u16], answers: bool) -> Result<(), Failure> {
    let mut reactor = Reactor::new()?;
    let ages = Rc::new(RefCell::new(Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?));
    for port in ports {
        let ages = Rc::clone(&ages);
        let handler = Callbacks::new().on_message(move |ws, message| {
            if let Some(age) = message.as_text().and_then(age) {
                ages.borrow_mut().saturating_record(age.as_micros() as u64);
                if answers {
                    ws.send("thanks");
                }
            }
        });
        reactor.connect(&format!("ws://{FAR}:{port}/"), client(handler, options.clone()))?;
    }
    reactor.hub().add_timer(MEASURED, Hub::stop);
    reactor.run()?;
    let ages = ages.borrow();
    let millis = |quantile| ages.value_at_quantile(quantile) as f64 / 1e3;
    println!("{} messages, p50 {:.3} ms, p99 {:.3} ms", ages.len(), millis(0.5), millis(0.99));
    Ok(())
}

/// Opens a connection, and does not read.
fn pause(options: SocketOptions) -> Result<(), Failure> {
    let mut reactor = Reactor::new()?;
    let handler = Callbacks::new().on_open(|ws, _| ws.pause());
    reactor.connect(&format!("ws://{FAR}:{PORT}/"), client(handler, options))?;
    Ok(reactor.run()?)
}

/// Prints a line when the connection is open, and the reason when it has ended.
fn wait_for_end(manner: &str) -> Result<(), Failure> {
    let second = Duration::from_secs(1);
    let options = match manner {
        "talking-timeout" => SocketOptions::new().user_timeout(Some(2 * second)),
        "silent-keepalive" => {
            let options = SocketOptions::new().keepalive(Some(second));
            options.keepalive_interval(Some(second)).keepalive_retries(Some(3))
        }
        _ => SocketOptions::new(),
    };
    let talks = manner.starts_with("talking");
    let handler = Callbacks::new()
        .on_open(move |ws, _| {
            println!("open");
            if talks {
                every(ws, Duration::from_millis(100));
            }
        })
        .on_close(|_, reason| {
            println!("{reason}");
            process::exit(0);
        });
    let mut client = client(handler, options);
    if manner == "silent-pings" {
        client = client.ping_after(Some(second)).configure(|config| config.websocket.pong_timeout = 2 * second);
    }
    let mut reactor = Reactor::new()?;
    reactor.connect(&format!("ws://{FAR}:{PORT}/"), client)?;
    Ok(reactor.run()?)
}

fn client(handler: impl Handler + 'static, options: SocketOptions) -> Client {
    Client::new(handler).socket(options).ping_after(None)
}

/// A text that begins with the time.
fn timestamp(bytes: usize) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    format!("{:<bytes$}", format!("{:020}", now.as_nanos()))
}

fn age(text: &str) -> Option<Duration> {
    let sent = Duration::from_nanos(text.get(..20)?.parse().ok()?);
    Some(SystemTime::now().duration_since(UNIX_EPOCH).ok()?.saturating_sub(sent))
}
