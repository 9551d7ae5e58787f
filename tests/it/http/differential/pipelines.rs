//! Pipelines of requests: valid ones, and ones in which a piece was replaced, inserted or removed.

use std::fmt;

use proptest::{collection::vec, prelude::*, sample::select};

/// Requests one after another, cut into pieces.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    input: Vec<u8>,
    cuts: Vec<usize>,
    /// Method, target and body of each request, up to the last one that is read.
    pub(super) expected: Vec<(String, String, Vec<u8>)>,
    /// The server closes after the last of them.
    pub(super) ends: bool,
}

impl Pipeline {
    pub(super) fn pieces(&self) -> Vec<&[u8]> {
        let (mut pieces, mut start) = (Vec::new(), 0);
        for cut in self.cuts.iter().copied().chain([self.input.len()]) {
            let cut = cut.clamp(start, self.input.len());
            pieces.push(&self.input[start..cut]);
            start = cut;
        }
        pieces
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} cut at {:?}", self.input.escape_ascii(), self.cuts)
    }
}

/// How the body of a request is sent.
#[derive(Debug, Clone)]
enum Body {
    None,
    Length(Vec<u8>),
    /// Chunks with their extensions, and trailers.
    Chunked(Vec<(Vec<u8>, &'static str)>, Vec<&'static str>),
}

/// A valid request.
#[derive(Debug, Clone)]
struct Request {
    method: &'static str,
    target: &'static str,
    is_http_10: bool,
    connection: Option<&'static str>,
    headers: Vec<&'static str>,
    body: Body,
}

impl Request {
    fn write(&self, out: &mut Vec<u8>) {
        let version = if self.is_http_10 { "1.0" } else { "1.1" };
        out.extend_from_slice(format!("{} {} HTTP/{version}\r\nHost: a\r\n", self.method, self.target).as_bytes());
        let connection = self.connection.map(|option| format!("Connection: {option}"));
        for line in self.headers.iter().copied().chain(connection.as_deref()) {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        match &self.body {
            Body::None => out.extend_from_slice(b"\r\n"),
            Body::Length(body) => {
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(body);
            }
            Body::Chunked(chunks, trailers) => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                for (data, extension) in chunks {
                    out.extend_from_slice(format!("{:x}{extension}\r\n", data.len()).as_bytes());
                    out.extend_from_slice(data);
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b"0\r\n");
                trailers.iter().for_each(|line| out.extend_from_slice(format!("{line}\r\n").as_bytes()));
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    fn expected(&self) -> (String, String, Vec<u8>) {
        let body = match &self.body {
            Body::None => Vec::new(),
            Body::Length(body) => body.clone(),
            Body::Chunked(chunks, _) => chunks.iter().flat_map(|(data, _)| data.clone()).collect(),
        };
        (self.method.to_owned(), self.target.to_owned(), body)
    }

    fn persists(&self) -> bool {
        match self.connection {
            Some(option) if option.eq_ignore_ascii_case("close") => false,
            Some(option) if option.eq_ignore_ascii_case("keep-alive") => true,
            _ => !self.is_http_10,
        }
    }
}

const METHODS: [&str; 8] = ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "get"];
/// No percent escapes in paths: a change could make them decode to no UTF-8, which the routes answer with 400.
const TARGETS: [&str; 8] =
    ["/", "/a/b?c=d", "//x", "/!$&'()*+,=:@~", "/a;b=c", "http://other/x", "/?", "/x?a=http://b/&c=%0d%0a"];
const HEADERS: [&str; 8] = [
    "Accept: */*",
    "X-Empty:",
    "X-Long:   a\tb  ",
    "X-Utf8: \u{e9}",
    "cookie: a=b; c=d",
    "Content-Type: text/x",
    "Upgrade: h2c",
    "TE: trailers",
];
const EXTENSIONS: [&str; 5] = ["", "", ";a", ";a=b", ";a=\"b c\""];
const TRAILERS: [&str; 3] = ["X: y", "X-Sum: 1", "Digest: z"];

/// Data of a body: often a request itself.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let request = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    prop_oneof![
        vec(any::<u8>(), 1..40),
        Just(request),
        Just(b"0\r\n\r\n".to_vec()),
        Just(b"\r\n".to_vec()),
        vec(select(&b"\r\n0a;: "[..]), 1..20),
    ]
}

fn body(is_http_10: bool) -> BoxedStrategy<Body> {
    let length = prop_oneof![1 => Just(Vec::new()), 4 => data()].prop_map(Body::Length);
    let chunk = (data(), select(&EXTENSIONS[..]));
    let chunked = (vec(chunk, 0..4), vec(select(&TRAILERS[..]), 0..3));
    let chunked = chunked.prop_map(|(chunks, trailers)| Body::Chunked(chunks, trailers));
    match is_http_10 {
        true => prop_oneof![Just(Body::None), length].boxed(),
        false => prop_oneof![Just(Body::None), length, chunked].boxed(),
    }
}

fn request() -> impl Strategy<Value = Request> {
    let version = prop_oneof![4 => Just(false), 1 => Just(true)];
    version.prop_flat_map(|is_http_10| {
        let connection = if is_http_10 {
            prop_oneof![4 => Just(Some("keep-alive")), 1 => Just(None), 1 => Just(Some("close"))].boxed()
        } else {
            prop_oneof![8 => Just(None), 2 => Just(Some("keep-alive")), 1 => Just(Some("close"))].boxed()
        };
        let parts = (select(&METHODS[..]), select(&TARGETS[..]), connection, vec(select(&HEADERS[..]), 0..4));
        (parts, body(is_http_10)).prop_map(move |((method, target, connection, headers), body)| Request {
            method,
            target,
            is_http_10,
            connection,
            headers,
            body,
        })
    })
}

fn cut((requests, cuts): (Vec<Request>, Vec<prop::sample::Index>)) -> Pipeline {
    let mut input = Vec::new();
    requests.iter().for_each(|request| request.write(&mut input));
    let last = requests.iter().position(|request| !request.persists());
    let read = &requests[..last.map_or(requests.len(), |last| last + 1)];
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
    cuts.sort_unstable();
    Pipeline { input, cuts, expected: read.iter().map(Request::expected).collect(), ends: last.is_some() }
}

/// Pipelines that every server reads alike.
pub(super) fn valid() -> impl Strategy<Value = Pipeline> {
    (vec(request(), 1..5), vec(any::<prop::sample::Index>(), 0..8)).prop_map(cut)
}

/// Replacements in the lines that frame a request.
const MUTATIONS: [(&str, &str); 56] = [
    ("\r\n", "\n"),
    ("\r\n", "\r"),
    ("\r\n", "\r\r\n"),
    ("\r\n", "\n\r"),
    ("\r\n", ""),
    ("\r\n", "\r\n\r\n"),
    ("\r\n", " \r\n"),
    ("\r\n", "\r\n "),
    ("\r\n", "\r\n\t"),
    ("\r\n", "\0\r\n"),
    ("\r\n", "\u{b}\r\n"),
    (": ", " : "),
    (": ", "\t: "),
    (": ", ":"),
    (": ", ":\t"),
    (": ", ":  "),
    (": ", ":\u{b}"),
    (": ", ":\r\n "),
    (": ", " "),
    (": ", "\0: "),
    ("Host: a\r\n", ""),
    ("Host: a\r\n", "Host: a\r\nHost: a\r\n"),
    ("Host: a", "Host: a, b"),
    ("Host: a", "Host: u@a"),
    ("Host: a", "Host: a/b"),
    ("HTTP/1.1", "HTTP/1.0"),
    ("HTTP/1.1", "HTTP/1.2"),
    ("HTTP/1.1", "HTTP/2.0"),
    ("HTTP/1.1", "http/1.1"),
    ("HTTP/1.1", "HTTP/1.1 "),
    (" HTTP/1.1", "  HTTP/1.1"),
    (" HTTP/1.1", "\tHTTP/1.1"),
    (" HTTP/1.1", "# HTTP/1.1"),
    (" HTTP/1.1", ""),
    (" HTTP/1.1", " x HTTP/1.1"),
    ("Content-Length: ", "Content-Length: +"),
    ("Content-Length: ", "Content-Length: 0"),
    ("Content-Length: ", "Content-Length: -"),
    ("Content-Length: ", "Content-Length: 5\r\nContent-Length: "),
    ("Content-Length: ", "Content-Length: 1, "),
    ("Content-Length: ", "Content-Length: 0x"),
    ("Content-Length: ", "Transfer-Encoding: chunked\r\nContent-Length: "),
    ("Content-Length: ", "Content_Length: "),
    ("chunked\r\n", "chunked\r\nContent-Length: 5\r\n"),
    (": chunked", ": xchunked"),
    (": chunked", ": gzip, chunked"),
    (": chunked", ": chunked, identity"),
    (": chunked", ": CHUNKED"),
    (": chunked", ": chunked, chunked"),
    (": chunked\r\n", ": chunked\r\nTransfer-Encoding: chunked\r\n"),
    ("\r\n0\r\n", "\r\n+0\r\n"),
    ("\r\n0\r\n", "\r\n0 \r\n"),
    ("\r\n0\r\n", "\r\n00\r\n"),
    ("\r\n0\r\n", "\r\n0;x=\u{7f}\r\n"),
    ("\r\n0\r\n", "\r\n\r\n"),
    ("Host: a\r\n", "Host: a\r\nExpect: 100-continue\r\n"),
];

/// Octets that parsers treat apart.
const OCTETS: &[u8] = b"\r\n\0 \t:;,+-_0x5a/#*\x0b\x0c\x7f\x80\xff\"";

/// A change of a pipeline.
#[derive(Debug, Clone)]
enum Change {
    /// Replaces one of the places where the mutation applies.
    Mutate((&'static str, &'static str), prop::sample::Index),
    Insert(u8, prop::sample::Index),
    Replace(u8, prop::sample::Index),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
}

impl Change {
    fn apply(&self, input: &mut Vec<u8>) {
        if input.is_empty() {
            return;
        }
        match self {
            Change::Mutate((from, to), place) => {
                let places: Vec<usize> =
                    (0..input.len()).filter(|start| input[*start..].starts_with(from.as_bytes())).collect();
                if !places.is_empty() {
                    let start = places[place.index(places.len())];
                    input.splice(start..start + from.len(), to.bytes());
                }
            }
            Change::Insert(octet, place) => input.insert(place.index(input.len() + 1), *octet),
            Change::Replace(octet, place) => {
                let at = place.index(input.len());
                input[at] = *octet;
            }
            Change::Remove(place) => _ = input.remove(place.index(input.len())),
            Change::Truncate(place) => input.truncate(place.index(input.len())),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        12 => (select(&MUTATIONS[..]), place()).prop_map(|(mutation, place)| Change::Mutate(mutation, place)),
        3 => (select(OCTETS), place()).prop_map(|(octet, place)| Change::Insert(octet, place)),
        3 => (select(OCTETS), place()).prop_map(|(octet, place)| Change::Replace(octet, place)),
        2 => place().prop_map(Change::Remove),
        1 => place().prop_map(Change::Truncate),
    ]
}

/// The requests behind a changed pipeline, for a server that waits for more of it. The log shows how they were read.
const LAST: &str = "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";

/// Pipelines with one change or two, which a server may accept or refuse.
pub(super) fn broken() -> impl Strategy<Value = Pipeline> {
    (valid(), vec(change(), 1..3)).prop_map(|(mut pipeline, changes)| {
        changes.iter().for_each(|change| change.apply(&mut pipeline.input));
        pipeline.input.extend_from_slice(LAST.repeat(3).as_bytes());
        (pipeline.expected, pipeline.ends) = (Vec::new(), false);
        pipeline
    })
}
