//! Tests of URL parsing.

use super::{percent::decodes_to_an_escape, *};

fn parts(text: &str) -> (bool, String, u16, String) {
    let Url { secure, host, port, target, .. } = Url::parse(text).unwrap();
    (secure, host, port, target)
}

#[test]
fn url_is_parsed_into_scheme_host_port_and_target() {
    for (text, secure, host, port, target) in [
        ("ws://example.com", false, "example.com", 80, "/"),
        ("wss://example.com/", true, "example.com", 443, "/"),
        ("WS://example.com:8080/chat?room=1", false, "example.com", 8080, "/chat?room=1"),
        ("ws://127.0.0.1:9001/?a", false, "127.0.0.1", 9001, "/?a"),
        ("wss://[::1]/x", true, "::1", 443, "/x"),
        ("wss://[2001:db8::1]:4433?q=/", true, "2001:db8::1", 4433, "/?q=/"),
        ("ws://user:pass@example.com:1/", false, "example.com", 1, "/"),
        ("ws://example.com/?a=ws+unix:/b", false, "example.com", 80, "/?a=ws+unix:/b"),
    ] {
        assert_eq!(parts(text), (secure, host.to_owned(), port, target.to_owned()), "{text}");
    }
}

#[test]
fn authority_has_brackets_for_ipv6_and_only_a_non_default_port() {
    for (text, authority, location) in [
        ("ws://example.com:80/a", "example.com", "ws://example.com/a"),
        ("wss://example.com:80", "example.com:80", "wss://example.com:80/"),
        ("wss://u:p@[::1]:443/?x", "[::1]", "wss://[::1]/?x"),
        ("ws://[::1]:81/", "[::1]:81", "ws://[::1]:81/"),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!((url.authority().as_str(), url.location().as_str()), (authority, location));
    }
}

#[test]
fn unix_socket_url_is_parsed_into_socket_path_and_target() {
    for (text, secure, socket, target) in [
        ("ws+unix:/run/chat.sock", false, "/run/chat.sock", "/"),
        ("ws+unix:/run/chat.sock:/room?name=a:b", false, "/run/chat.sock", "/room?name=a:b"),
        ("ws+unix:///run/chat.sock:", false, "/run/chat.sock", "/"),
        ("WSS+UNIX:/run/a%20b:/", true, "/run/a b", "/"),
    ] {
        let url = Url::parse(text).unwrap();
        assert_eq!((url.secure, url.socket, url.target.as_str()), (secure, Some(PathBuf::from(socket)), target));
        assert_eq!(url.host, "localhost");
    }
    assert_eq!(Url::parse("ws+unix:chat.sock:/"), Err(UrlError::Socket));
    assert_eq!(Url::parse("ws+unix:"), Err(UrlError::Socket));
    assert_eq!(Url::parse("http+unix:/run/chat.sock"), Err(UrlError::Scheme));
}

#[test]
fn reference_is_resolved_against_the_url() {
    for (from, reference, to) in [
        ("ws://a/x/y?z", "", "ws://a/x/y?z"),
        ("ws://a/x/y?z", "b", "ws://a/x/b"),
        ("ws://a/x/y?z", "./b/../c?d=../e", "ws://a/x/c?d=../e"),
        ("ws://a/x/y?z", "../../..", "ws://a/"),
        ("ws://a/x/y/", ".", "ws://a/x/y/"),
        ("ws://a/x/y?z", "?q", "ws://a/x/y?q"),
        ("ws://a/x", "/b#top", "ws://a/b"),
        ("ws://a/x", "b:c", "error"),
        ("ws://a/x", "./b:c", "ws://a/b:c"),
        ("wss://a:1/x", "//b/c", "wss://b/c"),
        ("ws://a/x", "https://b:8443/c", "wss://b:8443/c"),
        ("ws://a/x", "HTTP://b", "ws://b/"),
        ("ws://a/x", "wss://b/c", "wss://b/c"),
        ("ws://a/x", "ws+unix:/run/other", "error"),
        ("ws://a/x", "file:///etc/passwd", "error"),
        ("ws://a/x", "/b c", "error"),
        ("ws://u:p@a/x", "/b", "ws://a/b"),
    ] {
        let joined = Url::parse(from).unwrap().join(reference);
        let location = joined.as_ref().map_or("error".to_owned(), Url::location);
        assert_eq!(location, to, "{reference:?} in {from}");
        assert!(joined.is_err() || joined.unwrap().credentials.is_none());
    }
}

