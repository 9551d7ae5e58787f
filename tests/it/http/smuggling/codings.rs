//! `Transfer-Encoding`: whatever is not `chunked` alone (RFC 9112 §6.1, §7).

use super::{Part, accepted, post, refused};

const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";

#[test]
fn transfer_coding_other_than_chunked_alone_is_refused() {
    for coding in [
        // gunicorn CVE-2024-1135 and CVE-2024-6827, waitress CVE-2019-16786.
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "identity",
        "gzip",
        "chunked,",
        ",chunked",
        ", chunked",
        "chunked,,chunked",
        "chunked chunked",
        "chunked\tchunked",
        // Node CVE-2022-32213, Go CVE-2022-1705.
        "xchunked",
        "chunkedx",
        "chunke",
        "chunk",
        "x",
        "cow",
        "chunked-",
        "-chunked",
        "chunked;",
        "chunked;q=1",
        "chunked; x=y",
        "\"chunked\"",
        "'chunked'",
        "(chunked)",
        "chunked (c)",
        "chunked=1",
        "=chunked",
        ":chunked",
        "chunked:",
        "chunKed\\",
        "\u{212a}",
        "chun\u{212a}ed",
        "ch\u{fc}nked",
        "0",
        "true",
        // Nothing.
        "",
        " ",
        "\t",
        // White space that is not OWS: waitress CVE-2019-16789.
        "\u{b}chunked",
        "chunked\u{b}",
        "\u{c}chunked",
        "chunked\u{c}",
        "\u{a0}chunked",
        "chunked\u{a0}",
        "\u{1}chunked",
        "chunked\u{7f}",
        "\u{85}chunked",
        "\u{feff}chunked",
        "\0chunked",
        "chunked\0",
        "\u{8}chunked",
        // A line end, or a folded line: Node CVE-2022-32215.
        "\r\n chunked",
        "\r\n\tchunked",
        "chunked\r\n ",
        "chunked\r\n , identity",
        "x\r\n chunked",
        "\nchunked",
        "\rchunked",
        "chunked\r",
        "chunked\n",
    ] {
        refused(Part::Head, [post(&format!("Transfer-Encoding: {coding}\r\n")) + BODY]);
    }
}

#[test]
fn second_transfer_encoding_is_refused() {
    // hyper CVE-2021-21299, Node CVE-2020-8287.
    for (first, second) in [
        ("chunked", "chunked"),
        ("chunked", "identity"),
        ("identity", "chunked"),
        ("chunked", "x"),
        ("x", "chunked"),
        ("gzip", "chunked"),
        ("chunked", ""),
        ("", "chunked"),
    ] {
        for between in ["", "X: y\r\n"] {
            let lines = format!("Transfer-Encoding: {first}\r\n{between}transfer-encoding: {second}\r\n");
            refused(Part::Head, [post(&lines) + BODY]);
        }
    }
}

#[test]
fn transfer_encoding_line_that_is_malformed_is_refused() {
    // White space before the colon: Node CVE-2021-22959. RFC 9112 §5.1.
    for line in [
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding\u{b}: chunked",
        " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked",
        "Transfer-Encoding chunked",
        "Transfer-Encoding",
        "Transfer-Encoding\0: chunked",
        "Transfer Encoding: chunked",
        "Transfer-Encoding\r: chunked",
        "Transfer-Encoding\n: chunked",
        "Transfer-Encoding\r\n : chunked",
        "Transfer-Encoding\u{7f}: chunked",
        "\u{b}Transfer-Encoding: chunked",
        "\"Transfer-Encoding\": chunked",
        "Transfer-Encoding\u{a0}: chunked",
        "X: y\nTransfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\r\rTransfer-Encoding: chunked",
        "X:\nTransfer-Encoding: chunked",
        "X:\rTransfer-Encoding: chunked",
    ] {
        refused(Part::Head, [post(&format!("{line}\r\n")) + BODY]);
    }
}

#[test]
fn transfer_encoding_in_http_1_0_is_refused() {
    // RFC 9112 §6.1: the framing is to be treated as faulty.
    for lines in ["", "Connection: keep-alive\r\n"] {
        let head = format!("POST /carrier HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{lines}\r\n");
        refused(Part::Head, [head + BODY]);
    }
}

#[test]
fn transfer_encoding_of_any_case_with_white_space_is_accepted() {
    for line in [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding:  cHunKed",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: chunked \t",
    ] {
        accepted(post(&format!("{line}\r\n")) + BODY, "POST /carrier hello");
    }
}

#[test]
fn header_whose_name_only_resembles_transfer_encoding_has_no_effect() {
    for name in ["Transfer_Encoding", "Transfer-Encodin", "Transfer-Encodings", "TE", "X-Transfer-Encoding"] {
        accepted(post(&format!("{name}: chunked\r\n")), "POST /carrier");
    }
}

#[test]
fn connection_option_that_names_a_framing_header_does_not_remove_it() {
    for option in ["transfer-encoding", "keep-alive, Transfer-Encoding"] {
        let lines = format!("Connection: {option}\r\nTransfer-Encoding: chunked\r\n");
        accepted(post(&lines) + BODY, "POST /carrier hello");
    }
    accepted(post("Connection: content-length\r\nContent-Length: 5\r\n") + "hello", "POST /carrier hello");
}
