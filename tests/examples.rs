//! The examples as programs: invalid options are refused, and failures are reported with exit status 1.
//!
//! `cargo test` builds the examples first. With `--test examples` alone the last built ones are tested.
#![allow(clippy::unwrap_used)]

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Output, Stdio},
    thread,
    time::Duration,
};

use threaded::ThreadedServer;
use ws_reactor::{Callbacks, Server, http::StatusCode};

#[path = "it/support/threaded.rs"]
mod threaded;

/// A port without a listener.
const CLOSED_PORT: &str = "127.0.0.1:1";

fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build --examples", program.display());
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn output(name: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = example(name).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A process that is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// The example `echo` on a free port, and its URL.
fn echo() -> (Running, String) {
    let mut child = example("echo").arg("127.0.0.1:0").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
    (Running(child), url)
}

#[test]
fn echo_refuses_options_that_have_no_effect_or_no_meaning() {
    let cases: &[(&[&str], &str)] = &[
        (&["--threads", "0"], "--threads must be at least 1"),
        (&["--threads", "many"], "--threads \"many\""),
        #[cfg(feature = "deflate")]
        (&["--deflate-level", "3"], "--deflate-level needs --deflate"),
        #[cfg(feature = "deflate")]
        (&["--deflate", "--deflate-level", "99"], "--deflate-level: compression level 99"),
        #[cfg(feature = "deflate")]
        (&["--deflate-shared", "--deflate-level=0"], "--deflate-level: compression level 0"),
        #[cfg(feature = "deflate")]
        (&["--deflate", "--deflate-shared"], "exclude each other"),
    ];
    for (arguments, expected) in cases {
        let (status, error) = output("echo", &[&["127.0.0.1:0"], *arguments].concat());
        assert_eq!(status, Some(2), "{arguments:?}: {error}");
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn client_that_cannot_connect_prints_the_address_and_exits_with_1() {
    let (status, error) = output("client", &[&format!("ws://{CLOSED_PORT}/")]);
    assert_eq!(status, Some(1));
    assert!(error.contains(CLOSED_PORT) && error.to_lowercase().contains("refused"), "{error}");
}

#[test]
fn client_whose_request_is_refused_prints_the_status_and_exits_with_1() {
    let server = ThreadedServer::new(|| {
        Server::new(|_| Callbacks::new())
            .on_request(|_, _| ws_reactor::Reply::text(StatusCode::UNAUTHORIZED, "token expired"))
    });
    let (status, error) = output("client", &[&server.url]);
    assert_eq!(status, Some(1));
    assert!(error.contains("401") && error.contains("token expired"), "{error}");
}

#[test]
fn client_whose_server_ends_without_a_close_frame_exits_with_1() {
    let server = ThreadedServer::new(|| {
        Server::new(|_| {
            Callbacks::new().on_open(|ws, _| {
                ws.terminate();
            })
        })
    });
    let (status, error) = output("client", &[&server.url]);
    assert_eq!(status, Some(1));
    assert!(error.contains("closed: 1006"), "{error}");
}

#[cfg(feature = "tls")]
#[test]
fn client_that_does_not_trust_the_certificate_prints_the_reason_and_exits_with_1() {
    let server = ThreadedServer::new(|| {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
        let tls = ws_reactor::TlsConfig::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        Server::new(|_| Callbacks::new()).tls(tls)
    });
    let url = server.url.replace("ws://127.0.0.1", "wss://localhost");
    let (status, error) = output("client", &[&url]);
    assert_eq!(status, Some(1));
    assert!(error.contains("certificate"), "{error}");
}

#[test]
fn client_ends_quietly_when_the_reader_of_its_output_has_ended() {
    let (_server, url) = echo();
    let mut client = example("client")
        .args([&url, "--wait", "60"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut input, mut output) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
    writeln!(input, "first").unwrap();
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    drop(output);
    // A process that another test is just starting holds the pipe until it executes, so one line is not always enough.
    while client.try_wait().unwrap().is_none() && writeln!(input, "more").is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    // The client closes the connection; its thread that reads stdin ends with the process.
    let (status, mut error) = (client.wait().unwrap(), String::new());
    client.stderr.take().unwrap().read_to_string(&mut error).unwrap();
    assert_eq!(status.code(), Some(0), "{error}");
    assert!(!error.contains("panicked"), "{error}");
}

#[cfg(all(feature = "deflate", feature = "tls"))]
#[test]
fn load_that_fails_prints_the_failure_and_its_address() {
    let (status, error) = output("load", &["echo", &format!("ws://{CLOSED_PORT}")]);
    assert_eq!(status, Some(1));
    assert!(error.contains(CLOSED_PORT), "{error}");
    let (server, url) = echo();
    let (status, error) = output("load", &["echo", &url, "--pid", "999999999"]);
    assert_eq!(status, Some(1));
    assert!(error.contains("--pid 999999999"), "{error}");
    drop(server);
    let other_reply =
        ThreadedServer::new(|| Server::new(|_| Callbacks::new().on_message(|ws, _| _ = ws.send("something else"))));
    let (status, error) = output("load", &["echo", &other_reply.url, "--seconds", "1"]);
    assert_eq!(status, Some(1));
    assert!(error.contains("the server did not echo the message"), "{error}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let length = stream.read(&mut [0; 4096]).unwrap();
        assert!(length > 0);
        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
    });
    let (status, error) = output("load", &["echo", &format!("ws://{addr}"), "--connections", "1"]);
    assert_eq!(status, Some(1));
    assert!(error.contains("404"), "{error}");
    other.join().unwrap();
}

#[cfg(all(feature = "deflate", feature = "server", feature = "tls"))]
#[test]
fn load_of_requests_fails_at_a_response_with_another_status_or_length() {
    use ws_reactor::{Reply, Routes};

    let routes = || Routes::new().get("/", |_, _| Reply::bytes(&[b'x'; 100][..]));
    let server = ThreadedServer::new(move || Server::routes(routes()).unwrap());
    let url = server.url.replacen("ws", "http", 1);
    let url = url.trim_end_matches('/');
    let load = |path: &str, bytes: &str| {
        let url = format!("{url}{path}");
        output("load", &["http", &url, "--bytes", bytes, "--connections", "2", "--depth", "16", "--seconds", "0.1"])
    };
    let (status, error) = load("/", "100");
    assert_eq!(status, Some(0), "{error}");
    for (path, bytes, failure) in [("/", "99", "100 bytes in place of 99"), ("/other", "100", "404 Not Found")] {
        let (status, error) = load(path, bytes);
        assert_eq!(status, Some(1), "{error}");
        assert!(error.contains(failure), "{error}");
    }
}

#[test]
fn ticker_holds_one_quote_of_each_symbol_for_a_slow_reader_unless_all_are_queued() {
    /// Bytes that wait, and quotes that were replaced, in each line.
    fn figures(arguments: &[&str]) -> Vec<(usize, usize)> {
        let Output { status, stdout, .. } =
            example("ticker").args(["--listen", "127.0.0.1:0"]).args(arguments).output().unwrap();
        assert!(status.success());
        let text = String::from_utf8(stdout).unwrap();
        let lines = text.lines().skip(1).map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [.., waiting, "B,", replaced, "replaced"] = words[..] else { panic!("{line}") };
            (waiting.parse().unwrap(), replaced.parse().unwrap())
        });
        lines.collect()
    }
    let newest = figures(&["--seconds", "2", "--symbols", "5"]);
    assert!(
        !newest.is_empty() && newest.iter().all(|(waiting, replaced)| *waiting < 1000 && *replaced > 0),
        "{newest:?}"
    );
    let all = figures(&["--seconds", "2", "--symbols", "5", "--queue-all"]);
    assert!(
        all.len() == newest.len() && all.iter().all(|(waiting, replaced)| *waiting > 1000 && *replaced == 0),
        "{all:?}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn watch_file_sends_each_line_that_is_added_to_the_file() {
    use std::fs::{self, OpenOptions};

    use ws_reactor::BlockingSocket;

    let file = env::temp_dir().join(format!("ws-reactor-watched-{}", std::process::id()));
    fs::write(&file, "old\n").unwrap();
    let mut command = example("watch_file");
    let mut child = command.arg(&file).args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let _running = Running(child);
    let mut socket = BlockingSocket::connect(line.trim().strip_prefix("listening on ").unwrap()).unwrap();
    let mut log = OpenOptions::new().append(true).open(&file).unwrap();
    for piece in ["one\ntw", "o\n", "three\n"] {
        log.write_all(piece.as_bytes()).unwrap();
    }
    for expected in ["one", "two", "three"] {
        assert_eq!(socket.receive().unwrap().to_string(), expected);
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn load_runs_sessions_and_fails_by_thresholds() {
    let (_server, url) = echo();
    let session = |arguments: &[&str]| {
        let common = ["session", &url, "--users", "20", "--ramp-up", "100ms", "--duration", "1500ms"];
        let Output { status, stdout, stderr } = example("load").args(common).args(arguments).output().unwrap();
        let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code(), text)
    };
    let step = ["--every", "100ms", "--send", "{user} says {number}", "--expect", "says"];
    let (code, text) = session(&[&step[..], &["--fail-if", "errors>0", "--fail-if", "expected<100"]].concat());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("20 sessions opened; "), "{text}");
    let (code, text) = session(&[&step[..], &["--fail-if", "sent>10", "--json"]].concat());
    assert_eq!(code, Some(1), "{text}");
    assert!(text.ends_with("failed: sent>10\n") && text.starts_with(r#"{"p50_us":"#), "{text}");
    // Nothing that the server answers contains the text.
    let scenario = env::temp_dir().join(format!("scenario-{}.toml", std::process::id()));
    let report = scenario.with_extension("html");
    std::fs::write(&scenario, "loop = [{ send = 'a', expect = 'b', timeout = '200ms' }]\nheaders = { x = '{user}' }")
        .unwrap();
    let files = ["--scenario", scenario.to_str().unwrap(), "--report", report.to_str().unwrap()];
    let (code, text) = session(&files);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("× expected message missing\n"), "{text}");
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("<polyline class=\"a\"") && page.ends_with("</html>\n"), "{page}");
    for (invalid, error) in [
        ("loop = [{ send = 'a' }]", "needs a step with `think` or `expect`"),
        ("loop = [{ sends = 'a' }]", "sends is no key of a step"),
        ("every = '5'", "\"5\" is not a time such as 250ms, 1.5s or 2m"),
        ("user = 5", "user is no key of a scenario"),
    ] {
        std::fs::write(&scenario, invalid).unwrap();
        let (code, text) = session(&files);
        assert!(code == Some(1) && text.contains(error), "{text}");
    }
    for file in [scenario, report] {
        std::fs::remove_file(file).unwrap();
    }
    let (code, text) = output("load", &["session", "ws://127.0.0.1:1", "--duration", "500ms", "--users", "1"]);
    assert!(code == Some(1) && text.contains("no session opened"), "{text}");
}
