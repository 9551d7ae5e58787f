//! HTTP on the port of a server: connections, routes, bodies, files.

mod bodies;
mod codings;
mod connections;
mod cors;
mod differential;
mod events;
mod files;
mod polls;
mod regressions;
mod routes;
mod smuggling;
mod streams;
mod uploads;

use ws_reactor::{Routes, Server, TestSocket};

/// A server with these routes.
fn serving(routes: Routes) -> Server {
    Server::routes(routes).unwrap()
}

/// Everything received since the last call, without the dates.
fn received(socket: &mut TestSocket) -> String {
    without_dates(&String::from_utf8(socket.received_bytes()).unwrap())
}

fn without_dates(text: &str) -> String {
    let lines = text.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

/// The response to a request of one connection, without its date.
fn response(routes: Routes, request: &str) -> String {
    received(&mut TestSocket::request(serving(routes), request))
}

/// Status and body of the response to a request.
fn answer(routes: Routes, request: &str) -> (u16, String) {
    let response = response(routes, request);
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or((&response, ""));
    (head[9..12].parse().unwrap(), body.to_owned())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

/// The contents of chunks, and whether the last of them is that of the body.
fn chunk_contents(mut chunks: &str) -> (String, bool) {
    let (mut contents, mut is_over) = (String::new(), false);
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        contents.push_str(&rest[..size]);
        assert_eq!((&rest[size..size + 2], is_over), ("\r\n", false));
        (chunks, is_over) = (&rest[size + 2..], size == 0);
    }
    assert_eq!(chunks, "", "a chunk is incomplete");
    (contents, is_over)
}

/// The content of a complete chunked body.
fn dechunked(body: &str) -> String {
    let (content, is_over) = chunk_contents(body);
    assert!(is_over, "the last chunk is missing");
    content
}
