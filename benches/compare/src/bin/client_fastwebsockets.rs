//! A client on fastwebsockets.

use bytes::Bytes;
use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Stream, TokioClient},
};
use fastwebsockets::{FragmentCollector, Frame, OpCode, Payload, handshake};
use http_body_util::Empty;
use hyper::{
    Request,
    header::{CONNECTION, HOST, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE},
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};

struct FastWebSockets;

impl TokioClient for FastWebSockets {
    type Socket<S: Stream> = FragmentCollector<TokioIo<Upgraded>>;

    /// Performs the handshake of the library, by hyper, whose task ends with it.
    async fn open<S: Stream>(&self, stream: S, options: &ClientOptions) -> Result<Self::Socket<S>, Failure> {
        let request = Request::get(&options.path)
            .header(HOST, format!("{}:{}", options.host, options.port))
            .header(UPGRADE, "websocket")
            .header(CONNECTION, "upgrade")
            .header(SEC_WEBSOCKET_KEY, handshake::generate_key())
            .header(SEC_WEBSOCKET_VERSION, "13")
            .body(Empty::<Bytes>::new())?;
        let (socket, _) = handshake::client(&TokioExecutor::new(), request, stream).await?;
        Ok(FragmentCollector::new(socket))
    }

    async fn exchange<S: Stream>(socket: &mut Self::Socket<S>, meter: &mut Meter) -> Result<(), Failure> {
        // Masked in place.
        let mut output = Vec::new();
        if meter.sends_first() {
            send(socket, meter, &mut output).await?;
        }
        loop {
            let frame = socket.read_frame().await?;
            if frame.opcode != OpCode::Text {
                continue;
            }
            match meter.message(&frame.payload) {
                Next::Receive => {}
                Next::Send => send(socket, meter, &mut output).await?,
                Next::Stop => return Ok(()),
            }
        }
    }

    async fn close<S: Stream>(mut socket: Self::Socket<S>) -> Result<(), Failure> {
        socket.write_frame(Frame::close(1000, b"")).await?;
        while socket.read_frame().await?.opcode != OpCode::Close {}
        Ok(())
    }
}

/// Each message is a call of the system: the library has no other way.
async fn send(
    socket: &mut FragmentCollector<TokioIo<Upgraded>>,
    meter: &mut Meter,
    output: &mut Vec<u8>,
) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        output.clear();
        output.extend_from_slice(meter.request().as_bytes());
        socket.write_frame(Frame::text(Payload::BorrowedMut(output))).await?;
    }
    Ok(())
}

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_deflate("fastwebsockets does not compress");
    FastWebSockets.run(&options)
}
