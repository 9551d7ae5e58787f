//! Options of real sockets, as an application sees them.

use ws_reactor::{Bind, SocketOptions};

use super::*;

/// Options that the system refuses.
fn refused() -> SocketOptions {
    SocketOptions::new().keepalive(Some(Duration::from_secs(100_000)))
}

/// Connects with these options. Returns the events of the client.
fn events(options: SocketOptions) -> Vec<String> {
    let mut reactor = Reactor::new().unwrap();
    let who = Server::new(|_| {
        Callbacks::new().on_open(|ws, _| {
            let peer = ws.peer_addr().ip().expect("TCP").to_string();
            ws.send(&*peer);
        })
    });
    let addr = reactor.listen("127.0.0.1:0", who).unwrap().addr;
    let log = Log::default();
    let (message, error) = (Rc::clone(&log), Rc::clone(&log));
    let handler = Callbacks::new()
        .on_message(move |ws, text| {
            message.borrow_mut().push(text.to_string());
            ws.close(CloseCode::NORMAL, "");
        })
        .on_error(move |_, cause| error.borrow_mut().push(format!("{cause:#}")))
        .on_close(|ws, _| ws.hub().stop());
    reactor.connect(&format!("ws://{addr}"), Client::new(handler).socket(options)).unwrap();
    reactor.run().unwrap();
    drain(&log)
}

#[test]
fn server_sees_the_address_that_the_client_connects_from() {
    let local = SocketOptions::new().local_addr(Some("127.0.0.7:0".parse().unwrap()));
    assert_eq!(events(local), ["127.0.0.7"]);
}

#[test]
fn option_that_the_system_refuses_fails_the_connection_or_the_listener_and_is_named() {
    let errors = events(refused());
    assert!(errors.len() == 1 && errors[0].contains("SO_KEEPALIVE: "), "{errors:?}");
    let bind = Bind::to("127.0.0.1:0").socket(refused());
    let error = Reactor::new().unwrap().listen(bind, echo()).unwrap_err();
    assert!(format!("{error:#}").contains("SO_KEEPALIVE: "), "{error:#}");
}

#[test]
fn lenient_options_leave_out_what_the_system_refuses() {
    assert_eq!(events(refused().lenient(true)), ["127.0.0.1"]);
    let bind = Bind::to("127.0.0.1:0").socket(refused().lenient(true));
    Reactor::new().unwrap().listen(bind, echo()).unwrap();
}
