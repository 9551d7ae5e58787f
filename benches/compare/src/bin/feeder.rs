//! The server of the client comparison, on blocking sockets, with a thread per connection. `src/client.rs` describes
//! its paths.
//!
//!     feeder [--listen ADDR] [--tls-cert FILE --tls-key FILE]

use std::{
    hint,
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use compare::{
    Failure, Options,
    client::{BEGIN, BURST, END, GO, TIME_DIGITS, monotonic},
};
use flate2::{Compress, Compression, FlushCompress};
use sha1::{Digest, Sha1};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Length of the blocks of frames that are written at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// Share of the time of a feed that warms up.
const WARM_UP: f64 = 0.2;

/// Opcodes with FIN, and the bit of a compressed message.
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const COMPRESSED: u8 = 0x40;

trait Stream: Read + Write {
    /// Ends the output. Some clients take the end of TLS without an alert for an error.
    fn end(&mut self) -> io::Result<()>;
}

impl Stream for TcpStream {
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for StreamOwned<ServerConnection, TcpStream> {
    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::read();
    let tls = match &options.tls {
        Some((certificate, key)) => Some(Arc::new(compare::tls_config(certificate, key)?)),
        None => None,
    };
    let listener = TcpListener::bind(options.listen)?;
    eprintln!("listening on {}://{}", if tls.is_some() { "wss" } else { "ws" }, listener.local_addr()?);
    for stream in listener.incoming() {
        let (stream, tls) = (stream?, tls.clone());
        // A client that leaves ends its thread, with an error of no interest.
        thread::spawn(move || _ = serve(stream, tls));
    }
    Ok(())
}

fn serve(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<(), Failure> {
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        Some(config) => Box::new(StreamOwned::new(ServerConnection::new(config)?, stream)),
        None => Box::new(stream),
    };
    let mut stream = BufReader::with_capacity(BLOCK_BYTES, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8(head)?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let number = |name| {
        let words = query.split('&').filter_map(|pair| pair.split_once('='));
        words.filter(|(key, _)| *key == name).find_map(|(_, value)| value.parse::<f64>().ok()).unwrap_or_default()
    };
    let key = field(&head, "sec-websocket-key").ok_or("no key")?;
    let deflate = field(&head, "sec-websocket-extensions").is_some_and(|offer| offer.contains("permessage-deflate"));
    let accept = BASE64_STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")));
    let extension = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{}\r\n",
        if deflate { extension } else { "" }
    );
    stream.get_mut().write_all(response.as_bytes())?;
    let (bytes, seconds) = (number("bytes") as usize, number("seconds"));
    match path {
        "/feed" => feed(&mut **stream.get_mut(), bytes, seconds, deflate)?,
        "/paced" => pace(&mut **stream.get_mut(), bytes, seconds, number("rate"))?,
        _ => {}
    }
    answer(&mut stream, path == "/sends")
}

fn field<'h>(head: &'h str, wanted: &str) -> Option<&'h str> {
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim()).next()
}

/// Sends blocks of frames as fast as the client takes them.
fn feed(stream: &mut dyn Stream, bytes: usize, seconds: f64, deflate: bool) -> Result<(), Failure> {
    let (mut block, mut in_block) = (Vec::new(), 0);
    while block.len() + bytes < BLOCK_BYTES {
        let text = quote(in_block, bytes);
        match deflate {
            true => frame(TEXT | COMPRESSED, &deflated(&text)?, &mut block),
            false => frame(TEXT, &text, &mut block),
        }
        in_block += 1;
    }
    for (mark, share) in [(true, WARM_UP), (false, 1.0)] {
        let (until, mut sent) = (Instant::now() + Duration::from_secs_f64(seconds * share), 0);
        while Instant::now() < until {
            stream.write_all(&block)?;
            sent += in_block;
        }
        mark_sent(stream, mark, sent)?;
    }
    Ok(())
}

/// Sends frames at equal intervals. Each has the time at which it was to be sent.
fn pace(stream: &mut dyn Stream, bytes: usize, seconds: f64, rate: f64) -> Result<(), Failure> {
    let interval = 1e9 / rate;
    let mut text = quote(0, bytes);
    let mut out = Vec::new();
    for (mark, share) in [(true, WARM_UP), (false, 1.0)] {
        let (began, count) = (monotonic(), (rate * seconds * share) as u64);
        for index in 0..count {
            let due = began + (index as f64 * interval) as u64;
            while monotonic() < due {
                hint::spin_loop();
            }
            text[..TIME_DIGITS].copy_from_slice(format!("{due:0TIME_DIGITS$}").as_bytes());
            out.clear();
            frame(TEXT, &text, &mut out);
            stream.write_all(&out)?;
        }
        mark_sent(stream, mark, count)?;
    }
    Ok(())
}

fn mark_sent(stream: &mut dyn Stream, begins: bool, sent: u64) -> Result<(), Failure> {
    let mut out = Vec::new();
    match begins {
        true => frame(TEXT, BEGIN, &mut out),
        false => frame(TEXT, &[END, sent.to_string().as_bytes()].concat(), &mut out),
    }
    Ok(stream.write_all(&out)?)
}

/// Answers messages until the client closes the connection: each with its echo, or each burst with [`GO`].
fn answer(stream: &mut BufReader<Box<dyn Stream>>, bursts: bool) -> Result<(), Failure> {
    let (mut payload, mut out, mut received) = (Vec::new(), Vec::new(), 0);
    loop {
        let mut head = [0; 2];
        match stream.read_exact(&mut head) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let mut length = u64::from(head[1] & 0x7f);
        if length >= 126 {
            let mut extended = [0; 8];
            stream.read_exact(&mut extended[if length == 126 { 6 } else { 0 }..])?;
            length = u64::from_be_bytes(extended);
        }
        let mut key = [0; 4];
        stream.read_exact(&mut key)?;
        payload.resize(length as usize, 0);
        stream.read_exact(&mut payload)?;
        out.clear();
        received += 1;
        if head[0] == CLOSE || !bursts {
            payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
            frame(head[0], &payload, &mut out);
        } else if received % BURST == 0 {
            frame(TEXT, GO, &mut out);
        }
        stream.get_mut().write_all(&out)?;
        if head[0] == CLOSE {
            return Ok(stream.get_mut().end()?);
        }
    }
}

/// A message of this length that looks like a quote of a market feed.
fn quote(index: u64, bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut line = index * 7919;
    while text.len() < bytes {
        text += &format!(
            r#"{:020}{{"e":"trade","s":"BTCUSDT","t":{},"p":"{}.{:02}","q":"0.{:05}","m":{}}}"#,
            line,
            4_000_000_000 + line,
            67_000 + line % 900,
            line % 97,
            line % 99_991,
            line.is_multiple_of(3)
        );
        line += 104_729;
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// A message compressed without the context of another, without the four bytes that the standard removes.
fn deflated(text: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::with_capacity(text.len() + 64);
    Compress::new(Compression::new(6), false).compress_vec(text, &mut out, FlushCompress::Sync)?;
    out.truncate(out.len() - 4);
    Ok(out)
}

fn frame(first: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(first);
    match payload.len() {
        length @ ..126 => out.push(length as u8),
        length @ 126..65_536 => {
            out.push(126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    out.extend(payload);
}
