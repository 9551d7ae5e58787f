//! Decoding in memory: a block of frames with text of 128 bytes, as a client receives them.
//!
//!     decode ws-reactor|nexus-web [BLOCKS]
//!
//! Prints nanoseconds per message; under `valgrind --tool=callgrind` the difference between two numbers of blocks gives
//! the instructions.

use std::{env, hint::black_box, time::Instant};

use compare::{Failure, refuse};
use nexus_web::ws::{FrameReader, Message, Role};
use ws_reactor::{
    MessageLimits, Version,
    protocol::{Incoming, MessageDecoder},
};

const MESSAGES: usize = 400;
const BYTES: usize = 128;

fn main() -> Result<(), Failure> {
    let mut words = env::args().skip(1);
    let library = words.next().unwrap_or_default();
    let blocks: usize = words.next().map_or(Ok(10_000), |word| word.parse())?;
    let mut block = [&[0x81, 126, 0, BYTES as u8][..], &[b'x'; BYTES]].concat().repeat(MESSAGES);
    let began = Instant::now();
    let mut bytes = 0;
    match &*library {
        "ws-reactor" => {
            let mut decoder = MessageDecoder::client(Version::Rfc6455, MessageLimits::default());
            for _ in 0..blocks {
                let mut at = 0;
                while let (used, Some(incoming)) = decoder.decode(&mut block[at..])? {
                    at += used;
                    if let Incoming::Message(message) = incoming {
                        bytes += black_box(message).len();
                    }
                }
            }
        }
        "nexus-web" => {
            let mut reader = FrameReader::builder().role(Role::Client).buffer_capacity(64 * 1024).build();
            for _ in 0..blocks {
                reader.read(&block)?;
                while let Some(message) = reader.next()? {
                    if let Message::Text(text) = black_box(message) {
                        bytes += text.len();
                    }
                }
            }
        }
        _ => refuse("the library is ws-reactor or nexus-web"),
    }
    let messages = blocks * MESSAGES;
    assert_eq!(bytes, messages * BYTES, "messages are missing");
    println!("{library}: {:.1} ns per message", began.elapsed().as_nanos() as f64 / messages as f64);
    Ok(())
}
