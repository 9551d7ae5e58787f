//! Bodies of requests that are passed on as they arrive.

use std::{cell::RefCell, rc::Rc, time::Duration};

use ws_reactor::{Reply, RequestBody, Responder, Routes, TestSocket, Upload, http::StatusCode};

use super::{get, received, serving};

type Log = Rc<RefCell<Vec<String>>>;

/// Logs what it gets, and acts on marks in it.
struct Recording(Log, Rc<RefCell<Option<Responder>>>);

impl Upload for Recording {
    fn on_chunk(&mut self, body: &mut RequestBody<'_>, data: &[u8]) -> Result<(), Reply> {
        let text = String::from_utf8_lossy(data).into_owned();
        self.0.borrow_mut().push(format!("{} {text}", body.received()));
        if text.contains("pause") {
            body.pause();
        }
        match text.contains("enough") {
            true => Err(Reply::status(StatusCode::UNPROCESSABLE_ENTITY)),
            false => Ok(()),
        }
    }

    fn on_end(&mut self, body: &mut RequestBody<'_>) -> Reply {
        self.0.borrow_mut().push("end".to_owned());
        if body.received() == 5 {
            let (reply, responder) = Reply::later();
            *self.1.borrow_mut() = Some(responder);
            return reply;
        }
        Reply::bytes(body.received().to_string())
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.0.borrow_mut().push("dropped".to_owned());
    }
}

struct Uploads {
    socket: TestSocket,
    log: Log,
    responder: Rc<RefCell<Option<Responder>>>,
}

fn uploads(request: &str) -> Uploads {
    let (log, responder) = (Log::default(), Rc::default());
    let (of_route, answers) = (Rc::clone(&log), Rc::clone(&responder));
    let routes = Routes::new()
        .max_body_bytes(1 << 30)
        .upload("/{name}", move |request, _| match request.param("name") {
            "closed" => Err(StatusCode::FORBIDDEN),
            _ => Ok(Recording(Rc::clone(&of_route), Rc::clone(&answers))),
        })
        .get("/", |_, _| Reply::bytes("page"));
    Uploads { socket: TestSocket::request(serving(routes), request), log, responder }
}

impl Uploads {
    fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.borrow_mut())
    }
}

fn head(name: &str, length: usize) -> String {
    format!("PUT /{name} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn upload_gets_its_parts_as_they_arrive_and_its_end() {
    let mut test = uploads(&(head("x", 9) + "abc"));
    assert_eq!(test.logged(), ["3 abc"]);
    test.socket.send_bytes(b"def");
    assert_eq!((test.logged(), received(&mut test.socket)), (vec!["6 def".to_owned()], String::new()));
    test.socket.send_bytes(("ghi".to_owned() + &get("/")).as_bytes());
    assert_eq!(test.logged(), ["9 ghi", "end", "dropped"]);
    let text = received(&mut test.socket);
    assert!(text.contains("\r\n\r\n9HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\npage"), "{text}");
    let empty = uploads(&head("x", 0));
    assert_eq!(empty.logged(), ["end", "dropped"]);
    let chunked = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
    let mut chunked = uploads(chunked);
    assert_eq!(chunked.logged(), ["2 ab", "3 c", "end", "dropped"]);
    assert!(received(&mut chunked.socket).ends_with("\r\n\r\n3"));
}

#[test]
fn upload_is_refused_before_its_body_or_in_the_middle() {
    let expecting = |name: &str| head(name, 1 << 20).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut closed = uploads(&expecting("closed"));
    let text = received(&mut closed.socket);
    assert!(text.starts_with("HTTP/1.1 403 ") && text.contains("Connection: close\r\n"), "{text}");
    let mut open = uploads(&expecting("open"));
    assert_eq!(received(&mut open.socket), "HTTP/1.1 100 Continue\r\n\r\n");
    open.socket.send_bytes(b"it is enough");
    let text = received(&mut open.socket);
    assert!(text.starts_with("HTTP/1.1 422 ") && open.socket.is_ended(), "the rest is too long to be skipped: {text}");
    assert_eq!(open.logged(), ["12 it is enough", "dropped"]);
    let mut short = uploads(&(head("x", 20) + "enough"));
    short.socket.send_bytes(("y".repeat(14) + &get("/")).as_bytes());
    assert!(received(&mut short.socket).ends_with("\r\n\r\npage"), "a short rest is skipped");
    assert_eq!(short.logged(), ["6 enough", "dropped"]);
}

#[test]
fn paused_upload_is_not_read_and_not_timed_out() {
    let mut test = uploads(&(head("x", 20) + "pause"));
    test.socket.send_bytes(b"more");
    test.socket.advance(Duration::from_secs(3600));
    assert_eq!(test.logged(), ["5 pause"]);
    let id = test.socket.hub().connections().next().unwrap();
    test.socket.hub().resume(id);
    test.socket.settle();
    assert_eq!(test.logged(), ["9 more"]);
    test.socket.advance(Duration::from_secs(21));
    assert_eq!(test.logged(), ["dropped"]);
    assert!(received(&mut test.socket).starts_with("HTTP/1.1 408 "));
}

#[test]
fn upload_that_is_paused_in_its_last_part_ends_all_the_same() {
    let body = "a pause and more";
    for cut in 0..=body.len() {
        let mut test = uploads(&(head("x", body.len()) + &body[..cut]));
        test.socket.send_bytes(&body.as_bytes()[cut..]);
        let id = test.socket.hub().connections().next().unwrap();
        test.socket.hub().resume(id);
        test.socket.settle();
        assert_eq!(test.logged().last().map(String::as_str), Some("dropped"), "cut at {cut}");
        assert!(received(&mut test.socket).ends_with("\r\n\r\n16"), "cut at {cut}");
        test.socket.send_bytes(get("/").as_bytes());
        assert!(received(&mut test.socket).ends_with("\r\n\r\npage"), "a pause does not outlast its upload");
    }
}

#[test]
fn upload_that_pauses_with_its_last_part_ends_when_it_is_resumed() {
    // regression: without a byte behind the part, nothing called `on_end`, and the client got 408
    let chunked = "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\npause!\r\n0\r\n\r\n";
    for request in [head("x", 6) + "pause!", head("x", 6) + "pause!" + &get("/"), chunked.to_owned()] {
        let mut test = uploads(&request);
        test.socket.advance(Duration::from_secs(3600));
        assert_eq!((test.logged(), received(&mut test.socket)), (vec!["6 pause!".to_owned()], String::new()));
        let id = test.socket.hub().connections().next().unwrap();
        test.socket.hub().resume(id);
        test.socket.settle();
        assert_eq!(test.logged(), ["end", "dropped"], "{request}");
        test.socket.send_bytes(get("/").as_bytes());
        let text = received(&mut test.socket);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("\r\n\r\n6HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\npage"), "{text}");
    }
}

