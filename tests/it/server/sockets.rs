//! Listening on Unix sockets and on sockets of others, and taking over connected ones.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    thread,
    time::Duration,
};

use ws_reactor::{Bind, Callbacks, Reactor, Reply, Server};

/// A server that answers with the address of the client.
fn whoami() -> Server {
    Server::new(|_| Callbacks::new()).on_request(|request, _| Reply::html(request.peer_addr().to_string()))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// Sends the rest of a request, and returns the body of the response.
fn ask(mut socket: impl Read + Write, rest: &[u8]) -> String {
    socket.write_all(rest).unwrap();
    let mut response = String::new();
    socket.read_to_string(&mut response).unwrap();
    response.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// Runs the reactor until the client has ended.
fn run<T: Send + 'static>(reactor: &mut Reactor, client: impl FnOnce() -> T + Send + 'static) -> T {
    let remote = reactor.remote();
    let client = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(client));
        remote.stop().unwrap();
        result.unwrap()
    });
    reactor.run().unwrap();
    client.join().unwrap()
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("ws-reactor-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn server_listens_on_the_path_of_a_unix_socket() {
    let path = path("listen");
    // The file of a former listener is replaced.
    drop(UnixListener::bind(&path).unwrap());
    let mut reactor = Reactor::new().unwrap();
    reactor.listen(Bind::to(format!("unix:{}", path.display())).mode(0o606), whoami()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o606);
    assert!(reactor.listen(format!("unix:{}", path.display()), whoami()).is_err(), "somebody listens");
    let client = path.clone();
    assert_eq!(run(&mut reactor, move || ask(UnixStream::connect(client).unwrap(), GET)), "unix");
    std::fs::remove_file(path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_name_connects_both_ends() {
    let name = format!("unix:@ws-reactor-abstract-{}", std::process::id());
    let mut reactor = Reactor::new().unwrap();
    reactor.listen(&name, whoami()).unwrap();
    struct Client(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);
    impl ws_reactor::StreamHandler for Client {
        fn on_connect(&mut self, stream: &mut ws_reactor::Stream<'_>) {
            assert_eq!(stream.peer_addr(), ws_reactor::PeerAddr::Unix);
            stream.write(GET);
        }
        fn on_data(&mut self, _: &mut ws_reactor::Stream<'_>, data: &mut [u8]) {
            self.0.borrow_mut().extend_from_slice(data);
        }
        fn on_close(&mut self, stream: &mut ws_reactor::Stream<'_>, _: &ws_reactor::CloseReason) {
            stream.hub().stop();
        }
    }
    let received = std::rc::Rc::default();
    reactor.connect_stream(&name, Client(std::rc::Rc::clone(&received))).unwrap();
    reactor.run().unwrap();
    assert!(received.borrow().ends_with(b"\r\n\r\nunix"));
}

#[test]
fn listening_sockets_of_the_standard_library_are_adopted() {
    let mut reactor = Reactor::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(reactor.listen(listener, whoami()).unwrap().addr, address);
    let path = path("adopt");
    reactor.listen(UnixListener::bind(&path).unwrap(), whoami()).unwrap();
    let client = path.clone();
    let answers = run(&mut reactor, move || {
        let tcp = TcpStream::connect(address).unwrap();
        let own = tcp.local_addr().unwrap().to_string();
        (ask(tcp, GET) == own, ask(UnixStream::connect(client).unwrap(), GET))
    });
    assert_eq!(answers, (true, "unix".to_owned()));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn connected_sockets_are_adopted_with_the_bytes_that_were_read() {
    let mut reactor = Reactor::new().unwrap();
    let server = whoami().into_stream_server();
    let (tcp, here) = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener.accept().unwrap().0)
    };
    let own = tcp.local_addr().unwrap().to_string();
    let (unix, there) = UnixStream::pair().unwrap();
    reactor.hub().adopt(here, &GET[..10], &server);
    reactor.hub().adopt(there, GET, &server);
    let answers = run(&mut reactor, move || (ask(tcp, &GET[10..]), ask(unix, b"")));
    assert_eq!(answers, (own, "unix".to_owned()));
    assert!(reactor.adopt_stream(unconnected(), "", Ignore).is_err());
}

struct Ignore;
impl ws_reactor::StreamHandler for Ignore {}

fn unconnected() -> TcpStream {
    let stream = TcpStream::connect(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()).unwrap();
    // The listener is gone, and with it the other end.
    stream.set_nonblocking(true).unwrap();
    let _ = (&stream).write(b"x");
    thread::sleep(Duration::from_millis(10));
    let _ = (&stream).read(&mut [0]);
    stream
}

#[cfg(feature = "tls")]
#[test]
fn tls_begins_with_the_bytes_that_were_read() {
    use crate::support::secure;
    let mut reactor = Reactor::new().unwrap();
    let server = secure::server(whoami()).into_stream_server();
    let (mut client, there) = UnixStream::pair().unwrap();
    let mut tls = secure::client();
    let hello = std::mem::take(tls.encrypt(&mut GET.to_vec()));
    client.write_all(&hello[20..]).unwrap();
    reactor.hub().adopt(there, &hello[..20], &server);
    let text = run(&mut reactor, move || {
        let (mut plaintext, mut buffer) = (Vec::new(), [0; 4096]);
        while !plaintext.ends_with(b"unix") {
            let length = client.read(&mut buffer).unwrap();
            assert_ne!(length, 0, "the server ends the stream after its answer");
            tls.decrypt(&buffer[..length], &mut plaintext);
            client.write_all(&std::mem::take(tls.encrypt(&mut Vec::new()))).unwrap();
        }
        String::from_utf8(plaintext).unwrap()
    });
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
}

#[cfg(feature = "socket-activation")]
mod activation {
    use std::process::{Command, Stdio};

    use super::*;

    /// Serves the inherited sockets if this process was started for that.
    #[test]
    fn child_serves_the_sockets_that_it_inherits() {
        if std::env::var("LISTEN_FDS").is_err() {
            return;
        }
        let mut reactor = Reactor::new().unwrap();
        let sockets = Bind::inherited().unwrap();
        assert_eq!(sockets.len(), 2);
        for socket in sockets {
            reactor.listen(socket, whoami()).unwrap();
        }
        assert!(Bind::inherited().unwrap().is_empty(), "each socket is given out once");
        reactor.hub().add_timer(Duration::from_secs(30), ws_reactor::Hub::stop);
        reactor.run().unwrap();
    }

    #[test]
    fn sockets_of_a_service_manager_are_inherited() {
        let path = path("inherited");
        let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let address = tcp.local_addr().unwrap();
        let child = "server::sockets::activation::child_serves_the_sockets_that_it_inherits";
        // The manager passes descriptors from 3 on, and names the process that they are for.
        let mut child = Command::new("sh")
            .args(["-c", "exec 3<&0 4<&1 >&2; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(child)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(tcp)))
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(unix)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stream = TcpStream::connect(address).unwrap();
        let own = stream.local_addr().unwrap().to_string();
        assert_eq!(ask(stream, GET), own);
        assert_eq!(ask(UnixStream::connect(&path).unwrap(), GET), "unix");
        child.kill().unwrap();
        child.wait().unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
