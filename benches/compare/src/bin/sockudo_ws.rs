//! sockudo-ws on tokio and one thread, plain or over tokio-rustls, with permessage-deflate.
//!
//!     sockudo_ws [--listen ADDR] [--tls-cert FILE --tls-key FILE] [--deflate | --deflate-shared] [--deflate-level 0-9]
//!                [--broadcast]

use bytes::BytesMut;
use compare::{Deflate, Failure, LONGEST_MESSAGE, Options, Peer, serve};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use sockudo_ws::{
    Compression, ReactorConfig, Message, WebSocketStream,
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
    // No clock to be looked at for every message, as with the other servers.
    let config = ReactorConfig::builder().max_payload_length(LONGEST_MESSAGE).max_frame_size(LONGEST_MESSAGE);
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
    config: ReactorConfig,
    deflate: Option<DeflateConfig>,
    topics: Option<PubSub>,
}

impl Peer for Sockudo {
    async fn talk<S>(&self, mut stream: S) -> Result<(), Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // By hand, for the server of the library never negotiates an extension.
        let mut head = BytesMut::with_capacity(4096);
        let (deflate, consumed) = loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
            if let Some((request, consumed)) = parse_request(&head)? {
                let policy = self.deflate.as_ref().zip(request.extensions);
                let deflate = policy.and_then(|(policy, offers)| negotiate_server_deflate(offers, policy));
                let extensions = deflate.as_ref().map(|deflate| deflate.to_response_header());
                let answer = build_response(&generate_accept_key(request.key), None, extensions.as_deref());
                stream.write_all(&answer).await?;
                stream.flush().await?;
                break (deflate, consumed);
            }
        };
        let rest = Some(head.split_off(consumed).freeze());
        let config = self.config.clone();
        match deflate {
            Some(deflate) => {
                self.go_on(CompressedWebSocketStream::server_with_leftover(stream, config, deflate.config, rest)).await
            }
            None => self.go_on(WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, rest)).await,
        }
    }
}

impl Sockudo {
    async fn go_on<S>(&self, mut socket: S) -> Result<(), Failure>
    where
        S: Stream<Item = sockudo_ws::Result<Message>> + Sink<Message, Error = sockudo_ws::Error> + Unpin,
    {
        if let Some(topics) = &self.topics {
            return broadcast(socket, topics).await;
        }
        while let Some(message) = socket.next().await {
            match message? {
                // What is fed is written before the socket waits for more to read.
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
    let subscriber = Subscriber { topics, identity: topics.create_subscriber(sender) };
    topics.subscribe(subscriber.identity, TOPIC);
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

/// Leaves the topics when it is dropped, whatever the connection ended by.
struct Subscriber<'topics> {
    topics: &'topics PubSub,
    identity: SubscriberId,
}

impl Drop for Subscriber<'_> {
    fn drop(&mut self) {
        self.topics.remove_subscriber(self.identity);
    }
}
