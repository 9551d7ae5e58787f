//! HTTP/1.1 on the port of a server.

mod differential;
mod smuggling;
