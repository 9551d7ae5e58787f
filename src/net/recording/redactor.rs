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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the first word of a line: the name of a header, or a method.
    Name,
    /// Behind the first word of a request line or status line, before a query.
    Target,
    /// In the name of a parameter.
    Parameter,
    /// In the value of a parameter. `true`: it is secret.
    ParameterValue(bool),
    /// In the value of a header.
    Value,
    /// In the value of a secret header.
    Secret,
    /// In the value of a secret header with pairs, such as `Cookie`: in a name, or in its value.
    PairName,
    PairValue,
}

impl Redactor {
    pub(crate) fn new(secrets: Rc<Secrets>) -> Self {
        Redactor { secrets, place: Place::Name, name: Vec::new() }
    }

    /// Redacts the next bytes in place.
    pub(crate) fn redact(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.place = match (self.place, *byte) {
                (_, b'\n') => {
                    self.name.clear();
                    Place::Name
                }
                (Place::Name, b':') => self.header(),
                (Place::Name, b' ') => Place::Target,
                (Place::Name, letter) => self.push(letter),
                (Place::Target, b'?') | (Place::Parameter | Place::ParameterValue(_), b'&') => {
                    self.name.clear();
                    Place::Parameter
                }
                (Place::Parameter | Place::ParameterValue(_), b' ' | b'#') => Place::Target,
                (Place::Parameter, b'=') => Place::ParameterValue(self.is_secret(&self.secrets.parameters)),
                (Place::Parameter, letter) => self.push(letter),
                (Place::PairName, b'=') => Place::PairValue,
                (Place::PairValue, b';') => Place::PairName,
                (place @ (Place::Secret | Place::PairValue | Place::ParameterValue(true)), letter) => {
                    if !letter.is_ascii_whitespace() {
                        *byte = b'x';
                    }
                    place
                }
                (place, _) => place,
            };
        }
    }

    fn push(&mut self, letter: u8) -> Place {
        if self.name.len() < LONGEST_NAME {
            self.name.push(letter.to_ascii_lowercase());
        }
        self.place
    }

    fn header(&self) -> Place {
        match self.name.as_slice() {
            _ if !self.is_secret(&self.secrets.headers) => Place::Value,
            b"cookie" | b"set-cookie" => Place::PairName,
            _ => Place::Secret,
        }
    }

    fn is_secret(&self, names: &[String]) -> bool {
        names.iter().any(|name| name.as_bytes() == self.name)
    }
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
}
