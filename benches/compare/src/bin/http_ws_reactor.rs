//! HTTP by ws-reactor.
//!
//!     http_ws_reactor --http [--listen ADDR]

use compare::{Failure, HTTP_BODY, Options};
use ws_reactor::{
    Reactor, Reply, Routes, Server,
    http::{HeaderValue, header},
};

fn main() -> Result<(), Failure> {
    let options = Options::read_http();
    let routes = Routes::new().get("/", |_, _| {
        Reply::bytes(&HTTP_BODY[..]).header(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))
    });
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(options.listen, Server::routes(routes)?)?;
    eprintln!("listening on http://{}", listening.addr);
    Ok(reactor.run()?)
}
