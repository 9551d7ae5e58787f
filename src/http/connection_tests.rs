use super::*;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const LIMIT: u64 = 100;

/// An application that answers each request with its method, target and body.
struct Application {
    connection: HttpConnection,
    request: Option<Request<()>>,
    body: Vec<u8>,
    out: Vec<u8>,
    log: Vec<String>,
    next: Next,
}

impl Application {
    fn new() -> Self {
        Application {
            connection: HttpConnection::new(HeadLimits::default()),
            request: None,
            body: Vec::new(),
            out: Vec::new(),
            log: Vec::new(),
            next: Next::Request,
        }
    }

    /// Feeds input and returns what is left of it.
    fn feed<'i>(&mut self, mut input: &'i [u8]) -> Result<&'i [u8], RequestError> {
        loop {
            let (used, event) = self.connection.read(input)?;
            match event {
                Some(HttpEvent::Request(request)) => {
                    self.log.push(format!("{} {}", request.method(), request.uri()));
                    self.request = Some(request);
                    self.connection.want_body(LIMIT, &mut self.out)?;
                    if self.connection.step() == Step::Response {
                        self.answer();
                    }
                }
                Some(HttpEvent::Data(range)) => self.body.extend_from_slice(&input[range]),
                Some(HttpEvent::End) => self.answer(),
                None => return Ok(&input[used..]),
            }
            input = &input[used..];
        }
    }

    fn answer(&mut self) {
        let request = self.request.take().unwrap();
        let body = format!("{} {}", request.uri(), String::from_utf8_lossy(&std::mem::take(&mut self.body)));
        let length = BodyLength::Known(body.len() as u64);
        self.connection.begin_response(&Response::new(()), length, DATE, &mut self.out);
        if self.connection.takes_body() {
            self.connection.write_body(body.as_bytes(), &mut self.out);
        }
        self.next = self.connection.end_response(&mut self.out);
    }

    /// The bodies of all responses.
    fn bodies(&self) -> Vec<String> {
        let out = String::from_utf8_lossy(&self.out).into_owned();
        let responses = out.split("HTTP/1.1 200 OK\r\n").skip(1);
        responses.map(|response| response.split_once("\r\n\r\n").unwrap().1.to_owned()).collect()
    }
}

fn ask(bytes: &[u8]) -> Application {
    let mut application = Application::new();
    application.feed(bytes).unwrap();
    application
}

fn refused(bytes: &[u8]) -> RequestError {
    let whole = Application::new().feed(bytes).unwrap_err();
    let mut application = Application::new();
    let pieces = bytes.chunks(1).find_map(|piece| application.feed(piece).err());
    assert_eq!(pieces, Some(whole), "{}", bytes.escape_ascii());
    assert_eq!(application.connection.step(), Step::Ended);
    whole
}

const PIPELINE: &[u8] = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
    GET /2 HTTP/1.1\r\nHost: a\r\n\r\n\
    PUT /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n1;x\r\nf\r\n0\r\nA: b\r\n\r\n\
    HEAD /4 HTTP/1.1\r\nHost: a\r\n\r\n\
    GET http://a/5?q HTTP/1.1\r\nHost: a\r\n\r\n\
    OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn pipelined_requests_are_answered_in_order_whatever_the_pieces() {
    let whole = ask(PIPELINE);
    assert_eq!(whole.log, ["POST /1", "GET /2", "PUT /3", "HEAD /4", "GET http://a/5?q", "OPTIONS *"]);
    assert_eq!(whole.bodies(), ["/1 abc", "/2 ", "/3 def", "", "http://a/5?q ", "* "]);
    for size in 1..=PIPELINE.len() {
        let mut pieces = Application::new();
        for piece in PIPELINE.chunks(size) {
            assert_eq!(pieces.feed(piece), Ok(&b""[..]));
        }
        assert_eq!((pieces.log, pieces.out), (whole.log.clone(), whole.out.clone()), "pieces of {size}");
    }
}

