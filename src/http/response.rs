//! Responses, formatted by hand: no `Date`, no `Server`, header names in the case that old clients expect.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

/// A response with a line of text as `text/plain`.
pub(crate) fn text(status: StatusCode, text: &str) -> Response<Vec<u8>> {
    with_body(status, "text/plain; charset=utf-8", format!("{text}\n"))
}

/// A response with a status, and its reason phrase as text.
pub(crate) fn status(status: StatusCode) -> Response<Vec<u8>> {
    text(status, status.canonical_reason().unwrap_or_default())
}

/// A response with a body.
pub(crate) fn with_body(status: StatusCode, content_type: &'static str, body: String) -> Response<Vec<u8>> {
    let mut response = Response::new(body.into_bytes());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Appends a whole response, with its length and `Connection: close`.
///
/// A status without a body has no length (RFC 9110 §8.6). The response to `HEAD` has the length and no body (§9.3.2).
pub(crate) fn write(response: &Response<Vec<u8>>, to: &Method, out: &mut Vec<u8>) {
    let status = response.status();
    write_status(status, out);
    for (name, value) in response.headers() {
        if !matches!(*name, header::CONTENT_LENGTH | header::CONNECTION | header::TRANSFER_ENCODING) {
            write_header(name, value.as_bytes(), out);
        }
    }
    // `Upgrade` must also be listed in `Connection` (RFC 9110 §7.8).
    let connection: &[u8] = if response.headers().contains_key(header::UPGRADE) { b"Upgrade, close" } else { b"close" };
    write_header(&header::CONNECTION, connection, out);
    let has_body = has_body(status);
    if has_body {
        write_content_length(response.body().len() as u64, out);
    }
    out.extend_from_slice(b"\r\n");
    if has_body && to != Method::HEAD {
        out.extend_from_slice(response.body());
    }
}

/// Returns `true` if a response with this status has a body, be it empty (RFC 9112 §6.3).
pub(crate) fn has_body(status: StatusCode) -> bool {
    !(status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))
}

/// Appends the status line.
pub(crate) fn write_status(status: StatusCode, out: &mut Vec<u8>) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Appends every header of `headers`.
pub(crate) fn write_headers(headers: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in headers {
        write_header(name, value.as_bytes(), out);
    }
}

/// Some words of registered field names that are not spelled in `Title-Case` (IANA, HTTP Field Name Registry).
const SPELLINGS: [(&str, &str); 5] =
    [("etag", "ETag"), ("md5", "MD5"), ("te", "TE"), ("websocket", "WebSocket"), ("www", "WWW")];

/// Appends a header line with the usual spelling of its name: some peers compare names in that case.
pub(crate) fn write_header(name: &HeaderName, value: &[u8], out: &mut Vec<u8>) {
    for (index, word) in name.as_str().split('-').enumerate() {
        if index > 0 {
            out.push(b'-');
        }
        match SPELLINGS.iter().find(|(known, _)| *known == word) {
            Some((_, spelling)) => out.extend_from_slice(spelling.as_bytes()),
            None => {
                let start = out.len();
                out.extend_from_slice(word.as_bytes());
                out[start..].iter_mut().take(1).for_each(u8::make_ascii_uppercase);
            }
        }
    }
    finish_line(value, out);
}

/// Appends the length of a body.
pub(crate) fn write_content_length(length: u64, out: &mut Vec<u8>) {
    let (mut digits, mut start, mut rest) = ([0; 20], 20, length);
    loop {
        start -= 1;
        digits[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    write_line("Content-Length", &digits[start..], out);
}

/// Appends a header line with its name as given.
pub(crate) fn write_line(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    finish_line(value, out);
}

fn finish_line(value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response<Vec<u8>>) -> String {
        let mut out = Vec::new();
        write(response, &Method::GET, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn response_has_its_content_length_and_connection_close() {
        let response = Response::builder()
            .status(404)
            .header("x-why", "gone")
            .header("www-authenticate", "Basic")
            .body(b"no such page".to_vec())
            .unwrap();
        let expected = "HTTP/1.1 404 Not Found\r\nX-Why: gone\r\nWWW-Authenticate: Basic\r\nConnection: close\r\n\
                        Content-Length: 12\r\n\r\nno such page";
        assert_eq!(written(&response), expected);
    }

    #[test]
    fn length_is_written_in_decimal() {
        for length in [0, 9, 10, 1_000_000, u64::MAX] {
            let mut out = Vec::new();
            write_content_length(length, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("Content-Length: {length}\r\n"));
        }
    }

    #[test]
    fn response_to_head_has_the_content_length_and_no_body() {
        let (response, mut out) = (Response::new(b"a page".to_vec()), Vec::new());
        write(&response, &Method::HEAD, &mut out);
        assert_eq!(out, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n");
    }

    #[test]
    fn content_length_and_connection_headers_of_the_application_are_replaced() {
        let response = Response::builder()
            .header("content-length", "7")
            .header("connection", "keep-alive")
            .body(Vec::new())
            .unwrap();
        assert_eq!(written(&response), "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }

    #[test]
    fn response_with_status_204_has_no_body_and_no_content_length() {
        let response = Response::builder().status(204).body(b"ignored".to_vec()).unwrap();
        assert_eq!(written(&response), "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}
