//! An echo on wtx and tokio, one thread, with permessage-deflate. Contexts are never taken over: wtx does not offer that.
//!
//!     wtx [--listen ADDR] [--level 0-9]

use std::{collections::HashMap, env, error::Error};

use tokio::net::TcpListener;
use wtx::{
    collection::Vector,
    web_socket::{
        OpCode, WebSocketAcceptor, WebSocketPayloadOrigin,
        compression::{CompressionLevel, DeflateConfig, Flate2, WindowBits},
    },
};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = env::args().skip(1).collect();
    let options: HashMap<&str, &str> = words.chunks(2).filter(|pair| pair.len() == 2).map(|pair| (&*pair[0], &*pair[1])).collect();
    let listen = options.get("--listen").copied().unwrap_or("127.0.0.1:0");
    let level = options.get("--level").map_or(Ok(5), |level| level.parse::<u8>())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(listen, CompressionLevel::try_from(level)?))
}

async fn serve(listen: &str, compression_level: CompressionLevel) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen).await?;
    eprintln!("listening on ws://{}", listener.local_addr()?);
    let (client_max_window_bits, server_max_window_bits) = (WindowBits::Fifteen, WindowBits::Fifteen);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let config = DeflateConfig { client_max_window_bits, compression_level, server_max_window_bits };
        tokio::task::spawn_local(async move {
            let accepted = WebSocketAcceptor::default().compression(Flate2::from(config)).accept(stream).await;
            let mut socket = accepted?;
            let mut buffer = Vector::new();
            let (mut common, mut reader, mut writer) = socket.split_mut();
            loop {
                let mut frame = reader.read_frame(&mut buffer, &mut common, WebSocketPayloadOrigin::Adaptive).await?;
                match frame.op_code() {
                    OpCode::Text | OpCode::Binary => writer.write_frame(&mut common, &mut frame).await?,
                    OpCode::Close => return Ok::<(), wtx::Error>(()),
                    _ => {}
                }
            }
        });
    }
}
