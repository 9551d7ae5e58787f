//! Clients on tokio: one runtime of one thread, and TLS by tokio-rustls.
//!
//! With `--busy` the socket does not block, and the messages are received outside of the runtime, by a loop that polls
//! the future of the client without end.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    net::{Shutdown, TcpStream},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream as TokioStream,
    runtime,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{crypto::ring, pki_types::ServerName},
};

use super::{ClientOptions, Meter, Work, tls_config};
use crate::Failure;

/// Stream of a client, plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A client on tokio that is generic over the stream.
pub trait TokioClient {
    type Socket<S: Stream>;

    /// Performs the opening handshake.
    fn open<S: Stream>(
        &self,
        stream: S,
        options: &ClientOptions,
    ) -> impl Future<Output = Result<Self::Socket<S>, Failure>>;

    /// Receives messages and sends requests until the meter stops.
    fn exchange<S: Stream>(
        socket: &mut Self::Socket<S>,
        meter: &mut Meter,
    ) -> impl Future<Output = Result<(), Failure>>;

    /// Performs the closing handshake.
    fn close<S: Stream>(socket: Self::Socket<S>) -> impl Future<Output = Result<(), Failure>>;

    /// Does the work of the options, and prints the result.
    fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        options.refuse_busy_connects("tokio opens connections, and waits");
        let name = ServerName::try_from(options.host.clone())?;
        let tls = match &options.ca {
            Some(ca) => Some(TlsConnector::from(Arc::new(tls_config(ca, ring::default_provider())?))),
            None => None,
        };
        match (tls, options.busy) {
            (None, false) => drive(self, options, async || connect(options).await),
            (None, true) => drive(self, options, async || Spinning::connect(options)),
            (Some(tls), false) => {
                drive(self, options, async || Ok(tls.connect(name.clone(), connect(options).await?).await?))
            }
            (Some(tls), true) => {
                drive(self, options, async || Ok(tls.connect(name.clone(), Spinning::connect(options)?).await?))
            }
        }
    }
}

async fn connect(options: &ClientOptions) -> Result<TokioStream, Failure> {
    let stream = TokioStream::connect((&*options.host, options.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn drive<Client, S>(
    client: &Client,
    options: &ClientOptions,
    connect: impl AsyncFn() -> Result<S, Failure>,
) -> Result<(), Failure>
where
    Client: TokioClient + ?Sized,
    S: Stream,
{
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut meter = Meter::new(options);
    let open = async || client.open(connect().await?, options).await;
    if options.work == Work::Connects {
        runtime.block_on(async {
            loop {
                Client::close(open().await?).await?;
                if !meter.connected() {
                    return Ok::<_, Failure>(());
                }
            }
        })?;
    } else {
        let mut socket = runtime.block_on(open())?;
        let exchange = Client::exchange(&mut socket, &mut meter);
        match options.busy {
            true => spin(exchange)?,
            false => runtime.block_on(exchange)?,
        }
    }
    meter.report();
    Ok(())
}

/// Polls a future until it is ready.
fn spin<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}

/// A socket that does not block, and that no driver watches: the future that uses it is polled again at once.
struct Spinning(TcpStream);

impl Spinning {
    fn connect(options: &ClientOptions) -> Result<Self, Failure> {
        let stream = options.connect()?;
        stream.set_nonblocking(true)?;
        Ok(Self(stream))
    }
}

impl AsyncRead for Spinning {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Clears the buffers of fastwebsockets and yawc, 8 KiB, at each call: tens of nanoseconds. The others are
        // initialized.
        polled((&self.0).read(buffer.initialize_unfilled()), cx).map_ok(|length| buffer.advance(length))
    }
}

impl AsyncWrite for Spinning {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        polled((&self.0).write(bytes), cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        polled((&self.0).write_vectored(slices), cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}

fn polled(done: io::Result<usize>, cx: &Context<'_>) -> Poll<io::Result<usize>> {
    match done {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            // The handshakes run on tokio.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        done => Poll::Ready(done),
    }
}
