//! A client on ws-reactor.

use std::{cell::RefCell, rc::Rc, time::Duration};

use compare::{
    Failure,
    client::{ClientOptions, Meter, Next, Work},
};
use ws_reactor::{
    Client, CloseCode, CloseReason, DeflateConfig, Handler, Handshake, Message, Reactor, ReactorConfig, TlsClientConfig,
    WebSocket,
};

struct Measured(Rc<RefCell<Meter>>);

impl Measured {
    fn after(&self, next: Next, ws: &mut WebSocket<'_>) {
        match next {
            Next::Receive => {}
            Next::Send => _ = ws.send(self.0.borrow_mut().request()),
            Next::Stop => ws.hub().stop(),
        }
    }
}

impl Handler for Measured {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        if self.0.borrow().sends_first() {
            self.after(Next::Send, ws);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let next = self.0.borrow_mut().message(message.as_bytes());
        self.after(next, ws);
    }
}

/// Closes each connection, and opens the next.
struct Connects {
    options: Rc<ClientOptions>,
    meter: Rc<RefCell<Meter>>,
}

impl Handler for Connects {
    fn on_open(&mut self, ws: &mut WebSocket<'_>, _: &Handshake) {
        ws.close(CloseCode::NORMAL, "");
    }

    fn on_close(&mut self, ws: &mut WebSocket<'_>, _: &CloseReason) {
        let next = Connects { options: Rc::clone(&self.options), meter: Rc::clone(&self.meter) };
        let opened = match self.meter.borrow_mut().connected() {
            true => client(&self.options, next).and_then(|client| Ok(ws.hub().connect(&self.options.url, client)?)),
            false => return ws.hub().stop(),
        };
        opened.expect("the feeder is on this machine");
    }
}

fn client(options: &ClientOptions, handler: impl Handler + 'static) -> Result<Client, Failure> {
    let mut client = Client::new(handler);
    if let Some(ca) = &options.ca {
        client = client.tls(TlsClientConfig::trusting_pem_file(ca)?);
    }
    if options.deflate {
        client = client.deflate(DeflateConfig::default());
    }
    Ok(client)
}

fn main() -> Result<(), Failure> {
    let options = Rc::new(ClientOptions::read());
    let meter = Rc::new(RefCell::new(Meter::new(&options)));
    let busy_poll = if options.busy { Duration::MAX } else { Duration::ZERO };
    let mut reactor = Reactor::with_config(ReactorConfig::new().busy_poll(busy_poll))?;
    let opened = match options.work {
        Work::Connects => client(&options, Connects { options: Rc::clone(&options), meter: Rc::clone(&meter) })?,
        _ => client(&options, Measured(Rc::clone(&meter)))?,
    };
    reactor.connect(&options.url, opened)?;
    reactor.run()?;
    meter.borrow().report();
    Ok(())
}
