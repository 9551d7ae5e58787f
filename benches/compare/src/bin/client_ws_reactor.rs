//! A client on ws-reactor.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work, tls_config},
    refuse,
};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use ws_reactor::{
    Client, CloseCode, CloseReason, DeflateConfig, Handler, Handshake, Message, PanicPolicy, Reactor, ReactorConfig,
    TlsClientConfig, TlsConnector, WebSocket,
};

struct Measured {
    meter: Rc<RefCell<Meter>>,
    stopped: bool,
}

impl Measured {
    fn after(&mut self, next: Next, ws: &mut WebSocket<'_>) {
        match next {
            Next::Receive => {}
            Next::Send => {
                let mut meter = self.meter.borrow_mut();
                (0..meter.burst()).for_each(|_| _ = ws.send(meter.request()));
            }
            Next::Stop => {
                self.stopped = true;
                ws.hub().stop();
            }
        }
    }
}

impl Handler for Measured {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        if self.meter.borrow().sends_first() {
            self.after(Next::Send, ws);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let next = self.meter.borrow_mut().message(message.as_bytes());
        self.after(next, ws);
    }

    fn on_close(&mut self, _: &mut WebSocket<'_>, reason: &CloseReason) {
        assert!(self.stopped, "the connection ended: {reason}");
    }
}

/// Closes each connection, and opens the next.
struct Connects {
    opener: Rc<Opener>,
    meter: Rc<RefCell<Meter>>,
}

impl Handler for Connects {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.close(CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, reason: &CloseReason) {
        assert!(reason.clean, "the connection failed: {reason}");
        if !self.meter.borrow_mut().connected() {
            return ws.hub().stop();
        }
        let next = Connects { opener: Rc::clone(&self.opener), meter: Rc::clone(&self.meter) };
        ws.hub().connect(&self.opener.options.url, self.opener.client(next)).expect("the feeder is on this machine");
    }
}

/// What all connections share.
struct Opener {
    options: ClientOptions,
    tls: Option<TlsConnector>,
}

impl Opener {
    fn client(&self, handler: impl Handler + 'static) -> Client {
        let mut client = Client::new(handler);
        if let Some(tls) = &self.tls {
            client = client.tls(tls.clone());
        }
        if self.options.deflate {
            client = client.deflate(DeflateConfig::default());
        }
        client
    }
}

fn main() -> Result<(), Failure> {
    let options = ClientOptions::read();
    let tls = match &options.ca {
        Some(ca) if options.aws_lc_rs => Some(Arc::new(tls_config(ca, aws_lc_rs::default_provider())?).into()),
        Some(ca) => Some(TlsClientConfig::trusting_pem_file(ca)?.into()),
        None if options.aws_lc_rs => refuse("only TLS uses aws-lc-rs"),
        None => None,
    };
    let opener = Rc::new(Opener { options, tls });
    let options = &opener.options;
    let meter = Rc::new(RefCell::new(Meter::new(options)));
    // A failed assertion ends the process.
    let config = ReactorConfig::new().panic_policy(PanicPolicy::Abort);
    let busy_poll = if options.busy { Duration::MAX } else { Duration::ZERO };
    let mut reactor = Reactor::with_config(config.busy_poll(busy_poll))?;
    let first = match options.work {
        Work::Connects => opener.client(Connects { opener: Rc::clone(&opener), meter: Rc::clone(&meter) }),
        _ => opener.client(Measured { meter: Rc::clone(&meter), stopped: false }),
    };
    reactor.connect(&options.url, first)?;
    reactor.run()?;
    meter.borrow().report();
    Ok(())
}
