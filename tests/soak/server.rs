//! The server: an echo that also publishes numbered ticks to all clients.

use std::{path::Path, time::Duration};

use ws_reactor::{Callbacks, Reactor, Server};

/// Interval of the ticks.
const TICK_INTERVAL: Duration = Duration::from_millis(200);

fn echo() -> Server {
    Server::new(|_| {
        Callbacks::new()
            .on_open(|ws, _| {
                ws.subscribe("ticks");
            })
            .on_message(|ws, message| {
                ws.send(message);
            })
    })
}

/// Prints the addresses it listens on, writes its certificate to `folder`, and serves until the process is killed.
pub(crate) fn serve(folder: &Path) {
    let mut reactor = Reactor::new().unwrap();
    println!("{}", reactor.listen("127.0.0.1:0", echo()).unwrap().addr);
    #[cfg(feature = "tls")]
    {
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.join("cert.pem"), certificate.cert.pem()).unwrap();
        let tls = ws_reactor::TlsConfig::from_pem(
            certificate.cert.pem().as_bytes(),
            certificate.signing_key.serialize_pem().as_bytes(),
        );
        println!("{}", reactor.listen("127.0.0.1:0", echo().tls(tls.unwrap())).unwrap().addr);
    }
    #[cfg(not(feature = "tls"))]
    {
        let _ = folder;
        println!();
    }
    let mut number = 0_u64;
    reactor.hub().add_periodic_timer(TICK_INTERVAL, move |hub| {
        number += 1;
        hub.publish("ticks", format!("tick {number}").as_str());
    });
    reactor.run().unwrap();
}
