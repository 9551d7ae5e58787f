//! fastwebsockets on tokio with one thread, plain or over tokio-rustls.
//!
//!     fastwebsockets [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--broadcast]

use std::rc::Rc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use compare::{Failure, LONGEST_MESSAGE, Options, Peer, Room, serve};
use fastwebsockets::{
    FragmentCollector, FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError,
};
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, split},
    sync::Mutex,
    task::spawn_local,
};

type Message = (OpCode, Bytes);

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_http();
    options.refuse_deflate("fastwebsockets does not compress");
    serve(&options, FastWebSockets { room: options.broadcast.then(Room::new) })
}

struct FastWebSockets {
    room: Option<Rc<Room<Message>>>,
}

impl Peer for FastWebSockets {
    async fn serve<S>(&self, mut stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The handshake is done here, because the upgrade of the library requires hyper.
        handshake(&mut stream).await?;
        let mut socket = WebSocket::after_handshake(stream, Role::Server);
        // The limit is exclusive.
        socket.set_max_message_size(LONGEST_MESSAGE + 1);
        match &self.room {
            Some(room) => broadcast(socket, room).await,
            None => echo(socket).await,
        }
    }
}

async fn handshake(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<(), Failure> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            return Err("EOF within the request".into());
        }
    }
    let head = String::from_utf8(head)?;
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let key =
        fields.find(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Key")).ok_or("no Sec-WebSocket-Key")?.1.trim();
    let accept = STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await?;
    stream.flush().await?;
    Ok(())
}

async fn echo(socket: WebSocket<impl AsyncRead + AsyncWrite + Unpin>) -> Result<(), Failure> {
    let mut socket = FragmentCollector::new(socket);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}

async fn broadcast<S>(socket: WebSocket<S>, room: &Rc<Room<Message>>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (membership, mut receiver) = room.join();
    let (reader, writer) = socket.split(|stream| {
        let (reader, writer) = split(stream);
        (reader, BufWriter::new(writer))
    });
    let mut reader = FragmentCollectorRead::new(reader);
    let writer = Rc::new(Mutex::new(writer));
    let replier = writer.clone();
    // Ends when the membership is dropped, because that drops the sender.
    spawn_local(async move {
        while let Some(message) = receiver.recv().await {
            let mut writer = writer.lock().await;
            let mut next = Some(message);
            while let Some((opcode, payload)) = next {
                writer.write_frame(Frame::new(true, opcode, None, Payload::Borrowed(&payload))).await?;
                next = receiver.try_recv().ok();
            }
            writer.flush().await?;
        }
        Ok::<(), WebSocketError>(())
    });
    let mut reply = async |frame| {
        let mut writer = replier.lock().await;
        writer.write_frame(frame).await?;
        writer.flush().await
    };
    loop {
        let frame = reader.read_frame::<_, WebSocketError>(&mut reply).await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let payload = match frame.payload {
                    Payload::Bytes(payload) => payload.freeze(),
                    payload => Bytes::copy_from_slice(&payload),
                };
                membership.broadcast(&(frame.opcode, payload));
            }
            _ => {}
        }
    }
}