#[test]
fn no_input_is_read_while_a_response_is_awaited() {
    let mut connection = HttpConnection::new(HeadLimits::default());
    let input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    let (used, event) = connection.read(input).unwrap();
    assert!(matches!(event, Some(HttpEvent::Request(..))) && connection.step() == Step::Response);
    assert_eq!(connection.read(&input[used..]).map(|(used, _)| used), Ok(0));
    let mut out = Vec::new();
    connection.begin_response(&Response::new(()), BodyLength::Unknown, DATE, &mut out);
    connection.write_body(b"part", &mut out);
    connection.write_body(b"", &mut out);
    assert_eq!(connection.read(&input[used..]).map(|(used, _)| used), Ok(0));
    assert_eq!(connection.end_response(&mut out), Next::Request);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n\r\n"), "{text}");
    assert!(matches!(connection.read(&input[used..]), Ok((_, Some(HttpEvent::Request(..))))));
}

#[test]
fn connection_persists_as_version_and_connection_header_say() {
    for (version, connection, next, header) in [
        ("1.1", "", Next::Request, None),
        ("1.1", "Connection: close\r\n", Next::Close, Some("close")),
        ("1.1", "Connection: x, CLOSE\r\n", Next::Close, Some("close")),
        ("1.1", "Connection: x\r\nConnection: close\r\n", Next::Close, Some("close")),
        ("1.0", "", Next::Close, Some("close")),
        ("1.0", "Connection: keep-alive\r\n", Next::Request, Some("keep-alive")),
        ("1.0", "Connection: keep-alive, close\r\n", Next::Close, Some("close")),
    ] {
        let application = ask(format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n").as_bytes());
        assert_eq!(application.next, next, "{version} {connection}");
        let out = String::from_utf8(application.out).unwrap();
        let line = out.lines().find_map(|line| line.strip_prefix("Connection: "));
        assert_eq!(line, header, "{version} {connection}");
    }
}

#[test]
fn body_of_unknown_length_ends_with_the_connection_in_http_1_0() {
    let mut connection = HttpConnection::new(HeadLimits::default());
    let request = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert!(matches!(connection.read(request), Ok((_, Some(HttpEvent::Request(..))))));
    let mut out = Vec::new();
    connection.begin_response(&Response::new(()), BodyLength::Unknown, DATE, &mut out);
    connection.write_body(b"part", &mut out);
    assert_eq!(connection.end_response(&mut out), Next::Close);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("Connection: close\r\n\r\npart") && !text.contains("chunked"), "{text}");
}

#[test]
fn client_is_asked_to_continue_only_if_the_body_is_wanted_and_has_not_arrived() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    let mut waiting = Application::new();
    waiting.feed(head).unwrap();
    assert_eq!(waiting.out, CONTINUE);
    waiting.feed(b"abc").unwrap();
    assert_eq!(waiting.bodies(), ["/ abc"]);
    // A refusal without the body: the client may send it or not, so the connection closes.
    let mut connection = HttpConnection::new(HeadLimits::default());
    connection.read(head).unwrap();
    let mut out = Vec::new();
    connection.begin_response(&Response::new(()), BodyLength::Known(0), DATE, &mut out);
    assert_eq!(connection.end_response(&mut out), Next::Close);
    assert!(!out.starts_with(CONTINUE) && connection.step() == Step::Ended);
    // HTTP/1.0 has no interim responses, and a request without a body waits for none.
    for request in [
        &b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    ] {
        assert!(ask(request).out.starts_with(b"HTTP/1.1 200"), "{}", request.escape_ascii());
    }
}

#[test]
fn rest_of_a_body_is_discarded_up_to_64_kib_after_an_early_response() {
    for (length, next) in [(MAX_DISCARDED_BYTES, Next::Request), (MAX_DISCARDED_BYTES + 1, Next::Close)] {
        let mut connection = HttpConnection::new(HeadLimits::default());
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        connection.read(head.as_bytes()).unwrap();
        let mut out = Vec::new();
        connection.begin_response(&Response::new(()), BodyLength::Known(0), DATE, &mut out);
        assert_eq!(connection.end_response(&mut out), next, "{length}");
        assert_eq!(out.windows(17).any(|part| part == b"Connection: close"), next == Next::Close);
        if next == Next::Request {
            let body = vec![b'x'; length as usize];
            assert_eq!(connection.read(&body).map(|(used, _)| used), Ok(body.len()));
            let event = connection.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().1;
            assert!(matches!(event, Some(HttpEvent::Request(..))));
        }
    }
    // The length of a chunked body is not known.
    let mut connection = HttpConnection::new(HeadLimits::default());
    connection.read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut out = Vec::new();
    connection.begin_response(&Response::new(()), BodyLength::Known(0), DATE, &mut out);
    assert_eq!(connection.end_response(&mut out), Next::Close);
}

