//! URLs of Redis.

use std::{error::Error, fmt};

use crate::{reactor::Target, url::percent::decoded};

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
    /// Sentinels, which know the address of the master.
    pub(super) sentinels: Option<Sentinels>,
}

/// Sentinels, and the name of the master that they watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sentinels {
    pub(super) addresses: Vec<String>,
    pub(super) master: String,
}

/// Why a URL of Redis is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisUrlError {
    /// The URL does not begin with `redis://`, `rediss://`, `unix://`, `redis+unix://` or `redis+sentinel://`.
    Scheme,
    /// The host is missing or not valid.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// The path of the socket is missing.
    Path,
    /// The name of the master is missing.
    Master,
    /// The number of the database is no number.
    Database,
    /// User or password have an invalid percent escape, or are no UTF-8 when they are decoded.
    Credentials,
    /// The URL has an option that is not known.
    Option(String),
    /// TLS is not available without the feature `tls`.
    Tls,
}

impl fmt::Display for RedisUrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            RedisUrlError::Scheme => "a URL of Redis begins with redis://, rediss://, unix:// or redis+sentinel://",
            RedisUrlError::Host => "the host is missing or not valid",
            RedisUrlError::Port => "the port is no number from 1 to 65535",
            RedisUrlError::Path => "the path of the socket is missing",
            RedisUrlError::Master => "the name of the master is missing",
            RedisUrlError::Database => "the database is no number",
            RedisUrlError::Credentials => "user or password have an invalid escape, or are no UTF-8",
            RedisUrlError::Option(name) => return write!(formatter, "the option {name:?} is not known"),
            RedisUrlError::Tls => "rediss:// needs the feature `tls`",
        })
    }
}

impl Error for RedisUrlError {}

/// Port of Redis.
const PORT: u16 = 6379;

/// Port of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

/// `host:port`. IPv6 addresses have brackets.
pub(super) fn join(host: &[u8], port: &[u8]) -> String {
    let (host, port) = (String::from_utf8_lossy(host), String::from_utf8_lossy(port));
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

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
            "redis+sentinel" => return RedisUrl::of_sentinels(rest, database),
            _ => return Err(RedisUrlError::Scheme),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, server) = split_credentials(authority)?;
        let (host, port) = split_port(server, PORT)?;
        if !path.is_empty() {
            database = Some(path);
        }
        Ok(RedisUrl {
            address: format!("{host}:{port}"),
            tls_name: is_secure.then(|| host.trim_start_matches('[').trim_end_matches(']').to_owned()),
            credentials,
            database: parse_database(database)?,
            sentinels: None,
        })
    }

    /// Sentinels: `[user:password@]host[:port],…/master[/database]`.
    fn of_sentinels(rest: &str, database: Option<&str>) -> Result<Self, RedisUrlError> {
        let (authority, path) = rest.split_once('/').ok_or(RedisUrlError::Master)?;
        let (master, in_path) = path.split_once('/').map_or((path, None), |(master, number)| (master, Some(number)));
        let (credentials, servers) = split_credentials(authority)?;
        let address = |server| split_port(server, SENTINEL_PORT).map(|(host, port)| format!("{host}:{port}"));
        let addresses = servers.split(',').map(address).collect::<Result<_, _>>()?;
        let master = String::from_utf8(decoded(master)).map_err(|_| RedisUrlError::Master)?;
        if master.is_empty() {
            return Err(RedisUrlError::Master);
        }
        let database = parse_database(in_path.or(database))?;
        let address = format!("{servers}/{master}");
        Ok(RedisUrl {
            address,
            tls_name: None,
            credentials,
            database,
            sentinels: Some(Sentinels { addresses, master }),
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
        Ok(RedisUrl { address: format!("unix:{path}"), tls_name: None, credentials, database, sentinels: None })
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
    let text = |part: &str| match has_only_escapes(part) {
        true => String::from_utf8(decoded(part)).map_err(|_| RedisUrlError::Credentials),
        false => Err(RedisUrlError::Credentials),
    };
    let user = if user.is_empty() { None } else { Some(text(user)?) };
    let password = text(password)?;
    let is_empty = user.is_none() && password.is_empty();
    Ok(((!is_empty).then_some((user, password)), server))
}

/// Returns `true` if each percent sign begins an escape.
fn has_only_escapes(text: &str) -> bool {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
    text.split('%').skip(1).all(is_escape)
}

/// Splits `host:port`. An IPv6 address keeps its brackets.
fn split_port(server: &str, default: u16) -> Result<(&str, u16), RedisUrlError> {
    let after_address = server.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match server[after_address..].rfind(':') {
        Some(colon) => (&server[..after_address + colon], Some(&server[after_address + colon + 1..])),
        None => (server, None),
    };
    let is_valid = |octet: u8| octet.is_ascii_graphic() && !b"/?#@\\".contains(&octet);
    let is_host = !host.contains([':', '[', ']']) || host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || !host.bytes().all(is_valid) || !is_host || format!("{host}:1").parse::<Target>().is_err() {
        return Err(RedisUrlError::Host);
    }
    match port.map_or(Ok(default), str::parse) {
        Ok(0) | Err(_) => Err(RedisUrlError::Port),
        Ok(port) => Ok((host, port)),
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

    #[test]
    fn sentinels_are_named_with_their_master() {
        let url = RedisUrl::parse("redis+sentinel://u:p@a,[::1]:7,c:8/my%20master/2");
        let url = url.unwrap_or_else(|error| panic!("{error}"));
        let Some(Sentinels { addresses, master }) = url.sentinels else { panic!("sentinels") };
        assert_eq!(
            (addresses, master.as_str(), url.database),
            (["a:26379", "[::1]:7", "c:8"].map(str::to_owned).to_vec(), "my master", 2)
        );
        assert_eq!(url.credentials, Some((Some("u".to_owned()), "p".to_owned())));
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
            ("redis://[]", RedisUrlError::Host),
            ("redis://h:0", RedisUrlError::Port),
            ("redis://h:70000", RedisUrlError::Port),
            ("redis://h:", RedisUrlError::Port),
            ("redis://h/x", RedisUrlError::Database),
            ("redis://h/-1", RedisUrlError::Database),
            ("redis://:%ff@h", RedisUrlError::Credentials),
            ("redis://%zz:a@h", RedisUrlError::Credentials),
            ("redis://a:%f@h", RedisUrlError::Credentials),
            ("redis://[::1", RedisUrlError::Host),
            ("redis://h?timeout=3", RedisUrlError::Option("timeout".to_owned())),
            ("unix://", RedisUrlError::Path),
            ("unix://run/redis.sock", RedisUrlError::Path),
            ("unix:///", RedisUrlError::Path),
            ("redis+sentinel://h", RedisUrlError::Master),
            ("redis+sentinel://h/", RedisUrlError::Master),
            ("redis+sentinel://h,/m", RedisUrlError::Host),
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
