//! A client on tokio-tungstenite.

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Stream, TokioClient},
};
use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, Utf8Bytes},
};

struct Tungstenite;

impl TokioClient for Tungstenite {
    type Socket<S: Stream> = WebSocketStream<S>;

    async fn open<S: Stream>(&self, stream: S, options: &ClientOptions) -> Result<WebSocketStream<S>, Failure> {
        Ok(client_async(&options.url, stream).await?.0)
    }

    async fn exchange<S: Stream>(socket: &mut WebSocketStream<S>, meter: &mut Meter) -> Result<(), Failure> {
        // The bytes are shared, not copied, until they are masked.
        let request = Utf8Bytes::from(meter.request());
        if meter.sends_first() {
            send(socket, meter, &request).await?;
        }
        while let Some(message) = socket.next().await {
            let Message::Text(text) = message? else { continue };
            match meter.message(text.as_bytes()) {
                Next::Receive => {}
                Next::Send => send(socket, meter, &request).await?,
                Next::Stop => return Ok(()),
            }
        }
        Err("EOF".into())
    }

    async fn close<S: Stream>(mut socket: WebSocketStream<S>) -> Result<(), Failure> {
        socket.close(None).await?;
        while let Some(message) = socket.next().await {
            message?;
        }
        Ok(())
    }
}

async fn send<S: Stream>(
    socket: &mut WebSocketStream<S>,
    meter: &mut Meter,
    request: &Utf8Bytes,
) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        meter.request();
        socket.feed(Message::Text(request.clone())).await?;
    }
    Ok(socket.flush().await?)
}

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_deflate("tokio-tungstenite does not compress");
    Tungstenite.run(&options)
}
