//! URLs of Redis.

use std::{error::Error, fmt};

use crate::url::percent::decoded;

/// Where Redis is, and as whom to log in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RedisUrl {
    /// As [`Hub::connect_stream`](crate::Hub::connect_stream) takes it.
    pub(super) address: String,
    /// The name that the certificate has to be for. `None` without TLS.
    pub(super) tls_name: Option<String>,
    /// User, if the URL has one, and password.
    pub(super) credentials: Option<(Option<String>, String)>,
    pub(super) database: u32,
}

/// Why a URL of Redis is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisUrlError {
    /// The URL does not begin with `redis://`, `rediss://`, `unix://` or `redis+unix://`.
    Scheme,
    /// The host is missing or not valid.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// The path of the socket is missing.
    Path,
    /// The number of the database is no number.
    Database,
    /// User or password are no UTF-8 when they are decoded.
    Credentials,
    /// The URL has an option that is not known.
    Option(String),
    /// TLS is not available without the feature `tls`.
    Tls,
}

impl fmt::Display for RedisUrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RedisUrlError::Scheme => "a URL of Redis begins with redis://, rediss://, unix:// or redis+unix://",
            RedisUrlError::Host => "the host is missing or not valid",
            RedisUrlError::Port => "the port is no number from 1 to 65535",
            RedisUrlError::Path => "the path of the socket is missing",
            RedisUrlError::Database => "the database is no number",
            RedisUrlError::Credentials => "user and password are no UTF-8",
            RedisUrlError::Option(name) => return write!(formatter, "the option {name:?} is not known"),
            RedisUrlError::Tls => "rediss:// needs the feature `tls`",
        })
    }
}

impl Error for RedisUrlError {}

/// Port of Redis.
const PORT: u16 = 6379;

impl RedisUrl {
    pub(super) fn parse(url: &str) -> Result<Self, RedisUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(RedisUrlError::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut database = None;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("db", number)) => database = Some(number),
                _ => return Err(RedisUrlError::Option(option.split('=').next().unwrap_or_default().to_owned())),
            }
        }
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "redis" => false,
            "rediss" if cfg!(feature = "tls") => true,
            "rediss" => return Err(RedisUrlError::Tls),
            "unix" | "redis+unix" => return RedisUrl::of_socket(rest, database),
            _ => return Err(RedisUrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, server) = split_credentials(authority)?;
        let (host, port) = split_port(server)?;
        if !path.is_empty() {
            database = Some(path);
        }
        Ok(RedisUrl {
            address: format!("{host}:{port}"),
            tls_name: is_secure.then(|| host.trim_start_matches('[').trim_end_matches(']').to_owned()),
            credentials,
            database: parse_database(database)?,
        })
    }

    /// A Unix socket: `[user:password@]/path`.
    fn of_socket(rest: &str, database: Option<&str>) -> Result<Self, RedisUrlError> {
        // The path may hold an `@`.
        let begin = rest.find('/').ok_or(RedisUrlError::Path)?;
        let (authority, path) = rest.split_at(begin);
        let credentials = match authority.strip_suffix('@') {
            Some(_) => split_credentials(authority)?.0,
            None if authority.is_empty() => None,
            None => return Err(RedisUrlError::Path),
        };
        let path = String::from_utf8(decoded(path)).map_err(|_| RedisUrlError::Path)?;
        if path.len() == 1 {
            return Err(RedisUrlError::Path);
        }
        let database = parse_database(database)?;
        Ok(RedisUrl { address: format!("unix:{path}"), tls_name: None, credentials, database })
    }
}

/// Without the password.
impl fmt::Debug for RedisUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisUrl").field("address", &self.address).finish_non_exhaustive()
    }
}

/// User and password, and what follows them.
type Login<'u> = (Option<(Option<String>, String)>, &'u str);

/// Splits `user:password@server`.
fn split_credentials(authority: &str) -> Result<Login<'_>, RedisUrlError> {
    let Some((login, server)) = authority.rsplit_once('@') else { return Ok((None, authority)) };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let text = |part: &str| String::from_utf8(decoded(part)).map_err(|_| RedisUrlError::Credentials);
    let user = if user.is_empty() { None } else { Some(text(user)?) };
    let password = text(password)?;
    let is_empty = user.is_none() && password.is_empty();
    Ok(((!is_empty).then_some((user, password)), server))
}

