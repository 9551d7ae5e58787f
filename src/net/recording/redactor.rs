//! Redaction of credentials in heads of HTTP, as they arrive in pieces.

use std::rc::Rc;

/// Longest name of a header or of a parameter that is looked for.
const LONGEST_NAME: usize = 64;

/// Names whose values are redacted.
#[derive(Debug)]
pub(crate) struct Secrets {
    /// Names of headers, in lower case.
    pub(crate) headers: Vec<String>,
    /// Names of parameters in the query of a target, in lower case.
    pub(crate) parameters: Vec<String>,
}

/// Replaces the values of secret headers and query parameters of one connection by `x`. Lengths stay as they are.
#[derive(Debug)]
pub(crate) struct Redactor {
    secrets: Rc<Secrets>,
    place: Place,
    /// The name that has begun.
    name: Vec<u8>,
    /// The first bytes of the stream, as long as they may be a header of the PROXY protocol, version 2.
    start: Option<Vec<u8>>,
    /// Bytes of that header that follow.
    skip: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line. A line that begins with a space continues the header before it.
    Line(Value),
    /// In the first word of a line: the name of a header, or a method.
    Name,
    In(Value),
}

/// Places behind the first word of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// In a target, or in the value of a header.
    Open,
    /// In the name of a parameter.
    Parameter,
    /// In the value of a secret parameter.
    SecretParameter,
    /// In the value of a secret header.
    Secret,
    /// In the value of a secret header with pairs, such as `Cookie`: in a name, or in the value behind it.
    PairName,
    SecretPair,
}

/// The beginning of a header of the PROXY protocol, version 2. 4 bytes follow, the last two of which are the length of
/// the rest.
const PROXY_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const PROXY_BYTES: usize = 16;

impl Redactor {
    pub(crate) fn new(secrets: Rc<Secrets>) -> Self {
        Redactor { secrets, place: Place::Line(Value::Open), name: Vec::new(), start: Some(Vec::new()), skip: 0 }
    }

    /// Redacts the next bytes in place.
    pub(crate) fn redact(&mut self, bytes: &mut [u8]) {
        let begin = self.skip_proxy_header(bytes);
        let bytes = &mut bytes[begin..];
        // Start of the pair of a cookie, or of the authority of a URL, whose end shows that it is secret.
        let (mut pair, mut authority) = (0, None);
        for at in 0..bytes.len() {
            let byte = bytes[at];
            self.place = match (self.place, byte) {
                (Place::Line(value), b' ' | b'\t') => Place::In(value),
                (Place::Line(_), b'\r' | b'\n') => Place::Line(Value::Open),
                (Place::Line(_), letter) => {
                    self.name.clear();
                    self.push(letter);
                    Place::Name
                }
                (Place::Name, b'\n') => Place::Line(Value::Open),
                (Place::Name, b':') => {
                    pair = at + 1;
                    Place::In(self.header())
                }
                (Place::Name, b' ' | b'\t') if self.is_secret(&self.secrets.headers) => Place::Name,
                (Place::Name, b' ' | b'\t') => Place::In(Value::Open),
                (Place::Name, letter) => self.push(letter),
                (Place::In(value), b'\n') => {
                    if value == Value::PairName {
                        mask(&mut bytes[pair..at]);
                    }
                    Place::Line(value)
                }
                (Place::In(Value::Open | Value::Parameter), b'@') => {
                    if let Some(start) = authority.take() {
                        mask(&mut bytes[start..at]);
                    }
                    self.place
                }
                (Place::In(Value::Open | Value::Parameter), b'?' | b'&' | b';')
                | (Place::In(Value::SecretParameter), b'&' | b';') => {
                    self.name.clear();
                    Place::In(Value::Parameter)
                }
                (Place::In(Value::Parameter | Value::SecretParameter), b' ' | b'#' | b'"') => Place::In(Value::Open),
                (Place::In(Value::Parameter), b'=') => match self.is_secret(&self.secrets.parameters) {
                    true => Place::In(Value::SecretParameter),
                    false => Place::In(Value::Open),
                },
                (Place::In(Value::Parameter), letter) => self.push(letter),
                (Place::In(Value::PairName), b'=') => Place::In(Value::SecretPair),
                (Place::In(Value::PairName), b';') => {
                    mask(&mut bytes[pair..at]);
                    pair = at + 1;
                    self.place
                }
                (Place::In(Value::SecretPair), b';') => {
                    pair = at + 1;
                    Place::In(Value::PairName)
                }
                (Place::In(Value::Secret | Value::SecretPair | Value::SecretParameter), _) => {
                    mask(&mut bytes[at..=at]);
                    self.place
                }
                (place, _) => place,
            };
            authority = match byte {
                b'/' if at > 0 && bytes[at - 1] == b'/' => Some(at + 1),
                b'/' | b' ' | b'\n' | b'?' => None,
                _ => authority,
            };
        }
    }

    /// Number of bytes that belong to a header of the PROXY protocol.
    fn skip_proxy_header(&mut self, bytes: &[u8]) -> usize {
        let Some(mut start) = self.start.take() else {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return skipped;
        };
        let held = start.len();
        start.extend(bytes.iter().take(PROXY_BYTES - held));
        let compared = start.len().min(PROXY_SIGNATURE.len());
        if start[..compared] != PROXY_SIGNATURE[..compared] {
            return 0;
        }
        if start.len() < PROXY_BYTES {
            self.start = Some(start);
            return bytes.len();
        }
        let rest = usize::from(u16::from_be_bytes([start[14], start[15]]));
        let here = PROXY_BYTES - held;
        let skipped = rest.min(bytes.len() - here);
        self.skip = rest - skipped;
        here + skipped
    }

