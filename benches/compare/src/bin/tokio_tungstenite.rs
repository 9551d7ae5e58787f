//! tokio-tungstenite with one thread, plain or over tokio-rustls.
//!
//!     tokio_tungstenite [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--broadcast]

use std::rc::Rc;

use compare::{Failure, LONGEST_MESSAGE, Options, Peer, Room, serve};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream, accept_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_http();
    options.refuse_deflate("tokio-tungstenite does not compress");
    serve(&options, Tungstenite { room: options.broadcast.then(Room::new) })
}

struct Tungstenite {
    room: Option<Rc<Room<Message>>>,
}

impl Peer for Tungstenite {
    async fn serve<S>(&self, stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let longest = Some(LONGEST_MESSAGE);
        let config = WebSocketConfig::default().max_message_size(longest).max_frame_size(longest);
        let socket = accept_async_with_config(stream, Some(config)).await?;
        match &self.room {
            Some(room) => broadcast(socket, room).await,
            None => echo(socket).await,
        }
    }
}

async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) -> Result<(), Failure> {
    loop {
        let next = match socket.next().now_or_never() {
            Some(next) => next,
            // All received messages are echoed: write the echoes at once, then wait for more.
            None => {
                socket.flush().await?;
                socket.next().await
            }
        };
        match next {
            Some(message) => {
                let message = message?;
                if message.is_text() || message.is_binary() {
                    socket.feed(message).await?;
                }
            }
            None => return Ok(()),
        }
    }
}

/// Does not split the stream, because the halves would share a lock.
async fn broadcast<S>(mut socket: WebSocketStream<S>, room: &Rc<Room<Message>>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (membership, mut receiver) = room.join();
    loop {
        tokio::select! {
            next = socket.next() => match next {
                Some(message) => {
                    let message = message?;
                    if message.is_text() || message.is_binary() {
                        membership.broadcast(&message);
                    }
                }
                None => return Ok(()),
            },
            Some(message) = receiver.recv() => {
                socket.feed(message).await?;
                while let Ok(message) = receiver.try_recv() {
                    socket.feed(message).await?;
                }
                socket.flush().await?;
            }
        }
    }
}
