//! sockudo-ws on tokio with one thread, plain or over tokio-rustls, with permessage-deflate.
//!
//!     sockudo_ws [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--deflate | --deflate-shared] [--deflate-level 0-9]
//!                [--broadcast]

use bytes::BytesMut;
use compare::{Deflate, Failure, LONGEST_MESSAGE, Options, Peer, serve};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sockudo_ws::{
    Compression, Config, Message, WebSocketStream,
    deflate::{DeflateConfig, negotiate_server_deflate},
    handshake::{build_response, generate_accept_key, parse_request},
    protocol::Role,
    pubsub::{PubSub, SubscriberId},
    stream::CompressedWebSocketStream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc::unbounded_channel,
};

const TOPIC: &str = "all";

fn main() -> Result<(), Failure> {
    let options = Options::read();
    options.refuse_http();
    // Without pings and idle timeouts, like the other servers, so that messages do not need the clock.
    let config = Config::builder().max_payload_length(LONGEST_MESSAGE).max_frame_size(LONGEST_MESSAGE);
    let config = config.auto_ping(false).idle_timeout(0).build();
    let compression = options.deflate.map_or(Compression::Disabled, |deflate| match deflate {
        Deflate::Dedicated => Compression::Dedicated,
        Deflate::Shared => Compression::Shared,
    });
    let mut deflate = compression.to_deflate_config();
    if let (Some(deflate), Some(level)) = (&mut deflate, options.deflate_level) {
        deflate.compression_level = level.into();
    }
    let topics = options.broadcast.then(PubSub::new);
    serve(&options, Sockudo { config, deflate, topics })
}

struct Sockudo {
    config: Config,
    deflate: Option<DeflateConfig>,
    topics: Option<PubSub>,
}

impl Peer for Sockudo {
    async fn serve<S>(&self, mut stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The handshake is done here, because the server of the library does not negotiate extensions.
        let mut head = BytesMut::with_capacity(4096);
        let (deflate, consumed) = loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
            if let Some((request, consumed)) = parse_request(&head)? {
                let policy = self.deflate.as_ref().zip(request.extensions);
                let deflate = policy.and_then(|(policy, offers)| negotiate_server_deflate(offers, policy));
                let extensions = deflate.as_ref().map(|deflate| deflate.to_response_header());
                let response = build_response(&generate_accept_key(request.key), None, extensions.as_deref());
                stream.write_all(&response).await?;
                stream.flush().await?;
                break (deflate, consumed);
            }
        };
        let rest = Some(head.split_off(consumed).freeze());
        let config = self.config.clone();
        match deflate {
            Some(deflate) => {
                self.serve_messages(CompressedWebSocketStream::server_with_leftover(
                    stream,
                    config,
                    deflate.config,
                    rest,
                ))
                .await
            }
            None => {
                self.serve_messages(WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, rest)).await
            }
        }
    }
}

impl Sockudo {
    async fn serve_messages<S>(&self, mut socket: S) -> Result<(), Failure>
    where
        S: Stream<Item = sockudo_ws::Result<Message>> + Sink<Message, Error = sockudo_ws::Error> + Unpin,
    {
        if let Some(topics) = &self.topics {
            return broadcast(socket, topics).await;
        }
        while let Some(message) = socket.next().await {
            match message? {
                // Fed messages are written before the socket waits for more input.
                message @ (Message::Text(_) | Message::Binary(_)) => socket.feed(message).await?,
                Message::Close(_) => break,
                _ => {}
            }
        }
        Ok(())
    }
}

async fn broadcast<S>(mut socket: S, topics: &PubSub) -> Result<(), Failure>
where
    S: Stream<Item = sockudo_ws::Result<Message>> + Sink<Message, Error = sockudo_ws::Error> + Unpin,
{
    let (sender, mut receiver) = unbounded_channel();
    let subscriber = Subscriber { topics, id: topics.create_subscriber(sender) };
    topics.subscribe(subscriber.id, TOPIC);
    loop {
        tokio::select! {
            next = socket.next() => match next {
                Some(message) => match message? {
                    message @ (Message::Text(_) | Message::Binary(_)) => drop(topics.publish(TOPIC, message)),
                    Message::Close(_) => return Ok(()),
                    _ => {}
                },
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

/// Unsubscribes when it is dropped.
struct Subscriber<'topics> {
    topics: &'topics PubSub,
    id: SubscriberId,
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        self.topics.remove_subscriber(self.id);
    }
}
