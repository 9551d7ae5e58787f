//! A client on tungstenite, on blocking sockets, with TLS by rustls.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work, tls_config},
};
use tokio_rustls::rustls::{ClientConnection, StreamOwned, crypto::ring, pki_types::ServerName};
use tungstenite::{Error, Message, Utf8Bytes, WebSocket, client};

trait Stream: Read + Write {
    fn tcp(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn tcp(&self) -> &TcpStream {
        &self.sock
    }
}

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_deflate("tungstenite does not compress");
    options.refuse_busy_connects("the handshakes are on blocking sockets");
    let Some(ca) = &options.ca else { return run(&options, || Ok(options.connect()?)) };
    let (config, name) =
        (Arc::new(tls_config(ca, ring::default_provider())?), ServerName::try_from(options.host.clone())?);
    run(&options, || {
        let connection = ClientConnection::new(Arc::clone(&config), name.clone())?;
        Ok(StreamOwned::new(connection, options.connect()?))
    })
}

fn run<S: Stream>(options: &ClientOptions, connect: impl Fn() -> Result<S, Failure>) -> Result<(), Failure> {
    let mut meter = Meter::new(options);
    let open = || Ok::<_, Failure>(client(&options.url, connect()?).map_err(|error| error.to_string())?.0);
    if options.work == Work::Connects {
        loop {
            close(open()?)?;
            if !meter.connected() {
                break;
            }
        }
    } else {
        let mut socket = open()?;
        socket.get_ref().tcp().set_nonblocking(options.busy)?;
        exchange(&mut socket, &mut meter)?;
    }
    meter.report();
    Ok(())
}

fn exchange<S: Stream>(socket: &mut WebSocket<S>, meter: &mut Meter) -> Result<(), Failure> {
    // The bytes are shared, not copied, until they are masked.
    let request = Utf8Bytes::from(meter.request());
    if meter.sends_first() {
        send(socket, meter, &request)?;
    }
    loop {
        let next = match socket.read() {
            Ok(Message::Text(text)) => meter.message(text.as_bytes()),
            Ok(_) => Next::Receive,
            // Only with `--busy`.
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => Next::Receive,
            Err(error) => return Err(error.into()),
        };
        match next {
            Next::Receive => {}
            Next::Send => send(socket, meter, &request)?,
            Next::Stop => return Ok(()),
        }
    }
}

fn send<S: Stream>(socket: &mut WebSocket<S>, meter: &mut Meter, request: &Utf8Bytes) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        meter.request();
        socket.write(Message::Text(request.clone()))?;
    }
    Ok(socket.flush()?)
}

fn close<S: Stream>(mut socket: WebSocket<S>) -> Result<(), Failure> {
    socket.close(None)?;
    loop {
        match socket.read() {
            Ok(_) => {}
            Err(Error::ConnectionClosed) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
