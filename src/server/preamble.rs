//! Requests that a server answers beside WebSocket, as em-websocket does: Flash's policy request and a load balancer's
//! health check.
//!
//! Both are recognised byte by byte at the start of the stream, wherever the network cuts the stream.

/// A recognised request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preamble {
    /// `<policy-file-request/>`: a Flash player sends it before it lets a page connect. Flash emulations of WebSocket
    /// use it.
    FlashPolicy,
    /// `GET` or `HEAD` of `/healthcheck`. The rest of the request is ignored.
    Healthcheck(Method),
}

impl Preamble {
    /// The complete response. The policy allows all; neither a NUL nor a line end follows it.
    pub(crate) fn answer(self) -> &'static [u8] {
        match self {
            Preamble::FlashPolicy => {
                br#"<?xml version="1.0"?><cross-domain-policy><allow-access-from domain="*" to-ports="*"/></cross-domain-policy>"#
            }
            Preamble::Healthcheck(Method::Get) => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\nOK"
            }
            Preamble::Healthcheck(Method::Head) => {
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
            }
        }
    }
}

const POLICY: &[u8] = b"<policy-file-request";
/// Longest policy request, with its white space, in bytes. No player sends as much.
const LONGEST_POLICY: usize = 100;

/// Method of a health check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
}

impl Method {
    /// The start of the request.
    fn healthcheck(self) -> &'static [u8] {
        match self {
            Method::Get => b"GET /healthcheck",
            Method::Head => b"HEAD /healthcheck",
        }
    }
}

/// Progress of the recognition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PreambleScanner {
    /// No significant byte yet. An empty line before a request is skipped (RFC 9112 §2.2).
    Nothing {
        flash_policy: bool,
        healthcheck: bool,
    },
    /// The CR of an empty line.
    LineEnd {
        flash_policy: bool,
        healthcheck: bool,
    },
    /// Bytes of a policy request seen; those beyond `POLICY` are white space.
    Policy(usize),
    /// The `/` was seen, the `>` was not.
    PolicyEnd,
    Healthcheck(Method, usize),
    /// HTTP, or anything else.
    Http,
}

/// Result of the recognition so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scan {
    /// A request to be answered.
    Preamble(Preamble),
    /// HTTP, or still undecided: to be read as HTTP.
    Http,
    /// The start of a policy request, which no HTTP request shares.
    Policy,
    /// The start of a policy request, followed by something else.
    Nonsense,
    /// TLS, by the type of its first record (RFC 8446 §5.1): the client uses `wss`, the server speaks `ws`.
    Tls,
}

