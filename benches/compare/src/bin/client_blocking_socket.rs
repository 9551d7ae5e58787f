//! A client on ws-reactor's `BlockingSocket`.

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work},
};
use ws_reactor::{BlockingSocket, CloseCode, DeflateConfig, TlsClientConfig, TlsConnector};

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    if options.busy {
        compare::refuse("BlockingSocket waits");
    }
    let tls = match &options.ca {
        Some(ca) => Some(TlsConnector::from(TlsClientConfig::trusting_pem_file(ca)?)),
        None => None,
    };
    let open = || {
        BlockingSocket::connect_with(&options.url, |mut client| {
            if let Some(tls) = &tls {
                client = client.tls(tls.clone());
            }
            if options.deflate { client.deflate(DeflateConfig::default()) } else { client }
        })
    };
    let mut meter = Meter::new(&options);
    match options.work {
        Work::Connects => {
            while {
                open()?.close(CloseCode::NORMAL, "")?;
                meter.connected()
            } {}
        }
        _ => exchange(open()?, &mut meter)?,
    }
    meter.report();
    Ok(())
}

fn exchange(mut socket: BlockingSocket, meter: &mut Meter) -> Result<(), Failure> {
    if meter.sends_first() {
        send(&mut socket, meter)?;
    }
    loop {
        match meter.message(socket.receive()?.as_message().as_bytes()) {
            Next::Receive => {}
            Next::Send => send(&mut socket, meter)?,
            Next::Stop => return Ok(()),
        }
    }
}

fn send(socket: &mut BlockingSocket, meter: &mut Meter) -> Result<(), Failure> {
    for _ in 0..meter.burst() {
        socket.send(meter.request())?;
    }
    Ok(())
}
