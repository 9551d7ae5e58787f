//! The chunked coding: sizes, line ends, extensions, trailers (RFC 9112 §7.1).

use super::{Part, SMUGGLED, accepted, outcome, post, refused, refused_with};

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n") + body
}

/// Refused in the body, after the head was seen.
#[track_caller]
fn refused_bodies<B: AsRef<str>>(bodies: impl IntoIterator<Item = B>) {
    refused(Part::Body, bodies.into_iter().map(|body| chunked(body.as_ref())));
}

#[test]
fn chunk_size_that_is_not_plain_hexadecimal_is_refused() {
    for size in [
        // Signs and prefixes: waitress CVE-2022-24761, Twisted CVE-2022-24801, protocol-http1 CVE-2023-38697.
        "+5", "-5", "-0", "0x5", "0X5", "x5", "5x", "5h", "$5", "#5", "0_5", "5_", "_5", "5'", "5.0", "5e+0", "\"5\"",
        // Nothing.
        "", ";x=y", " ", "\t", " ;x", "\r", "g", "hello", "\0", "\u{665}", "\u{ff15}",
        // White space on either side: the grammar has it only before an extension.
        " 5", "\t5", "5 ", "5\t", "5  ", "\u{b}5", "5\u{b}", "5\u{c}", "5 5", "5\u{a0}", "5\0", "5,", "5,5", "5:5",
        "5=x", "5 x", "5\u{1}",
    ] {
        refused_bodies([format!("{size}\r\nhello\r\n0\r\n\r\n")]);
    }
    for size in ["+0", "-0", "0x0", "0x", "0 ", " 0", "0\t", "00x", "0,", "0\0", "0_0"] {
        refused_bodies([format!("5\r\nhello\r\n{size}\r\n\r\n")]);
    }
}

#[test]
fn chunk_size_that_overflows_is_refused() {
    // hyper CVE-2021-32714, nginx CVE-2013-2028: a size that wraps around to a small one.
    for size in [
        "10000000000000005",
        "ffffffffffffffff5",
        "fffffffffffffffff",
        "100000000000000000000000000000005",
        "0000000000000000000000000000000000000000000000005",
        "8000000000000005",
        "fffffffffffffffb",
    ] {
        refused_bodies([format!("{size}\r\nhello\r\n0\r\n\r\n")]);
    }
    refused_bodies([format!("{}\r\nhello\r\n0\r\n\r\n", "f".repeat(10_000))]);
    for size in ["100001", "7fffffff", "100000005", "ffffffffffffff"] {
        refused_with(413, Part::Body, chunked(&format!("{size}\r\nhello\r\n0\r\n\r\n")));
    }
}

#[test]
fn bare_line_end_after_a_chunk_size_is_refused() {
    // Go CVE-2025-22871: a bare LF. RFC 9112 §2.2 allows it in heads only.
    refused_bodies([
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\n\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\n\rhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "\n5\r\nhello\r\n0\r\n\r\n",
    ]);
}

#[test]
fn chunk_that_is_not_followed_by_a_line_end_is_refused() {
    // h11 CVE-2025-43859: any two octets were skipped after the data.
    refused_bodies([
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5\r\nhello\n\r0\r\n\r\n",
        "5\r\nhello\r\r\n0\r\n\r\n",
        "5\r\nhello\n\n0\r\n\r\n",
        "5\r\nhello \r\n0\r\n\r\n",
        "5\r\nhello, more\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
    ]);
    // A chunk longer than its data takes the next size line for data.
    refused_bodies(["8\r\nhello\r\n0\r\n\r\n"]);
}

#[test]
fn line_end_or_control_character_in_a_chunk_extension_is_refused() {
    // aiohttp CVE-2024-52304, Node CVE-2021-22960.
    for extension in [
        ";\n",
        ";a\nb",
        ";a\n",
        ";a=b\n",
        ";a=\"\n\"",
        ";a=\"b\nc\"",
        ";a\rb",
        ";a\r",
        ";a=\"\r\"",
        ";\0",
        ";a\0b",
        ";a\u{1}",
        ";a\u{b}",
        ";a\u{c}b",
        ";a\u{7f}",
        ";a\u{1b}[m",
        " ;a\n",
        ";a=\"\\\n\"",
    ] {
        refused_bodies([format!("5{extension}\r\nhello\r\n0\r\n\r\n"), format!("5\r\nhello\r\n0{extension}\r\n\r\n")]);
    }
    // The end of the line counts, also within quotes: what follows is data.
    accepted(chunked("5;a=\"\r\nhello\r\n0\r\n\r\n"), "POST /carrier hello");
}

