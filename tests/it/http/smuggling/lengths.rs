//! `Content-Length`: two lengths, or one that is not a plain number (RFC 9112 §6.3, RFC 9110 §8.6).

use super::{Part, SMUGGLED, accepted, post, refused, refused_with};

#[test]
fn content_length_beside_transfer_encoding_is_refused() {
    // RFC 9112 §6.1 lets a server refuse the request. aiohttp CVE-2023-47641, Twisted CVE-2020-10109.
    let zero = "0\r\n\r\n";
    refused(
        Part::Head,
        [
            post(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", zero.len() + SMUGGLED.len())) + zero,
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + zero,
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + zero,
            post("Transfer-Encoding: chunked\r\nX: y\r\ncontent-length: 0\r\n") + zero,
            post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n") + zero,
            post("Content-Length: 5\r\nTransfer-Encoding:\r\n") + zero,
            post("Content-Length:\r\nTransfer-Encoding: chunked\r\n") + zero,
            post("Content-Length: x\r\nTransfer-Encoding: chunked\r\n") + zero,
            "GET /carrier HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()
                + zero,
        ],
    );
}

#[test]
fn second_content_length_is_refused_even_if_it_is_equal() {
    // Twisted CVE-2020-10108, waitress CVE-2019-16792. RFC 9112 §6.3 allows equal lengths to be merged.
    let lines = [("5", "5"), ("5", "0"), ("0", "5"), ("0", "0"), ("5", ""), ("", "5"), ("5", "05"), ("5", "x")];
    for (first, second) in lines {
        for between in ["", "X: y\r\n"] {
            let lines = format!("Content-Length: {first}\r\n{between}content-LENGTH: {second}\r\n");
            refused(Part::Head, [post(&lines) + "hello"]);
        }
    }
}

#[test]
fn content_length_that_is_not_a_plain_number_is_refused() {
    // hyper CVE-2021-32715, waitress CVE-2022-24761.
    let signs = ["+5", "-5", "-0", "+0", "+", "-"];
    // RFC 9110 §8.6 allows equal members to be merged.
    let lists = ["5, 5", "5,5", "5,", ",5", "5;5", "5 5", "5\t5"];
    // aiohttp CVE-2023-47627.
    let notations =
        ["0x5", "5h", "5.0", "5.", ".5", "5e0", "1_0", "5'0", "0b1", "0o5", "\u{665}", "\u{ff15}", "\u{b2}"];
    // HAProxy CVE-2023-40225, puma CVE-2023-40175.
    let nothing = ["", " ", "\t", "\"5\"", "(5)", "five", "5 (five)", "NaN", "inf"];
    // Only spaces and tabs are OWS: Node CVE-2018-7159, waitress CVE-2019-16789, Twisted CVE-2022-24801.
    let space = ["\u{b}5", "5\u{b}", "\u{c}5", "5\u{c}", "\u{a0}5", "5\u{85}", "\u{1}5", "5\u{7f}", "5\0"];
    let lines = ["\r\n 5", "5\r\n 5", "5\r\n\t0", "5\r0", "5\n0"];
    for length in [&signs[..], &lists, &notations, &nothing, &space, &lines].concat() {
        refused(Part::Head, [post(&format!("Content-Length: {length}\r\n")) + "hello"]);
    }
}

#[test]
fn content_length_beyond_64_bits_is_refused() {
    for length in ["18446744073709551616", "18446744073709551621", "99999999999999999999", &"9".repeat(400)] {
        refused(Part::Head, [post(&format!("Content-Length: {length}\r\n")) + "hello"]);
    }
}

#[test]
fn content_length_above_the_limit_is_refused_with_413() {
    for length in ["1048577", "4294967301", "9223372036854775807", "9223372036854775813", "18446744073709551615"] {
        refused_with(413, Part::Body, post(&format!("Content-Length: {length}\r\n")) + "hello");
    }
}

#[test]
fn content_length_of_digits_is_accepted_with_white_space_and_zeros() {
    for length in ["5", "05", "0000000000000000000000000000000000005", "  5", "\t5\t ", "5 "] {
        accepted(post(&format!("Content-Length:{length}\r\n")) + "hello", "POST /carrier hello");
    }
    for length in ["0", "000"] {
        accepted(post(&format!("Content-Length: {length}\r\n")), "POST /carrier");
    }
}

#[test]
fn content_length_counts_with_every_method() {
    // A body of `GET` that is not read becomes the next request: libraries that ignore it are open to smuggling.
    for method in ["GET", "DELETE", "OPTIONS", "TRACE", "get", "X"] {
        let length = SMUGGLED.len();
        let request = format!("{method} /carrier HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        accepted(request, format!("{method} /carrier {SMUGGLED}").trim_end());
    }
}

#[test]
fn header_whose_name_only_resembles_content_length_has_no_effect() {
    for name in ["Content_Length", "Content-Lengt", "Content-Length-", "X-Content-Length", "ContentLength"] {
        accepted(post(&format!("{name}: 5\r\n")), "POST /carrier");
    }
}
