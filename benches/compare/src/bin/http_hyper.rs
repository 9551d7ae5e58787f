//! HTTP by hyper on tokio, one thread.
//!
//!     http_hyper --http [--listen ADDR]

use std::convert::Infallible;

use bytes::Bytes;
use compare::{Failure, HTTP_BODY, Options, accept};
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;

fn main() -> Result<(), Failure> {
    let options = Options::read_http();
    accept(options.listen, "http", |stream| async move {
        // Responses to pipelined requests leave together.
        let mut builder = http1::Builder::new();
        builder.pipeline_flush(true);
        Ok(builder.serve_connection(TokioIo::new(stream), service_fn(respond)).await?)
    })
}

async fn respond(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(&HTTP_BODY)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    Ok(response)
}
