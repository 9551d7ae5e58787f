//! The crate ws on mio with one thread.
//!
//!     ws_rs [--listen ADDR] [--broadcast]

use compare::{Failure, LONGEST_MESSAGE, Options};
use ws::{Builder, Handler, Message, Sender, Settings};

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_http();
    options.refuse_tls("ws supports TLS only with OpenSSL, and needs a new context for each connection");
    options.refuse_deflate("ws supports compression only with its own C library");
    let settings = Settings {
        max_connections: 20_000,
        max_fragment_size: LONGEST_MESSAGE,
        // A message is sent as one frame.
        fragment_size: LONGEST_MESSAGE,
        // Buffers grow by their initial capacity, so a small one makes long messages slow.
        in_buffer_capacity: 64 * 1024,
        out_buffer_capacity: 64 * 1024,
        tcp_nodelay: true,
        panic_on_internal: false,
        ..Settings::default()
    };
    let broadcast = options.broadcast;
    let server = Builder::new().with_settings(settings).build(|sender| Echo { sender, broadcast })?;
    let server = server.bind(options.listen)?;
    eprintln!("listening on ws://{}", server.local_addr()?);
    server.run()?;
    Ok(())
}

struct Echo {
    sender: Sender,
    broadcast: bool,
}

impl Handler for Echo {
    fn on_message(&mut self, message: Message) -> ws::Result<()> {
        if self.broadcast { self.sender.broadcast(message) } else { self.sender.send(message) }
    }
}