#[test]
fn upload_is_not_made_for_a_body_that_is_too_long() {
    let mut test = uploads(&head("x", (1 << 30) + 1));
    assert!(received(&mut test.socket).starts_with("HTTP/1.1 413 "));
    assert_eq!(test.logged(), [""; 0]);
}

#[test]
fn client_of_a_resumed_upload_has_the_whole_time_out_again() {
    // regression: the pause used the time-out up
    let mut test = uploads(&(head("x", 20) + "pause"));
    test.socket.advance(Duration::from_millis(9_900));
    let id = test.socket.hub().connections().next().unwrap();
    test.socket.hub().resume(id);
    test.socket.advance(Duration::from_secs(5));
    assert_eq!((test.logged(), received(&mut test.socket)), (vec!["5 pause".to_owned()], String::new()));
    test.socket.send_bytes(&[b'x'; 15]);
    assert!(received(&mut test.socket).ends_with("\r\n\r\n20"));
}

#[test]
fn upload_of_a_client_that_has_gone_is_dropped() {
    for leave in [TestSocket::reset, TestSocket::finish] {
        let mut test = uploads(&(head("x", 20) + "abc"));
        leave(&mut test.socket);
        assert_eq!(test.logged(), ["3 abc", "dropped"]);
        assert!(test.socket.is_closed());
    }
}

#[test]
fn reply_to_an_upload_may_be_deferred() {
    let mut test = uploads(&(head("x", 5) + "later"));
    assert!(received(&mut test.socket).is_empty());
    let responder = test.responder.borrow_mut().take().unwrap();
    responder.respond(StatusCode::CREATED).unwrap();
    test.socket.settle();
    assert!(received(&mut test.socket).starts_with("HTTP/1.1 201 "));
}

#[test]
fn panic_of_an_upload_is_answered_with_500() {
    struct Panicking;

    impl Upload for Panicking {
        fn on_chunk(&mut self, _: &mut RequestBody<'_>, _: &[u8]) -> Result<(), Reply> {
            panic!("deliberate: a part");
        }

        fn on_end(&mut self, _: &mut RequestBody<'_>) -> Reply {
            panic!("deliberate: the end");
        }
    }

    crate::support::silence_deliberate_panics();
    for length in [0, 3] {
        let routes = Routes::new().upload("/", |_, _| Ok::<_, Reply>(Panicking));
        let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", &"abc"[..length]);
        let mut socket = TestSocket::request(serving(routes), request);
        assert!(received(&mut socket).starts_with("HTTP/1.1 500 ") && socket.is_ended());
    }
}