/// Splits `host:port`. An IPv6 address keeps its brackets.
fn split_port(server: &str) -> Result<(&str, u16), RedisUrlError> {
    let after_address = server.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match server[after_address..].rfind(':') {
        Some(colon) => (&server[..after_address + colon], Some(&server[after_address + colon + 1..])),
        None => (server, None),
    };
    let is_valid = |octet: u8| octet.is_ascii_graphic() && !b"/?#@\\".contains(&octet);
    if host.is_empty() || !host.bytes().all(is_valid) || host.contains(':') && !host.starts_with('[') {
        return Err(RedisUrlError::Host);
    }
    match port {
        None => Ok((host, PORT)),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => Err(RedisUrlError::Port),
            Ok(port) => Ok((host, port)),
        },
    }
}

fn parse_database(number: Option<&str>) -> Result<u32, RedisUrlError> {
    number.map_or(Ok(0), |number| number.parse().map_err(|_| RedisUrlError::Database))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> (String, Option<(Option<String>, String)>, u32, bool) {
        let url = RedisUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        (url.address, url.credentials, url.database, url.tls_name.is_some())
    }

    #[test]
    fn urls_are_parsed_as_other_clients_parse_them() {
        let login = |user: Option<&str>, password: &str| Some((user.map(str::to_owned), password.to_owned()));
        let cases = [
            ("redis://localhost", ("localhost:6379", None, 0)),
            ("redis://localhost/", ("localhost:6379", None, 0)),
            ("REDIS://10.0.0.1:7000/3", ("10.0.0.1:7000", None, 3)),
            ("redis://h?db=4", ("h:6379", None, 4)),
            ("redis://[::1]:6380/1", ("[::1]:6380", None, 1)),
            ("redis://[fe80::1]", ("[fe80::1]:6379", None, 0)),
            ("redis://:p%40ss@h", ("h:6379", login(None, "p@ss"), 0)),
            ("redis://user:a:b@h:1", ("h:1", login(Some("user"), "a:b"), 0)),
            ("redis://us%65r:@h", ("h:6379", login(Some("user"), ""), 0)),
            ("redis://user@h", ("h:6379", login(Some("user"), ""), 0)),
            ("unix:///run/redis.sock", ("unix:/run/redis.sock", None, 0)),
            ("redis+unix://u:p@/run/a%20b@c?db=2", ("unix:/run/a b@c", login(Some("u"), "p"), 2)),
        ];
        for (url, (address, credentials, database)) in cases {
            assert_eq!(parsed(url), (address.to_owned(), credentials, database, false), "{url}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn certificate_is_for_the_host() {
        let name = |url: &str| RedisUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}")).tls_name;
        assert_eq!(name("rediss://cache.example:1/2").as_deref(), Some("cache.example"));
        assert_eq!(name("rediss://u:p@[::1]").as_deref(), Some("::1"));
    }

    #[test]
    fn bad_urls_say_what_is_bad() {
        let cases = [
            ("", RedisUrlError::Scheme),
            ("localhost:6379", RedisUrlError::Scheme),
            ("http://localhost", RedisUrlError::Scheme),
            ("redis://", RedisUrlError::Host),
            ("redis://:6379", RedisUrlError::Host),
            ("redis://::1", RedisUrlError::Host),
            ("redis://a b", RedisUrlError::Host),
            ("redis://h:0", RedisUrlError::Port),
            ("redis://h:70000", RedisUrlError::Port),
            ("redis://h:", RedisUrlError::Port),
            ("redis://h/x", RedisUrlError::Database),
            ("redis://h/-1", RedisUrlError::Database),
            ("redis://:%ff@h", RedisUrlError::Credentials),
            ("redis://h?timeout=3", RedisUrlError::Option("timeout".to_owned())),
            ("unix://", RedisUrlError::Path),
            ("unix://run/redis.sock", RedisUrlError::Path),
            ("unix:///", RedisUrlError::Path),
        ];
        for (url, error) in cases {
            assert_eq!(RedisUrl::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn password_is_in_no_debug_output() {
        let url = RedisUrl::parse("redis://user:secret@h").unwrap_or_else(|error| panic!("{error}"));
        assert!(!format!("{url:?}").contains("secret"));
    }
}