    fn push(&mut self, letter: u8) -> Place {
        if self.name.len() < LONGEST_NAME {
            self.name.push(letter.to_ascii_lowercase());
        }
        self.place
    }

    fn header(&self) -> Value {
        match self.name.as_slice() {
            _ if !self.is_secret(&self.secrets.headers) => Value::Open,
            b"cookie" | b"set-cookie" => Value::PairName,
            _ => Value::Secret,
        }
    }

    /// Returns `true` if the name is one of these, however it is written.
    fn is_secret(&self, names: &[String]) -> bool {
        let decoded = percent_decoded(&self.name);
        names.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(&decoded))
    }
}

fn percent_decoded(name: &[u8]) -> Vec<u8> {
    let (mut decoded, mut rest) = (Vec::with_capacity(name.len()), name);
    while let [first, after @ ..] = rest {
        let escape = after.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (decoded.push(byte), rest = &after[2..]),
            None => (decoded.push(*first), rest = after),
        };
    }
    decoded
}

fn mask(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|byte| !byte.is_ascii_whitespace()).for_each(|byte| *byte = b'x');
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "GET /chat?room=1&Token=abc&b=c#d HTTP/1.1\r\nHost: a:80\r\nAUTHORIZATION: Basic dXNlcjo=\r\n\
        Cookie: session=s3cr;et=; theme=dark\r\nX-Other: token=1\r\n\r\nGET /?token=zz HTTP/1.1\r\n\r\n";
    const REDACTED: &str = "GET /chat?room=1&Token=xxx&b=c#d HTTP/1.1\r\nHost: a:80\r\n\
        AUTHORIZATION: xxxxx xxxxxxxx\r\nCookie: session=xxxx;et=; theme=xxxx\r\nX-Other: token=1\r\n\r\n\
        GET /?token=xx HTTP/1.1\r\n\r\n";

    fn redactor() -> Redactor {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (headers, parameters) = (names(&["authorization", "cookie", "set-cookie"]), names(&["token"]));
        Redactor::new(Rc::new(Secrets { headers, parameters }))
    }

    #[test]
    fn values_of_secret_headers_and_parameters_are_replaced_however_they_arrive() {
        for size in [1, 2, 7, HEAD.len()] {
            let (mut redactor, mut bytes) = (redactor(), HEAD.as_bytes().to_vec());
            bytes.chunks_mut(size).for_each(|chunk| redactor.redact(chunk));
            assert_eq!(String::from_utf8(bytes).unwrap(), REDACTED, "in pieces of {size}");
        }
    }

    #[test]
    fn response_keeps_its_status_line_and_loses_its_cookies() {
        let mut bytes = b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: id=12; Path=/\r\n\r\n".to_vec();
        redactor().redact(&mut bytes);
        assert_eq!(bytes, b"HTTP/1.1 101 Switching Protocols\r\nSet-Cookie: id=xx; Path=x\r\n\r\n");
    }

    #[test]
    fn unusual_forms_are_redacted_as_well() {
        for (line, redacted) in [
            ("Cookie: nameless", "Cookie: xxxxxxxx"),
            ("Cookie: a=1; nameless", "Cookie: a=x; xxxxxxxx"),
            ("Authorization:\r\n Bearer folded", "Authorization:\r\n xxxxxx xxxxxx"),
            ("Authorization : Bearer spaced", "Authorization : xxxxxx xxxxxx"),
            ("Referer: https://a/?token=abc&b=1", "Referer: https://a/?token=xxx&b=1"),
            ("Location: /?next=/x?token=abc", "Location: /?next=/x?token=xxx"),
            ("GET /?%74oken=abc HTTP/1.1", "GET /?%74oken=xxx HTTP/1.1"),
            ("GET /?a=b;token=abc HTTP/1.1", "GET /?a=b;token=xxx HTTP/1.1"),
            ("GET http://me:pass@host/ HTTP/1.1", "GET http://xxxxxxx@host/ HTTP/1.1"),
            ("GET /@me?mail=me@host HTTP/1.1", "GET /@me?mail=me@host HTTP/1.1"),
        ] {
            let mut bytes = format!("{line}\r\n\r\n").into_bytes();
            redactor().redact(&mut bytes);
            assert_eq!(String::from_utf8(bytes).unwrap(), format!("{redacted}\r\n\r\n"));
        }
    }

    #[test]
    fn header_of_the_proxy_protocol_is_passed_over() {
        // The addresses have a colon among their bytes.
        let proxied = [PROXY_SIGNATURE, &[0x21, 0x11, 0, 12], b"::::::::::::", HEAD.as_bytes()].concat();
        for size in [1, 5, 17, proxied.len()] {
            let (mut redactor, mut bytes) = (redactor(), proxied.clone());
            bytes.chunks_mut(size).for_each(|chunk| redactor.redact(chunk));
            assert_eq!(String::from_utf8_lossy(&bytes[28..]), REDACTED, "in pieces of {size}");
        }
    }
}
