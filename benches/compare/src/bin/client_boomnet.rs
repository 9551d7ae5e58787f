//! A client on boomnet, with its plain streams, which never wait. It does not check UTF-8, and masks with zeros, as the
//! library does.

use std::{
    io::{Read, Write},
    sync::Arc,
};

use boomnet::{
    stream::{
        ConnectionInfo, ReadHint,
        buffer::{BufferedStream, IntoBufferedStream},
        tls::IntoTlsStream,
    },
    ws::{IntoWebsocket, Websocket, WebsocketFrame},
};
use boomnet_rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work},
    refuse,
};

/// Longest request with its header. The default of the library, 1024, is too short for one of 1024 bytes.
const OUTPUT_BYTES: usize = 16 * 1024;

type Socket<S> = Websocket<BufferedStream<S, OUTPUT_BYTES>>;

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_deflate("boomnet does not compress");
    if options.work == Work::Paced && !options.busy {
        refuse("boomnet does not wait");
    }
    let connect = || ConnectionInfo::new(&options.host, options.port).into_tcp_stream();
    let Some(ca) = &options.ca else {
        return run(&options, || Ok(connect()?.into_buffered_stream().into_websocket(&options.path)));
    };
    let config = tls_config(ca)?;
    run(&options, || {
        let stream = connect()?.into_tls_stream_with_config(|tls| *tls.as_rustls_mut() = config.clone())?;
        Ok(stream.into_buffered_stream().into_websocket(&options.path))
    })
}

/// The certificates of the feeder, for the old rustls of the library.
fn tls_config(ca: &str) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca)?)?;
    Ok(ClientConfig::builder().with_root_certificates(Arc::new(roots)).with_no_client_auth())
}

fn run<S>(options: &ClientOptions, connect: impl Fn() -> Result<Socket<S>, Failure>) -> Result<(), Failure>
where
    S: Read + Write + ReadHint,
{
    let mut meter = Meter::new(options);
    if options.work == Work::Connects {
        loop {
            open_and_close(connect()?)?;
            if !meter.connected() {
                break;
            }
        }
    } else {
        exchange(connect()?, &mut meter)?;
    }
    meter.report();
    Ok(())
}

fn exchange<S: Read + Write + ReadHint>(mut socket: Socket<S>, meter: &mut Meter) -> Result<(), Failure> {
    if meter.sends_first() {
        // Kept until the end of the handshake.
        send(&mut socket, meter)?;
    }
    loop {
        let mut next = Next::Receive;
        for frame in socket.read_batch()? {
            if let WebsocketFrame::Text(_, text) = frame? {
                next = meter.message(text);
                if next == Next::Stop {
                    return Ok(());
                }
            }
        }
        if next == Next::Send {
            send(&mut socket, meter)?;
        }
    }
}

fn send<S: Read + Write + ReadHint>(socket: &mut Socket<S>, meter: &mut Meter) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        socket.send_text(true, Some(meter.request().as_bytes()))?;
    }
    Ok(())
}

/// Sends a close frame. The library reads nothing after it, so that rustls never writes it.
fn open_and_close<S: Read + Write + ReadHint>(mut socket: Socket<S>) -> Result<(), Failure> {
    while !socket.handshake_complete() {
        if let Some(frame) = socket.receive_next() {
            frame?;
        }
    }
    Ok(socket.send_close()?)
}
