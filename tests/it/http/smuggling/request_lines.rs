//! Request lines: white space, methods, targets, versions (RFC 9112 §3).

use super::{Part, accepted, outcome, refused};

fn with_line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [line.as_ref(), b"\r\nHost: a\r\n\r\n"].concat()
}

#[test]
fn request_line_with_other_white_space_than_two_spaces_is_refused() {
    // nginx CVE-2013-4547: a space in the target. RFC 9112 §3 allows such lines to be read leniently.
    for line in [
        "POST  /carrier HTTP/1.1",
        "POST /carrier  HTTP/1.1",
        " POST /carrier HTTP/1.1",
        "POST /carrier HTTP/1.1 ",
        "POST\t/carrier HTTP/1.1",
        "POST /carrier\tHTTP/1.1",
        "POST /carrier HTTP/1.1\t",
        "\tPOST /carrier HTTP/1.1",
        "POST\u{b}/carrier HTTP/1.1",
        "POST /carrier\u{c}HTTP/1.1",
        "POST /carrier \tHTTP/1.1",
        "POST/carrier HTTP/1.1",
        "POST /carrier HTTP/1.1 HTTP/1.1",
        "POST /carrier x HTTP/1.1",
        "POST /car rier HTTP/1.1",
        "POST /carrierHTTP/1.1",
        "POST /carrier HTTP /1.1",
        "POST /carrier HTTP/ 1.1",
        "POST /carrier HTTP/1 .1",
        "POST /carrier\u{a0}HTTP/1.1",
        "POST /carrier HTTP/1.1, HTTP/1.1",
        "POST\0/carrier HTTP/1.1",
        "POST /carrier HTTP/1.1\u{b}",
    ] {
        refused(Part::Head, [with_line(line)]);
    }
}

#[test]
fn version_other_than_1_0_and_1_1_is_refused() {
    // aiohttp CVE-2024-23829: any character for the dot, and any digit of Unicode.
    for version in [
        "HTTP/1.2",
        "HTTP/1.9",
        "HTTP/0.9",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/11",
        "HTTP/1.1.1",
        "HTTP/1.01",
        "HTTP/01.1",
        "HTTP/1.10",
        "HTTP/1.1x",
        "HTTP/1,1",
        "HTTP/+1.1",
        "HTTP/-1.1",
        "HTTP/x.y",
        "http/1.1",
        "Http/1.1",
        "HTTPS/1.1",
        "HTTP1.1",
        "HTTP//1.1",
        "HTTP/",
        "HTTP",
        "/1.1",
        "SIP/2.0",
        "ICY/1.0",
        "HTTP/1.\u{661}",
        "HTTP/\u{b9}.1",
        "HTTP/1.1\0",
        "\"HTTP/1.1\"",
        "HTTP\\1.1",
    ] {
        refused(Part::Head, [with_line(format!("POST /carrier {version}"))]);
    }
    // Requests of HTTP/0.9 have no version.
    refused(
        Part::Head,
        ["GET /carrier\r\n\r\n", "GET\r\n\r\n", "GET /carrier \r\n\r\n", "GET /carrier\r\nHost: a\r\n\r\n"],
    );
}

#[test]
fn preface_of_http_2_is_refused() {
    refused(Part::Head, ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"]);
}

#[test]
fn method_that_is_no_token_is_refused() {
    for method in [
        "",
        "P(OST",
        "PO/ST",
        "POST:",
        "\"POST\"",
        "PO[ST]",
        "PO@ST",
        "PO,ST",
        "PO;ST",
        "PO=ST",
        "<POST>",
        "P\u{d6}ST",
        "PO\0ST",
        "PO\u{1}ST",
        "POST\u{7f}",
        "{POST}",
        "PO\\ST",
        "PO?ST",
    ] {
        refused(Part::Head, [with_line(format!("{method} /carrier HTTP/1.1"))]);
    }
}

#[test]
fn method_is_case_sensitive_and_may_be_any_token() {
    for method in ["post", "Post", "gET", "PROPFIND", "X-Y", "M!#$%&'*+.^_`|~", "1", "PRI", "BREW"] {
        accepted(with_line(format!("{method} /carrier HTTP/1.1")), &format!("{method} /carrier"));
    }
}

#[test]
fn target_of_no_form_is_refused() {
    for target in [
        // Without a slash: the authority form, which is that of `CONNECT` only.
        "carrier",
        "a:80",
        "a.example",
        "?query",
        "#fragment",
        "..",
        "./carrier",
        "a:80/carrier",
        "user@a",
        "%2Fcarrier",
        "**",
        "*/",
        "*?",
        "\\carrier",
        // Octets that a URL cannot contain.
        "/car\0rier",
        "/car\u{1}rier",
        "/car\u{7f}rier",
        "/car\u{b}rier",
        "/car\u{1b}[m",
    ] {
        refused(Part::Head, [with_line(format!("POST {target} HTTP/1.1"))]);
    }
    let connect = ["a:80", "/echo", "http://a/echo", "*"];
    refused(Part::Head, connect.map(|target| format!("CONNECT {target} HTTP/1.1\r\nHost: a:80\r\n\r\n")));
}

#[test]
fn target_with_a_fragment_is_refused() {
    // RFC 9112 §3.2: no form of a target has a fragment. A parser that cuts it off routes another path than one that
    // does not.
    for target in
        ["/carrier#", "/carrier#fragment", "/carrier?query#fragment", "/#/../carrier", "http://a/carrier#f", "*#"]
    {
        refused(Part::Head, [with_line(format!("POST {target} HTTP/1.1"))]);
    }
}

#[test]
fn target_is_passed_on_as_it_came() {
    for target in [
        "/carrier",
        "/",
        "//carrier",
        "/./carrier",
        "/../carrier",
        "/carrier/",
        "/carrier?",
        "/carrier??a=b&c",
        "/carrier;x=y",
        "/%63arrier",
        "/carrier%00",
        "/carrier%0d%0aX:%20y",
        "/a:80",
        "/@",
        "/carrier?http://b/",
        "/~!$&'()*+,;=:@",
    ] {
        accepted(with_line(format!("POST {target} HTTP/1.1")), &format!("POST {target}"));
    }
    accepted(with_line("POST http://a/carrier?query HTTP/1.1"), "POST http://a/carrier?query");
    accepted(with_line("OPTIONS * HTTP/1.1"), "OPTIONS *");
}

#[test]
fn asterisk_as_the_target_of_other_methods_than_options_is_refused() {
    // RFC 9112 §3.2.4.
    for method in ["GET", "POST", "HEAD"] {
        let outcome = outcome(&with_line(format!("{method} * HTTP/1.1")));
        assert_eq!((outcome.answers[0].status, outcome.requests.len()), (400, 0), "{method}");
    }
}