impl PreambleScanner {
    /// Takes the next bytes. Once the stream is known to be HTTP, the call costs nothing.
    pub(crate) fn read(&mut self, data: &[u8]) -> Scan {
        for octet in data {
            *self = match (*self, octet) {
                (PreambleScanner::Http, _) => break,
                (PreambleScanner::Nothing { flash_policy, healthcheck }, b'\r') => {
                    PreambleScanner::LineEnd { flash_policy, healthcheck }
                }
                (PreambleScanner::LineEnd { flash_policy, healthcheck }, b'\n') => {
                    PreambleScanner::Nothing { flash_policy, healthcheck }
                }
                (PreambleScanner::Nothing { flash_policy: true, .. }, b'<') => PreambleScanner::Policy(1),
                (PreambleScanner::Nothing { healthcheck: true, .. }, b'G') => {
                    PreambleScanner::Healthcheck(Method::Get, 1)
                }
                (PreambleScanner::Nothing { healthcheck: true, .. }, b'H') => {
                    PreambleScanner::Healthcheck(Method::Head, 1)
                }
                (PreambleScanner::Nothing { .. }, 0x16) => return Scan::Tls,
                (PreambleScanner::Nothing { .. } | PreambleScanner::LineEnd { .. }, _) => PreambleScanner::Http,
                (PreambleScanner::Policy(known), octet) if POLICY.get(known) == Some(octet) => {
                    PreambleScanner::Policy(known + 1)
                }
                (PreambleScanner::Policy(known), b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
                    if (POLICY.len()..LONGEST_POLICY).contains(&known) =>
                {
                    PreambleScanner::Policy(known + 1)
                }
                (PreambleScanner::Policy(known), b'/') if known >= POLICY.len() => PreambleScanner::PolicyEnd,
                (PreambleScanner::PolicyEnd, b'>') => return Scan::Preamble(Preamble::FlashPolicy),
                (PreambleScanner::Policy(_) | PreambleScanner::PolicyEnd, _) => return Scan::Nonsense,
                (PreambleScanner::Healthcheck(method, known), octet)
                    if method.healthcheck().get(known) == Some(octet) =>
                {
                    PreambleScanner::Healthcheck(method, known + 1)
                }
                // The path ends here; a longer path, such as `/healthchecks`, belongs to the application.
                (PreambleScanner::Healthcheck(method, known), b' ' | b'?' | b'\r' | b'\n')
                    if known == method.healthcheck().len() =>
                {
                    return Scan::Preamble(Preamble::Healthcheck(method));
                }
                (PreambleScanner::Healthcheck(..), _) => PreambleScanner::Http,
            };
        }
        match self {
            PreambleScanner::Policy(_) | PreambleScanner::PolicyEnd => Scan::Policy,
            _ => Scan::Http,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> PreambleScanner {
        PreambleScanner::Nothing { flash_policy: true, healthcheck: true }
    }

    /// The result for `input`; checks that the result is the same byte by byte.
    fn scan(input: &[u8]) -> Scan {
        let whole = start().read(input);
        let mut pieces = start();
        let mut by_byte = Scan::Http;
        for octet in input {
            by_byte = pieces.read(&[*octet]);
            if !matches!(by_byte, Scan::Http | Scan::Policy) {
                break;
            }
        }
        assert_eq!(by_byte, whole, "{}", String::from_utf8_lossy(input));
        whole
    }

    #[test]
    fn flash_policy_request_is_recognised() {
        assert_eq!(Preamble::FlashPolicy.answer().len(), 108);
        for request in [&b"<policy-file-request/>\0"[..], b"<policy-file-request  \n/>", b"<policy-file-request/>junk"]
        {
            assert_eq!(scan(request), Scan::Preamble(Preamble::FlashPolicy));
        }
        assert_eq!(scan(b"<policy-file-request"), Scan::Policy);
        assert_eq!(scan(b"<policy-file-requests/>"), Scan::Nonsense);
        assert_eq!(scan(b"<policy-file-request/ >"), Scan::Nonsense);
        assert_eq!(scan(b"<html>"), Scan::Nonsense);
        assert_eq!(scan(&[POLICY, &[b' '; 100]].concat()), Scan::Nonsense);
        assert_eq!(scan(b"\r\n<policy-file-request/>"), Scan::Preamble(Preamble::FlashPolicy));
        assert_eq!(scan(b"\n<policy-file-request/>"), Scan::Http, "a bare LF is no empty line");
    }

    #[test]
    fn health_check_request_is_recognised() {
        for request in
            ["GET /healthcheck HTTP/1.0\r\n\r\n", "\r\nGET /healthcheck?x HTTP/1.1\r\n", "GET /healthcheck\r\n"]
        {
            assert_eq!(scan(request.as_bytes()), Scan::Preamble(Preamble::Healthcheck(Method::Get)));
        }
        let head = scan(b"HEAD /healthcheck HTTP/1.1\r\n");
        assert_eq!(head, Scan::Preamble(Preamble::Healthcheck(Method::Head)));
        for request in
            ["GET /healthcheck", "GET /healthchecks HTTP/1.1\r\n", "GET /health HTTP/1.1\r\n", "GRAB", "POST", "HEAP"]
        {
            assert_eq!(scan(request.as_bytes()), Scan::Http, "{request}");
        }
    }

    #[test]
    fn disabled_preamble_is_read_as_http() {
        for request in ["<policy-file-request/>", "GET /healthcheck HTTP/1.1\r\n"] {
            let mut off = PreambleScanner::Nothing { flash_policy: false, healthcheck: false };
            assert_eq!(off.read(request.as_bytes()), Scan::Http);
        }
    }
}
