//! A client on yawc, with its default options: it does not check UTF-8, and its buffers are of 8 KiB. With 128 KiB, as
//! in the benchmark of the library, a feed takes about a third less time. It inflates with zlib-rs, because another
//! program here enables that feature of flate2; on its own it uses miniz_oxide.

use bytes::Bytes;
use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Stream, TokioClient},
};
use futures_util::SinkExt;
use yawc::{Frame, OpCode, Options, WebSocket};

struct Yawc;

impl TokioClient for Yawc {
    type Socket<S: Stream> = WebSocket<S>;

    /// Performs the handshake of the library, by hyper, whose task ends with it.
    async fn open<S: Stream>(&self, stream: S, options: &ClientOptions) -> Result<WebSocket<S>, Failure> {
        let settings = match options.deflate {
            true => Options::default().with_balanced_compression(),
            false => Options::default(),
        };
        Ok(WebSocket::handshake(options.url.parse()?, stream, settings).await?)
    }

    async fn exchange<S: Stream>(socket: &mut WebSocket<S>, meter: &mut Meter) -> Result<(), Failure> {
        // The bytes are shared, not copied, until they are masked.
        let request = Bytes::from(meter.request().to_owned());
        if meter.sends_first() {
            send(socket, meter, &request).await?;
        }
        loop {
            let frame = socket.next_frame().await?;
            if frame.opcode() != OpCode::Text {
                continue;
            }
            match meter.message(frame.payload()) {
                Next::Receive => {}
                Next::Send => send(socket, meter, &request).await?,
                Next::Stop => return Ok(()),
            }
        }
    }

    /// Sends a close frame. The library does not wait for that of the peer.
    async fn close<S: Stream>(mut socket: WebSocket<S>) -> Result<(), Failure> {
        Ok(SinkExt::close(&mut socket).await?)
    }
}

async fn send<S: Stream>(socket: &mut WebSocket<S>, meter: &mut Meter, request: &Bytes) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        meter.request();
        socket.feed(Frame::text(request.clone())).await?;
    }
    Ok(socket.flush().await?)
}

fn main() -> Result<(), Failure> {
    Yawc.run(&ClientOptions::read())
}
