//! The crate ws, on mio and one thread.
//!
//!     ws_rs [--listen ADDR] [--broadcast]

use compare::{Failure, LONGEST_MESSAGE, Options};
use ws::{Builder, Handler, Message, Sender, ServerConfig};

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_tls("ws does TLS by OpenSSL only, with a context to be made for each connection");
    options.refuse_deflate("ws compresses by a C library of its own only");
    let settings = ServerConfig {
        max_connections: 20_000,
        max_fragment_size: LONGEST_MESSAGE,
        // A message leaves as one frame.
        fragment_size: LONGEST_MESSAGE,
        // Buffers grow by what they begin with, which makes long messages slow if that is little.
        in_buffer_capacity: 64 * 1024,
        out_buffer_capacity: 64 * 1024,
        tcp_nodelay: true,
        panic_on_internal: false,
        ..ServerConfig::default()
    };
    let broadcast = options.broadcast;
    let server = Builder::new().with_settings(settings).build(|sender| Speaker { sender, broadcast })?;
    let server = server.bind(options.listen)?;
    eprintln!("listening on ws://{}", server.local_addr()?);
    server.run()?;
    Ok(())
}

struct Speaker {
    sender: Sender,
    broadcast: bool,
}

impl Handler for Speaker {
    fn on_message(&mut self, message: Message) -> ws::Result<()> {
        if self.broadcast { self.sender.broadcast(message) } else { self.sender.send(message) }
    }
}
