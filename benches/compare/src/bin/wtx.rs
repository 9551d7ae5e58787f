//! wtx on tokio with one thread, with permessage-deflate. The library does not support context takeover, so `--deflate`
//! and `--deflate-shared` are the same.
//!
//!     wtx [--listen ADDR] [--deflate | --deflate-shared] [--deflate-level 0-9] [--broadcast]

use std::rc::Rc;

use bytes::Bytes;
use compare::{Failure, LONGEST_MESSAGE, Options, Room, accept};
use tokio::{net::TcpStream, select, task::spawn_local};
use wtx::{
    collection::Vector,
    rng::Xorshift64,
    web_socket::{
        Compression, Frame, OpCode, WebSocketAcceptor, WebSocketOwned, WebSocketPartsOwned, WebSocketPayloadOrigin,
        compression::{CompressionLevel, DeflateConfig, Flate2, NegotiatedCompression, WindowBits},
    },
};

type Message = (OpCode, Bytes);

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_http();
    options.refuse_tls("wtx is measured without TLS");
    let room = options.broadcast.then(Room::new);
    if options.deflate.is_none() {
        return accept(options.listen, "ws", move |stream| serve(stream, (), room.clone()));
    }
    let (client_max_window_bits, server_max_window_bits) = (WindowBits::Fifteen, WindowBits::Fifteen);
    let compression_level = CompressionLevel::try_from(options.deflate_level.unwrap_or(5))?;
    let config = DeflateConfig { client_max_window_bits, compression_level, server_max_window_bits };
    accept(options.listen, "ws", move |stream| serve(stream, Flate2::from(config), room.clone()))
}

async fn serve<C>(stream: TcpStream, compression: C, room: Option<Rc<Room<Message>>>) -> Result<(), Failure>
where
    C: Compression<false>,
    C::NegotiatedCompression: Clone + 'static,
{
    let mut socket = WebSocketAcceptor::default().compression(compression).accept(stream).await?;
    // The limit is exclusive.
    socket.set_max_payload_len(LONGEST_MESSAGE + 1);
    match room {
        Some(room) => broadcast(socket, &room).await,
        None => echo(socket).await,
    }
}

async fn echo<C>(mut socket: WebSocketOwned<C, Xorshift64, TcpStream, false>) -> Result<(), Failure>
where
    C: NegotiatedCompression,
{
    let mut buffer = Vector::new();
    let (mut common, mut reader, mut writer) = socket.split_mut();
    loop {
        let mut frame = reader.read_frame(&mut buffer, &mut common, WebSocketPayloadOrigin::Adaptive).await?;
        match frame.op_code() {
            OpCode::Text | OpCode::Binary => writer.write_frame(&mut common, &mut frame).await?,
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}

async fn broadcast<C>(
    socket: WebSocketOwned<C, Xorshift64, TcpStream, false>,
    room: &Rc<Room<Message>>,
) -> Result<(), Failure>
where
    C: NegotiatedCompression + Clone + 'static,
{
    let (membership, mut receiver) = room.join();
    let WebSocketPartsOwned { mut reader, replier, mut writer } = socket.into_split(TcpStream::into_split)?;
    // Ends when the reader is dropped: `write_reply_frame` then returns true.
    spawn_local(async move {
        let mut payload = Vec::new();
        loop {
            select! {
                reply = replier.reply_frame() => {
                    if writer.write_reply_frame(&mut { reply }).await? {
                        return Ok::<(), wtx::Error>(());
                    }
                }
                Some((op_code, bytes)) = receiver.recv() => {
                    // A frame needs a mutable payload, even if it is not masked.
                    payload.clear();
                    payload.extend_from_slice(&bytes);
                    writer.write_frame(&mut Frame::new_fin(op_code, &mut *payload)).await?;
                }
            }
        }
    });
    let mut buffer = Vector::new();
    loop {
        let frame = reader.read_frame(&mut buffer, WebSocketPayloadOrigin::Adaptive).await?;
        match frame.op_code() {
            op_code @ (OpCode::Text | OpCode::Binary) => {
                membership.broadcast(&(op_code, Bytes::copy_from_slice(frame.payload())))
            }
            OpCode::Close => return Ok(()),
            _ => {}
        }
    }
}
