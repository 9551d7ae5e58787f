//! Header lines: line ends, white space, folding, control characters (RFC 9112 §2.2, §5).

use super::{Part, accepted, post, refused};

/// A request with one line between two others.
fn with_line(line: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST /carrier HTTP/1.1\r\nHost: a\r\n", line.as_ref(), b"\r\nX-Last: z\r\n\r\n"].concat()
}

#[test]
fn bare_line_end_in_a_head_is_refused() {
    // waitress CVE-2019-16785, Node CVE-2022-32214 and CVE-2023-30589.
    for head in [
        "POST /carrier HTTP/1.1\nHost: a\r\n\r\n",
        "POST /carrier HTTP/1.1\r\nHost: a\n\r\n",
        "POST /carrier HTTP/1.1\r\nHost: a\r\n\n",
        "POST /carrier HTTP/1.1\nHost: a\n\n",
        "POST /carrier HTTP/1.1\rHost: a\r\n\r\n",
        "POST /carrier HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "POST /carrier HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "POST /carrier HTTP/1.1\r\nHost: a\r\n\r\r\n",
        "POST /carrier HTTP/1.1\r\nHost: a\n\n\r\n\r\n",
        "POST /carrier HTTP/1.1\n\rHost: a\r\n\r\n",
        "\nPOST /carrier HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\nPOST /carrier HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\rPOST /carrier HTTP/1.1\r\nHost: a\r\n\r\n",
        "\rPOST /carrier HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        refused(Part::Head, [head]);
    }
    for line in
        ["X: y\nZ: w", "X: y\rZ: w", "X: y\n", "X: y\r", "\nX: y", "\rX: y", "X\n: y", "X\r: y", "X:\n y", "X: \r"]
    {
        refused(Part::Head, [with_line(line)]);
    }
}

#[test]
fn white_space_around_a_header_name_is_refused() {
    // RFC 9112 §5.1: a server must refuse white space before the colon.
    for line in [
        "X : y",
        "X\t: y",
        "X  : y",
        "X\u{b}: y",
        "X\u{c}: y",
        " X: y",
        "\tX: y",
        "X Y: z",
        "Content-Length : 5",
        " Content-Length: 5",
        "Host : b",
        " Host: b",
    ] {
        refused(Part::Head, [with_line(line)]);
    }
    // Before the first header line (RFC 9112 §2.2): Node CVE-2024-27982.
    for line in [" X: y", "\tX: y", " "] {
        refused(Part::Head, [format!("POST /carrier HTTP/1.1\r\n{line}\r\nHost: a\r\n\r\n")]);
    }
}

#[test]
fn folded_header_line_is_refused() {
    for line in
        ["X: y\r\n z", "X: y\r\n\tz", "X: y\r\n ", "X:\r\n y", "X: y\r\n  Content-Length: 5", "X: y\r\n z\r\n w"]
    {
        refused(Part::Head, [with_line(line)]);
    }
}

#[test]
fn line_without_a_colon_or_without_a_name_is_refused() {
    // HAProxy CVE-2023-25725: an empty name ended the list of headers.
    for line in ["X", "X y", "X; y", ":", ": y", ":y", " : y", "::", "GET /smuggled HTTP/1.1", "X\r\nY: z", "\u{b}"] {
        refused(Part::Head, [with_line(line)]);
    }
}

#[test]
fn octet_that_is_no_token_in_a_header_name_is_refused() {
    let tokens = b"!#$%&'*+-.^_`|~:";
    for octet in (0..=255_u8).filter(|octet| !octet.is_ascii_alphanumeric() && !tokens.contains(octet)) {
        refused(
            Part::Head,
            [with_line([b"X", &[octet][..], b"Y: z"].concat()), with_line([&[octet][..], b"X: z"].concat())],
        );
    }
}

#[test]
fn control_character_in_a_header_value_is_refused() {
    // RFC 9110 §5.5.
    for octet in (0..=31).chain([127]).filter(|octet| *octet != b'\t') {
        for value in [&[b'y', octet, b'z'][..], &[octet, b'y'], &[b'y', octet], &[octet]] {
            refused(Part::Head, [with_line([b"X: ", value].concat())]);
        }
    }
}

#[test]
fn header_value_of_visible_characters_tabs_and_obsolete_text_is_accepted() {
    for line in ["X:", "X: ", "X:\t", "X:y", "X: y\tz", "X: y:z", "X: \u{e9}", "X: \u{feff}", "!#$%&'*+-.^_`|~: y"] {
        accepted(with_line(line), "POST /carrier");
    }
    accepted(with_line(b"X: \x80\xff"), "POST /carrier");
    accepted("\r\n\r\nPOST /carrier HTTP/1.1\r\nHost: a\r\n\r\n", "POST /carrier");
}

#[test]
fn head_above_a_limit_ends_the_connection() {
    super::refused_with(431, Part::Head, post(&format!("X: {}\r\n", "y".repeat(20_000))));
    super::refused_with(431, Part::Head, post(&"X: y\r\n".repeat(200)));
    super::refused_with(431, Part::Head, post(&format!("{}: y\r\n", "X".repeat(20_000))));
    let target = format!("POST /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(20_000));
    super::refused_with(414, Part::Head, target);
}
