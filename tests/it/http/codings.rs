//! Codings of content: what a client accepts, and compressed responses.

use ws_reactor::{Reply, Routes};

use super::answer;

fn accepts(header: &str) -> String {
    let routes = Routes::new().get("/", |request, _| Reply::from(request.accepts_coding("gzip").to_string()));
    answer(routes, &format!("GET / HTTP/1.1\r\nHost: test\r\n{header}\r\n")).1
}

#[test]
fn coding_is_accepted_by_its_name_or_by_a_star_and_not_with_a_weight_of_zero() {
    for header in ["gzip", "deflate, GZIP;q=0.5", "*", "br, *;q=0.1", "gzip; q=1.0, *;q=0"] {
        assert_eq!(accepts(&format!("Accept-Encoding: {header}\r\n")), "true", "{header}");
    }
    for header in ["", "br", "gzip;q=0", "gzip; q=0.000, *", "*;q=0", "x-gzip"] {
        assert_eq!(accepts(&format!("Accept-Encoding: {header}\r\n")), "false", "{header}");
    }
    assert_eq!(accepts(""), "false");
    assert_eq!(accepts("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n"), "true");
}

#[cfg(feature = "deflate")]
mod compressed {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use ws_reactor::{
        Reply, Routes, TestSocket,
        http::{HeaderValue, StatusCode, header},
    };

    use super::super::serving;

    /// The head and the body of the response to a client that accepts gzip, if `accepts`.
    fn exchange(reply: impl Fn() -> Reply + 'static, accepts: bool) -> (String, Vec<u8>) {
        let routes = Routes::new().get("/", move |request, _| reply().gzip(request));
        let accepts = if accepts { "Accept-Encoding: gzip\r\n" } else { "" };
        let request = format!("GET / HTTP/1.1\r\nHost: test\r\n{accepts}\r\n");
        let bytes = TestSocket::request(serving(routes), request).received_bytes();
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response") + 4;
        (String::from_utf8_lossy(&bytes[..end]).into_owned(), bytes[end..].to_vec())
    }

    #[test]
    fn response_is_compressed_for_a_client_that_accepts_it() {
        let text = "a line\n".repeat(1000);
        let own = text.clone();
        let (head, body) = exchange(move || Reply::from(own.clone()), true);
        assert!(head.contains("Content-Encoding: gzip\r\n") && head.contains("Vary: Accept-Encoding\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let mut inflated = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut inflated).unwrap();
        assert_eq!(inflated, text);
        let own = text.clone();
        let (head, body) = exchange(move || Reply::from(own.clone()), false);
        assert!(!head.contains("Content-Encoding") && head.contains("Vary: Accept-Encoding\r\n"), "{head}");
        assert_eq!(body, text.as_bytes());
    }

    #[test]
    fn response_that_is_coded_partial_or_empty_stays_as_it_is() {
        let coded = || Reply::from("text").header(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
        let partial = || Reply::from("text").with_status(StatusCode::PARTIAL_CONTENT);
        for reply in [&coded as &dyn Fn() -> Reply, &partial, &|| Reply::empty(StatusCode::OK)] {
            let reply = reply();
            let reply = std::cell::Cell::new(Some(reply));
            let (head, _) = exchange(move || reply.take().unwrap(), true);
            assert!(!head.contains("Content-Encoding: gzip"), "{head}");
        }
        let tagged = || Reply::from("text").header(header::ETAG, HeaderValue::from_static("\"x\""));
        let (head, _) = exchange(tagged, true);
        assert!(head.contains("ETag: W/\"x\"\r\n"), "{head}");
    }
}