#[test]
fn credentials_are_percent_decoded() {
    let credentials = |text| {
        let given = Url::parse(text).unwrap().credentials;
        given.map(|Credentials { user, password }| [user, password].map(|word| String::from_utf8(word).unwrap()))
    };
    let pair = |user: &str, password: &str| Some([user.to_owned(), password.to_owned()]);
    assert_eq!(credentials("ws://example.com/"), None);
    assert_eq!(credentials("ws://user:pass@example.com/"), pair("user", "pass"));
    assert_eq!(credentials("ws://us%3Aer:p%40%73s:s@example.com/"), pair("us:er", "p@ss:s"));
    assert_eq!(credentials("ws://token@example.com/"), pair("token", ""));
}

#[test]
fn credentials_are_removed_from_a_displayed_url() {
    for (url, shown) in [
        ("ws://user:secret@host:99999/a@b", "ws://host:99999/a@b"),
        ("ws://a@b@host", "ws://host"),
        ("user:secret@proxy:8080", "proxy:8080"),
        ("ws://host/?a@b", "ws://host/?a@b"),
        ("nonsense", "nonsense"),
    ] {
        assert_eq!(without_credentials(url), shown);
    }
}

#[test]
fn invalid_url_is_refused_with_the_error_of_its_part() {
    let octet = |part, octet, at| UrlError::Octet { part, octet, at };
    for (text, error) in [
        ("", UrlError::Scheme),
        ("example.com", UrlError::Scheme),
        ("http://example.com/", UrlError::Scheme),
        ("ws://example.com/#top", UrlError::Fragment),
        ("ws://example .com/", octet(UrlPart::Host, b' ', 12)),
        ("ws://example.com:99999/", UrlError::Port),
        ("ws://example.com:/", UrlError::Port),
        ("ws:///path", UrlError::Host),
        ("ws://[::1/", UrlError::Address),
        ("ws://example.com/a b", octet(UrlPart::Path, b' ', 18)),
        ("ws://example.com/?a b", octet(UrlPart::Query, b' ', 19)),
        ("ws://example.com/\r\nHost: evil", octet(UrlPart::Path, b'\r', 17)),
        ("ws://example.com/\u{e9}", octet(UrlPart::Path, 0xc3, 17)),
        ("ws://ex%61mple.com/", octet(UrlPart::Host, b'%', 7)),
        ("ws://[example.com]/", UrlError::Address),
        ("ws://[::1]x:80/", octet(UrlPart::Port, b'x', 10)),
        ("ws://[fe80::1%25]/", UrlError::Address),
        ("ws://[fe80::1%25a b]/", octet(UrlPart::Host, b' ', 17)),
        ("ws://user:[@1]/", octet(UrlPart::Credentials, b'[', 10)),
        ("ws://us[er@[::1]/", octet(UrlPart::Credentials, b'[', 7)),
        ("ws://example.com:+80/", octet(UrlPart::Port, b'+', 17)),
        ("ws://a@b@example.com/", octet(UrlPart::Host, b'@', 8)),
        ("ws+unix:/run/a%00b:/", UrlError::Socket),
    ] {
        assert_eq!(Url::parse(text), Err(error), "{text}");
    }
    assert_eq!(octet(UrlPart::Host, b' ', 12).to_string(), "the host has ' ' at byte 12");
}

#[test]
fn percent_sign_without_an_escape_is_kept() {
    for target in ["/?discount=50%", "/50%", "/%2", "/%zz?%"] {
        assert_eq!(parts(&format!("ws://example.com{target}")).3, target);
    }
    for path in ["/%%32e", "/%2%65"] {
        assert!(decodes_to_an_escape(path), "{path}");
    }
    for path in ["/", "/%41", "/50%", "/%2", "/%zz", "/%25", "/%%", "/%%zz", "/%2525"] {
        assert!(!decodes_to_an_escape(path), "{path}");
    }
}

#[test]
fn zone_of_a_link_local_address_is_not_part_of_the_authority() {
    for text in ["ws://[fe80::1%25lo]:8080/a", "ws://[fe80::1%lo]:8080/a"] {
        let url = Url::parse(text).unwrap();
        assert_eq!((url.host.as_str(), url.zone.as_deref(), url.port), ("fe80::1", Some("lo"), 8080));
        assert_eq!((url.authority().as_str(), url.scoped_host().as_str()), ("[fe80::1]:8080", "fe80::1%lo"));
    }
    assert!(!Url::parse("ws://[fe80::1%25a]/").unwrap().same_origin(&Url::parse("ws://[fe80::1%25b]/").unwrap()));
}
