//! Servers for the test suites of Engine.IO and Socket.IO.
//!
//!     cargo run --release --features socket-io --example socket_io_conformance -- [--listen ADDR] SUITE [--redis URL]
//!         [--adapter ADAPTER]
//!
//! | SUITE | what it serves | suite |
//! |---|---|---|
//! | `engine-protocol` | Engine.IO that sends each message back | `test-suite` of github.com/socketio/engine.io-protocol |
//! | `socket-protocol` | Socket.IO with `/` and `/custom` | `test-suite` of github.com/socketio/socket.io-protocol |
//! | `engine-client` | Engine.IO for the tests of `engine.io-client` | `packages/engine.io-client` of github.com/socketio/socket.io |
//! | `socket-client` | Socket.IO for the tests of `socket.io-client` | `packages/socket.io-client` of github.com/socketio/socket.io |
//! | `abuse` | Socket.IO with each operation as an event | `tests/interop/socket_io` here |
//! | `msgpack` | as `socket-protocol`, in MessagePack (built with `socket-io-msgpack`) | `tests/interop/socket_io` here |
//! | `fan-out` | Socket.IO that emits `message` to all for each `broadcast` | `benches/socket_io` here |

#[path = "../arguments/mod.rs"]
mod arguments;

mod abuse;
mod engine_client;
mod protocols;
mod socket_client;

use std::{error::Error, process::ExitCode};

use ws_reactor::{Reactor, Routes, Server, socket_io::SocketIo};

fn main() -> ExitCode {
    arguments::log();
    let options = [
        ("--suite SUITE", "engine-protocol, socket-protocol, engine-client, socket-client, abuse or fan-out"),
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:3000]"),
        (
            "--redis URL",
            "Join other servers: redis://… (suites abuse and fan-out, built with socket-io-redis) [default: none]",
        ),
        ("--adapter ADAPTER", "How they are joined: pub-sub, sharded or streams [default: pub-sub]"),
    ];
    let arguments = arguments::Arguments::read("Servers for the test suites of Engine.IO and Socket.IO", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let mut reactor = Reactor::new()?;
    let routes = match &*arguments.get("--suite", String::new()) {
        "engine-protocol" => protocols::engine(Routes::new()),
        "socket-protocol" => protocols::socket().mount(Routes::new()),
        "engine-client" => engine_client::mount(Routes::new()),
        "socket-client" => socket_client::server().mount(Routes::new()),
        "abuse" => abuse(arguments, &mut reactor)?.mount(Routes::new()),
        #[cfg(feature = "socket-io-msgpack")]
        "msgpack" => protocols::socket().msgpack().mount(Routes::new()),
        "fan-out" => join(arguments, &mut reactor, protocols::fan_out())?.mount(Routes::new()),
        "" => arguments.refuse("which SUITE?"),
        other => arguments.refuse(format!("there is no SUITE {other:?}")),
    };
    let address = arguments.get("--listen", "127.0.0.1:3000".to_owned());
    let listening = reactor.listen(address, Server::routes(routes)?)?;
    eprintln!("listening on http://{}", listening.addr);
    reactor.run()?;
    Ok(())
}

fn abuse(arguments: &arguments::Arguments, reactor: &mut Reactor) -> Result<SocketIo, Box<dyn Error>> {
    let is_alone = arguments.all("--redis").is_empty();
    let recovers = is_alone || adapter(arguments) == "streams";
    abuse::server(|io| {
        let io = join(arguments, reactor, io)?;
        Ok(if recovers { abuse::recovering(io) } else { io })
    })
}

fn adapter(arguments: &arguments::Arguments) -> String {
    arguments.get("--adapter", "pub-sub".to_owned())
}

/// Joins the server with others, if there is a Redis.
#[cfg(feature = "socket-io-redis")]
fn join(arguments: &arguments::Arguments, reactor: &mut Reactor, io: SocketIo) -> Result<SocketIo, Box<dyn Error>> {
    use ws_reactor::{
        Redis,
        socket_io::{RedisAdapter, RedisStreamsAdapter, ShardedRedisAdapter},
    };

    let Some(url) = arguments.all("--redis").pop() else { return Ok(io) };
    let (redis, hub) = (Redis::new(url)?, reactor.hub());
    Ok(match &*adapter(arguments) {
        "pub-sub" => io.adapter(RedisAdapter::new(redis).start(hub)),
        "sharded" => io.adapter(ShardedRedisAdapter::new(redis).start(hub)),
        "streams" => io.adapter(RedisStreamsAdapter::new(redis).start(hub)),
        other => arguments.refuse(format!("there is no ADAPTER {other:?}")),
    })
}

#[cfg(not(feature = "socket-io-redis"))]
fn join(arguments: &arguments::Arguments, _: &mut Reactor, io: SocketIo) -> Result<SocketIo, Box<dyn Error>> {
    match arguments.all("--redis").pop() {
        Some(_) => arguments.refuse("--redis needs the feature socket-io-redis"),
        None => Ok(io),
    }
}