#[test]
fn body_larger_than_its_limit_is_refused_with_413() {
    let length = refused(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n");
    let chunks = refused(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n");
    for error in [length, chunks] {
        assert_eq!(error.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}

/// Requests that two servers could divide differently, which is how requests are smuggled past a proxy.
#[test]
fn requests_with_an_ambiguous_end_are_refused_with_400() {
    for lines in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 0\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: \r\n",
        "Content-Length: 3 3\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length : 3\r\n",
        " Content-Length: 3\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: a\0b\r\n",
    ] {
        let error = refused(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\nabc").as_bytes());
        assert_eq!(error.status(), StatusCode::BAD_REQUEST, "{lines:?}");
    }
    for request in [
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(refused(request.as_bytes()).status(), StatusCode::BAD_REQUEST, "{request:?}");
    }
    let expect = refused(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n");
    assert_eq!(expect.status(), StatusCode::EXPECTATION_FAILED);
}

#[test]
fn whole_request_is_answered_before_the_garbage_behind_it_is_refused() {
    let mut application = Application::new();
    let error = application.feed(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\x01\x02garbage\r\n\r\n").unwrap_err();
    assert_eq!((application.bodies(), error.status()), (vec!["/ ".to_owned()], StatusCode::BAD_REQUEST));
}

#[test]
fn responses_without_content_have_no_length_and_head_has_the_length_alone() {
    for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED] {
        let mut connection = HttpConnection::new(HeadLimits::default());
        connection.read(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let (mut response, mut out) = (Response::new(()), Vec::new());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_LENGTH, 7.into());
        connection.begin_response(&response, BodyLength::Known(7), DATE, &mut out);
        assert!(!connection.takes_body());
        connection.write_body(b"ignored", &mut out);
        assert_eq!(connection.end_response(&mut out), Next::Request);
        let text = String::from_utf8(out).unwrap();
        assert!(!text.to_lowercase().contains("length") && text.ends_with("\r\n\r\n"), "{text}");
    }
    let application = ask(b"HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = String::from_utf8(application.out).unwrap();
    assert!(text.contains("Content-Length: 6\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn upgrade_in_the_middle_of_a_pipeline_leaves_the_rest_to_the_next_protocol() {
    let mut connection = HttpConnection::new(HeadLimits::default());
    let input = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nframes";
    let (used, _) = connection.read(input).unwrap();
    let mut out = Vec::new();
    connection.begin_response(&Response::new(()), BodyLength::Known(0), DATE, &mut out);
    assert_eq!(connection.end_response(&mut out), Next::Request);
    let (more, event) = connection.read(&input[used..]).unwrap();
    assert!(matches!(event, Some(HttpEvent::Request(request)) if request.headers().contains_key("upgrade")));
    connection.upgrade();
    assert_eq!(&input[used + more..], b"frames");
    assert_eq!(connection.read(b"frames").map(|(used, _)| used), Ok(0));
}

#[test]
fn step_says_what_is_awaited() {
    let mut connection = HttpConnection::new(HeadLimits::default());
    assert_eq!(connection.step(), Step::Idle);
    connection.read(b"POST / HT").unwrap();
    assert_eq!(connection.step(), Step::Head);
    connection.read(b"TP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n").unwrap();
    assert_eq!(connection.step(), Step::Response);
    connection.want_body(10, &mut Vec::new()).unwrap();
    assert_eq!(connection.step(), Step::Body);
    let (used, _) = connection.read(b"ab").unwrap();
    connection.read(&b"ab"[used..]).unwrap();
    assert_eq!(connection.step(), Step::Response);
}
