//! A client on nexus-web, on blocking sockets, with its own TLS: rustls on aws-lc-rs.

use std::net::TcpStream;

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work},
};
use nexus_web::{
    MaybeTls,
    tls::TlsConfig,
    ws::{Client, CloseCode, Message},
};
use tokio_rustls::rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};

type Socket = Client<MaybeTls<TcpStream>>;

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    options.refuse_deflate("nexus-web does not compress");
    options.refuse_busy_connects("the handshakes are on blocking sockets");
    let tls = match &options.ca {
        Some(ca) => Some(tls_config(ca)?),
        None => None,
    };
    let mut meter = Meter::new(&options);
    if options.work == Work::Connects {
        loop {
            close(open(&options, tls.as_ref())?)?;
            if !meter.connected() {
                break;
            }
        }
    } else {
        let mut socket = open(&options, tls.as_ref())?;
        match socket.stream() {
            MaybeTls::Plain(stream) => stream.set_nonblocking(options.busy)?,
            MaybeTls::Tls(stream) => stream.stream().set_nonblocking(options.busy)?,
        }
        exchange(&mut socket, &mut meter, options.busy)?;
    }
    meter.report();
    Ok(())
}

fn tls_config(ca: &str) -> Result<TlsConfig, Failure> {
    // The other clients use ring, so that rustls has two providers.
    aws_lc_rs::default_provider().install_default().expect("no provider was installed");
    let roots = TlsConfig::builder().skip_system_certs().add_root_cert(CertificateDer::from_pem_file(ca)?);
    Ok(roots.build()?)
}

fn open(options: &ClientOptions, tls: Option<&TlsConfig>) -> Result<Socket, Failure> {
    let mut builder = Client::builder().disable_nagle();
    if let Some(tls) = tls {
        builder = builder.tls(tls);
    }
    Ok(builder.connect(&options.url)?)
}

fn exchange(socket: &mut Socket, meter: &mut Meter, busy: bool) -> Result<(), Failure> {
    if meter.sends_first() {
        send(socket, meter)?;
    }
    loop {
        let next = match socket.recv()? {
            Some(Message::Text(text)) => meter.message(text.as_bytes()),
            Some(_) => Next::Receive,
            // The library does not tell an empty socket from EOF.
            None if busy => Next::Receive,
            None => return Err("EOF".into()),
        };
        match next {
            Next::Receive => {}
            Next::Send => send(socket, meter)?,
            Next::Stop => return Ok(()),
        }
    }
}

/// Each message is a call of the system: the library has no other way.
fn send(socket: &mut Socket, meter: &mut Meter) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        socket.send_text(meter.request())?;
    }
    Ok(())
}

fn close(mut socket: Socket) -> Result<(), Failure> {
    socket.close(CloseCode::Normal, "")?;
    while let Some(message) = socket.recv()? {
        if matches!(message, Message::Close(_)) {
            break;
        }
    }
    Ok(())
}
