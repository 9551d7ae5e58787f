//! Destinations of outgoing connections.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use crate::net::{Endpoint, scoped_address};

/// Destination of an outgoing connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Address(Endpoint),
    Name(String, u16),
}

impl Target {
    /// A destination by host and port; the host may be an IP address.
    pub(crate) fn new(host: &str, port: u16) -> Self {
        match host.parse::<IpAddr>() {
            Ok(ip) => Target::Address(SocketAddr::new(ip, port).into()),
            Err(_) => match scoped_address(host, port) {
                Some(address) => Target::Address(address.into()),
                None => Target::Name(host.to_owned(), port),
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => address.fmt(formatter),
            Target::Name(name, port) => write!(formatter, "{name}:{port}"),
        }
    }
}

/// Parses `example.com:80`, `127.0.0.1:80`, `[::1]:80` or `unix:/run/example.sock`.
impl FromStr for Target {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let unfit = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Target::Address(Endpoint::Unix(path.into())));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| unfit("no port is given"))?;
        let port = port.parse().map_err(|_| unfit("the port is not a number from 0 to 65535"))?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        match bracketed.unwrap_or(host) {
            "" => Err(unfit("no host is given")),
            host => Ok(Target::new(host, port)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_host_with_a_port_or_a_socket_path() {
        let parsed = |text: &str| text.parse::<Target>().map(|target| target.to_string()).unwrap_or_default();
        for text in ["example.com:80", "127.0.0.1:80", "[::1]:80", "[fe80::1%1]:80"] {
            assert_eq!(parsed(text), text);
        }
        assert_eq!(parsed("unix:/run/example.sock"), "/run/example.sock");
        for text in ["example.com", "example.com:", "example.com:65536", ":80", "[]:80"] {
            assert_eq!(parsed(text), "", "{text}");
        }
    }
}
