//! Imports point down, and each foreign crate has one door.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The floors from the top, each with those it may not know.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("http", &["protocol", "net", "reactor", "websocket"]),
    ("protocol", &["net", "reactor", "websocket", "error"]),
    ("net", &["http", "protocol", "reactor", "websocket", "error"]),
    ("reactor", &["http", "websocket"]),
    ("websocket", &[]),
];

/// The only places where a crate may be named.
const DOORS: [(&str, &[&str]); 15] = [
    ("mio", &["net/system.rs"]),
    ("loom", &["net/command_queue.rs"]),
    ("socket2", &["net/bind.rs", "net/endpoint.rs", "net/system.rs"]),
    ("flate2", &["protocol/deflate/contexts.rs", "protocol/deflate/deflation.rs", "protocol/deflate/inflation.rs"]),
    ("getrandom", &["net/system.rs"]),
    ("httparse", &["http/head.rs"]),
    ("simdutf8", &["protocol/utf8.rs", "protocol/decoder.rs"]),
    ("sha1", &["protocol/handshake/hybi.rs"]),
    ("md5", &["protocol/handshake/hixie76.rs"]),
    ("webpki_roots", &["net/tls/client.rs"]),
    ("rustls_native_certs", &["net/tls/client.rs"]),
    (
        "rustls",
        &["net/tls.rs", "net/tls/certificates.rs", "net/tls/client.rs", "net/tls/session.rs", "net/tls/testing.rs"],
    ),
    ("base64", &["protocol/handshake/client.rs", "protocol/handshake/hybi.rs"]),
    ("bytes", &["protocol/message.rs"]),
    ("bytestring", &["protocol/message.rs"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Every source file with what it says outside of comments, by its path below `src`.
fn code() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<(String, String)> = sources(&src)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file");
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (path.strip_prefix(&src).expect("below src").to_string_lossy().replace('\\', "/"), code)
        })
        .collect();
    assert!(files.len() > 40, "the sources were found");
    files
}

/// Whether `code` names the module or crate `name` by a path from the root, alone or in a braced list.
fn names(code: &str, root: &str, name: &str) -> bool {
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let direct = flat.contains(&format!("{root}{name}::"));
    let listed = flat.match_indices(&format!("use {root}{{")).any(|(start, _)| {
        let statement = flat[start..].split(';').next().unwrap_or_default();
        top_level_members(statement).any(|member| member.split("::").next() == Some(name))
    });
    direct || listed
}

/// The members of the outermost braces of a `use`.
fn top_level_members(statement: &str) -> impl Iterator<Item = String> {
    let (mut depth, mut members, mut member) = (0, Vec::new(), String::new());
    for character in statement.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => members.push(std::mem::take(&mut member)),
            _ if depth == 1 => member.push(character),
            _ => {}
        }
    }
    members.push(member);
    members.into_iter().map(|member| member.trim().to_owned())
}

#[test]
fn imports_point_down() {
    for (path, code) in code() {
        for (floor, forbidden) in FORBIDDEN {
            if path.starts_with(&format!("{floor}/")) {
                for name in forbidden {
                    assert!(!names(&code, "crate::", name), "{path} knows {name}, which is above it");
                }
            }
        }
    }
}

#[test]
fn each_foreign_crate_has_one_door() {
    for (path, code) in code() {
        for (name, doors) in DOORS {
            let named = code.contains(&format!("use {name}::")) || code.contains(&format!("{name}::"));
            let named = named && !code.contains(&format!("crate::{name}::"));
            assert!(!named || doors.contains(&path.as_str()), "{path} names {name}, whose door is {doors:?}");
        }
    }
}

#[test]
fn the_check_sees_an_upward_import_when_there_is_one() {
    assert!(names("use crate::reactor::Hub;", "crate::", "reactor"));
    assert!(names("use crate::{\n    error::Error,\n    reactor::{Hub, SendStatus},\n};", "crate::", "reactor"));
    assert!(names("let x = crate::reactor::Hub::new();", "crate::", "reactor"));
    assert!(!names("use crate::{net::Bind, protocol::{reactor}};", "crate::", "reactor"));
}