#[test]
fn chunk_extension_and_hexadecimal_of_any_case_are_accepted() {
    for (first, last) in [
        ("5", "0"),
        ("05", "000"),
        ("0000005", "0"),
        ("5;a", "0;b"),
        ("5;a=b;c=\"d e\"", "0"),
        ("5 ; a = b", "0 ;x"),
        ("5\t;a=b", "0;a=\"\\\"\""),
        ("5;", "0;"),
    ] {
        accepted(chunked(&format!("{first}\r\nhello\r\n{last}\r\n\r\n")), "POST /carrier hello");
    }
    for size in ["a", "A", "0a", "0A"] {
        accepted(chunked(&format!("{size}\r\n0123456789\r\n0\r\n\r\n")), "POST /carrier 0123456789");
    }
}

#[test]
fn chunk_extension_is_accepted_up_to_8_kib() {
    // Node CVE-2024-22019: no limit.
    let body = |length: usize| format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(length));
    accepted(chunked(&body(8_000)), "POST /carrier hello");
    refused_bodies([body(8 * 1024), body(20_000)]);
    let last = |length: usize| format!("5\r\nhello\r\n0;{}\r\n\r\n", "x".repeat(length));
    accepted(chunked(&last(8_000)), "POST /carrier hello");
    refused_bodies([last(8 * 1024)]);
    // Without any line end, the line is refused all the same.
    let outcome = outcome(chunked(&format!("5;{}", "x".repeat(20_000))).as_bytes());
    assert_eq!((outcome.statuses(), outcome.is_ended), (vec![400], true));
}

#[test]
fn trailer_section_is_accepted_up_to_8_kib() {
    let body = |length: usize| format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(length));
    accepted(chunked(&body(8_000)), "POST /carrier hello");
    refused_bodies([body(8 * 1024), body(20_000)]);
    let lines = |count: usize| format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(count));
    accepted(chunked(&lines(1_000)), "POST /carrier hello");
    refused_bodies([lines(1_400)]);
}

#[test]
fn malformed_trailer_line_is_refused() {
    // aiohttp CVE-2025-53643, puma CVE-2023-40175, and for white space that is not OWS Twisted CVE-2022-24801.
    for line in [
        "X",
        "X y",
        ": y",
        " X: y",
        "\tX: y",
        "X : y",
        "X\t: y",
        "X\0: y",
        "X: \0",
        "X: y\0",
        "X: y\nZ: w",
        "X: y\rZ",
        "X: y\r\r",
        "X: \u{1}",
        "X: y\u{7f}",
        "X: y\u{b}",
        "X: \u{b}y",
        "X: y\u{c}",
        "X: \u{c}y",
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X\u{7f}: y",
        "(X): y",
        "\u{e9}: y",
        "X@: y",
        "GET /smuggled HTTP/1.1",
    ] {
        refused_bodies([format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n")]);
    }
    refused_bodies(["5\r\nhello\r\n0\r\n\n", "5\r\nhello\r\n0\r\nX: y\n\n", "5\r\nhello\r\n0\r\nX: y\r\n\n"]);
    refused_bodies(["5\r\nhello\r\n0\r\n\r\r\n", "5\r\nhello\r\n0\r\nX: y\r\n\r\r\n", "5\r\nhello\r\n0\r\n\rX"]);
}

#[test]
fn trailer_that_frames_or_routes_a_message_has_no_effect() {
    // RFC 9110 §6.5.1.
    for line in [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Content-Length: 5",
        "Content-Length: x",
        "Host: b",
        "Connection: close",
        "Upgrade: websocket",
        "Expect: 100-continue",
        "Trailer: X",
        "X: y",
    ] {
        accepted(chunked(&format!("5\r\nhello\r\n0\r\n{line}\r\n\r\n")), "POST /carrier hello");
    }
}

#[test]
fn request_in_a_chunk_is_data() {
    let size = format!("{:x}", SMUGGLED.len());
    let expected = format!("POST /carrier {SMUGGLED}");
    accepted(chunked(&format!("{size}\r\n{SMUGGLED}\r\n0\r\n\r\n")), expected.trim_end());
    let octets: String = SMUGGLED.chars().map(|octet| format!("1\r\n{octet}\r\n")).collect();
    accepted(chunked(&format!("{octets}0\r\n\r\n")), expected.trim_end());
    accepted(chunked("3\r\n0\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n"), "POST /carrier 0");
}
