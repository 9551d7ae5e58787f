//! Imports point down, foreign crates are named in few files, and files do not import each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The floors, each with the floors that it may import.
const FLOORS: [(&str, &[&str]); 12] = [
    ("buffer", &[]),
    ("url", &[]),
    ("http", &["buffer", "url"]),
    ("proxy", &["http", "url"]),
    ("protocol", &["buffer", "http", "url"]),
    ("net", &[]),
    ("reactor", &["buffer", "error", "net", "protocol"]),
    ("server", &["buffer", "error", "http", "protocol", "reactor", "url"]),
    ("sources", &["net", "reactor"]),
    ("cluster", &["buffer", "error", "net", "protocol", "reactor", "url"]),
    ("websocket", &["buffer", "error", "http", "net", "protocol", "proxy", "reactor", "server", "url"]),
    ("layers", &["buffer", "cluster", "error", "http", "protocol", "reactor", "send_status", "server", "websocket"]),
];

/// Vocabulary that every floor may import.
const SHARED: [&str; 5] = ["network", "peer_addr", "send_status", "setters", "tls_info"];

/// Files above all floors.
const ABOVE: [&str; 4] = ["fuzzing", "guide", "lib", "measuring"];

/// What `error.rs` may import: it is imported by the reactor.
const BELOW_ERRORS: [&str; 5] = ["http", "net", "protocol", "proxy", "url"];

/// The parts of `protocol` that the reactor may import: what output consists of, and nothing of handshakes.
const PROTOCOL_IN_REACTOR: [&str; 17] = [
    "CloseCode",
    "CloseReason",
    "ClosedBy",
    "Message",
    "Outgoing",
    "OwnedMessage",
    "ProtocolError",
    "Side",
    "TimeoutKind",
    "Version",
    "deflate",
    "encoder",
    "event_stream",
    "framing",
    "incoming",
    "mask",
    "message",
];

/// Further names of `protocol`, each with the file of the reactor that may import it.
const PROTOCOL_IN_A_FILE: [(&str, &str); 5] = [
    ("outgoing", "reactor/send.rs"),
    ("outgoing", "reactor/publish/mod.rs"),
    ("outgoing", "reactor/publish/latest.rs"),
    ("outgoing", "reactor/publish/many.rs"),
    ("decoder", "reactor/pools.rs"),
];

/// The only places where a crate may be named.
const DOORS: [(&str, &[&str]); 27] = [
    ("core_affinity", &["net/affinity.rs"]),
    ("redis_protocol", &["cluster/redis/resp.rs"]),
    ("rustix", &["net/affinity.rs", "sources/process/end_notice.rs"]),
    ("listenfd", &["net/bind.rs"]),
    ("ppp", &["net/proxy_header.rs"]),
    ("mio", &["net/poll_source.rs", "net/system.rs"]),
    ("signal_hook", &["sources/process/end_notice.rs", "sources/signals.rs"]),
    ("signal_hook_mio", &["sources/process/end_notice.rs", "sources/signals.rs"]),
    ("loom", &["net/command_queue.rs", "reactor/connection/group_excess.rs", "reactor/group/backlog.rs"]),
    (
        "socket2",
        &["net/bind.rs", "net/connected_socket.rs", "net/socket_options.rs", "net/system.rs", "net/unix_socket.rs"],
    ),
    ("libc", &["net/system.rs"]),
    (
        "flate2",
        &[
            "protocol/deflate/contexts.rs",
            "protocol/deflate/deflation.rs",
            "protocol/deflate/inflation.rs",
            "server/reply/gzip.rs",
        ],
    ),
    ("getrandom", &["net/system.rs"]),
    ("httparse", &["http/head/mod.rs"]),
    ("simdutf8", &["protocol/utf8.rs"]),
    ("hmac", &["layers/action_cable/jwt.rs", "layers/action_cable/signed.rs", "layers/pusher/signature.rs"]),
    ("sha1", &["layers/action_cable/signed.rs", "protocol/handshake/hybi.rs"]),
    ("sha2", &["layers/action_cable/jwt.rs", "layers/action_cable/signed.rs", "layers/pusher/signature.rs"]),
    ("subtle", &["layers/action_cable/http.rs", "layers/pusher/signature.rs"]),
    ("md5", &["layers/pusher/signature.rs", "protocol/handshake/hixie76.rs"]),
    ("webpki_roots", &["net/tls/client.rs"]),
    ("rustls_native_certs", &["net/tls/client.rs"]),
    (
        "rustls",
        &["net/tls.rs", "net/tls/certificates.rs", "net/tls/client.rs", "net/tls/session.rs", "net/tls/testing.rs"],
    ),
    (
        "base64",
        &[
            "http/credentials.rs",
            "layers/action_cable/jwt.rs",
            "layers/action_cable/signed.rs",
            "layers/engine_io/engine.rs",
            "layers/engine_io/packet.rs",
            "layers/socket_io/msgpack.rs",
            "protocol/handshake/client.rs",
            "protocol/handshake/hybi.rs",
        ],
    ),
    ("rmpv", &["layers/socket_io/msgpack.rs"]),
    ("bytes", &["buffer/mod.rs"]),
    ("bytestring", &["buffer/utf8_bytes.rs"]),
];

/// Circles of files that cannot be broken, each with its reason. A file and the folder that it lies in are no circle.
const CIRCLES: [&[&str]; 5] = [
    // The engine keeps a hook, which gets a decision that opens a session of the engine.
    &["layers/engine_io/admission", "layers/engine_io/engine", "layers/engine_io/session"],
    // A socket keeps callbacks, which get the socket, and through it its client and its namespace.
    &[
        "layers/socket_io/acks",
        "layers/socket_io/adapter",
        "layers/socket_io/broadcast",
        "layers/socket_io/client",
        "layers/socket_io/emitter",
        "layers/socket_io/namespace",
        "layers/socket_io/rooms",
        "layers/socket_io/setup",
        "layers/socket_io/socket",
        "layers/socket_io/space",
        "layers/socket_io/state",
    ],
    // A TLS session runs over a transport, and is one.
    &["net/tls", "net/tls/session", "net/transport"],
    // The Hub stores callbacks, which get the Hub.
    &[
        "reactor/backplane",
        "reactor/backplane/attached",
        "reactor/callback_scope",
        "reactor/close_hooks",
        "reactor/deferred",
        "reactor/dial",
        "reactor/events",
        "reactor/group",
        "reactor/group/gather",
        "reactor/group/place",
        "reactor/hub",
        "reactor/listen",
        "reactor/listen/admission",
        "reactor/listen/adopt",
        "reactor/publish/watch",
        "reactor/remote",
        "reactor/source",
        "reactor/stream",
        "reactor/timer/task",
        "reactor/work",
    ],
    // The end of a client's session begins its next connection.
    &["websocket/client/stream", "websocket/session"],
];

/// Longest line of Rust, in characters. Tables and strings are exempt, which cannot be wrapped.
const WIDTH: usize = 120;

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let is_built = |path: &Path| path.file_name().is_some_and(|name| name == "target");
    entries
        .filter(|path| !is_built(path))
        .flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] })
        .collect()
}

fn rust_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        (name, fs::read_to_string(&path).expect("a source file"))
    };
    let folder = root.join(folder);
    // A published package has no `fuzz`.
    let files = if folder.is_dir() { files_in(&folder) } else { Vec::new() };
    files.into_iter().filter(is_rust).map(read).collect()
}

/// Every source file of the crate, without comments and tests, by its path below `src`.
fn code() -> Vec<(String, String)> {
    let files: Vec<(String, String)> = rust_files("src")
        .into_iter()
        .map(|(path, text)| (path.trim_start_matches("src/").to_owned(), text))
        .filter(|(path, _)| !path.ends_with("tests.rs"))
        .map(|(path, text)| {
            let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_owned();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (path, code)
        })
        .collect();
    assert!(files.len() > 80, "the sources were found");
    files
}

/// The module of a source file: its path without `mod.rs` and `.rs`.
fn module(path: &str) -> String {
    path.trim_end_matches(".rs").trim_end_matches("/mod").to_owned()
}

/// The paths that a file imports or names, from the root of the crate: `reactor/hub/Hub`.
fn imports(path: &str, code: &str) -> Vec<String> {
    let module = module(path);
    let parent = module.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = Vec::new();
    for (root, base) in [("crate", String::new()), ("super", parent), ("self", module)] {
        let statement = format!("use {root}::");
        for (start, _) in flat.match_indices(&statement) {
            let tree = flat[start + statement.len()..].split(';').next().unwrap_or_default();
            leaves(tree, &base, &mut found);
        }
    }
    for (start, _) in flat.match_indices("crate::") {
        let end = flat[start..].find(|character: char| !(character.is_alphanumeric() || ":_".contains(character)));
        found.push(flat[start + "crate::".len()..start + end.unwrap_or(0)].replace("::", "/"));
    }
    found
}

/// The leaves of a `use` tree such as `a::{b, c::d}`.
fn leaves(tree: &str, base: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let joined = |name: &str| if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") };
    match tree.split_once('{') {
        Some((prefix, rest)) => {
            let prefix = prefix.trim_end_matches("::").replace("::", "/");
            let base = if prefix.is_empty() { base.to_owned() } else { joined(&prefix) };
            let (mut depth, mut start) = (0, 0);
            let inner = &rest[..rest.rfind('}').unwrap_or(rest.len())];
            for (at, character) in inner.char_indices() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        leaves(&inner[start..at], &base, found);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            leaves(&inner[start..], &base, found);
        }
        None if tree.is_empty() => {}
        None => found.push(joined(&tree.split(" as ").next().unwrap_or_default().replace("::", "/"))),
    }
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

/// Returns `true` if a file of `floor` may import this path. A name at the root of the crate is no floor.
fn may_import(floor: &str, allowed: &[&str], import: &str) -> bool {
    let to = first(import);
    to.is_empty() || to == floor || allowed.contains(&to) || SHARED.contains(&to)
}

#[test]
fn imports_point_down() {
    for (path, code) in code() {
        let floor = first(&path);
        let allowed = match path.as_str() {
            "error.rs" => &BELOW_ERRORS[..],
            "network.rs" | "peer_addr.rs" | "send_status.rs" | "setters.rs" | "tls_info.rs" => &[],
            _ if ABOVE.contains(&module(floor).as_str()) => continue,
            _ => match FLOORS.iter().find(|(name, _)| *name == floor) {
                Some((_, allowed)) => *allowed,
                None => panic!("{path} belongs to no floor"),
            },
        };
        for import in imports(&path, &code) {
            assert!(may_import(floor, allowed, &import), "{path} imports {import}, which is above it");
        }
    }
}

#[test]
fn reactor_imports_of_the_protocol_what_output_consists_of() {
    let mut foreign = BTreeSet::new();
    for (path, code) in code().into_iter().filter(|(path, _)| path.starts_with("reactor/")) {
        for import in imports(&path, &code) {
            assert!(import != "protocol", "{path} imports protocol as a whole");
            let name = import.strip_prefix("protocol/").map(first).unwrap_or_default();
            let fine = PROTOCOL_IN_REACTOR.contains(&name) || PROTOCOL_IN_A_FILE.contains(&(name, path.as_str()));
            if !name.is_empty() && !fine {
                foreign.insert(format!("{path} imports {name}"));
            }
        }
    }
    assert_eq!(foreign, BTreeSet::new());
}

#[test]
fn http_has_no_word_of_the_websocket() {
    // The registered spelling of the header names stands in one table.
    let spelling = r#"("websocket", "WebSocket")"#;
    for (path, code) in code().into_iter().filter(|(path, _)| path.starts_with("http/")) {
        assert!(!code.replace(spelling, "").to_lowercase().contains("websocket"), "{path}");
    }
}

/// Returns `true` if the code names the crate by a path, also by its re-export at the root.
fn names_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(start, _)| {
        let before = &code[..start];
        let of_a_module = before.ends_with("::") && !before.ends_with("crate::");
        let in_a_word = before.ends_with(|character: char| character.is_alphanumeric() || character == '_');
        !of_a_module && !in_a_word
    })
}

#[test]
fn foreign_crates_are_named_in_their_files_only() {
    for (path, code) in code() {
        for (name, doors) in DOORS {
            assert!(!names_crate(&code, name) || doors.contains(&path.as_str()), "{path} names {name}: {doors:?}");
        }
    }
}

/// The names that modules re-export, each with its place: `reactor/Hub` → `reactor/hub/Hub`.
fn re_exports(files: &[(String, String)]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, code) in files {
        let own = module(path);
        let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
        for (start, statement) in flat.match_indices("pub use ").chain(flat.match_indices("pub(crate) use ")) {
            let tree = flat[start + statement.len()..].split(';').next().unwrap_or_default();
            let (tree, base) = match (tree.strip_prefix("crate::"), tree.strip_prefix("self::")) {
                (Some(tree), _) => (tree, String::new()),
                (_, Some(tree)) => (tree, own.clone()),
                _ => (tree, own.clone()),
            };
            let mut places = Vec::new();
            leaves(tree, &base, &mut places);
            for place in places {
                let name = place.rsplit('/').next().unwrap_or_default().to_owned();
                found.insert(format!("{own}/{name}"), place);
            }
        }
    }
    found
}

/// The modules that each module imports, without those that it lies in.
fn graph(files: &[(String, String)]) -> BTreeMap<String, BTreeSet<String>> {
    let modules: BTreeSet<String> = files.iter().map(|(path, _)| module(path)).collect();
    let re_exports = re_exports(files);
    let resolve = |import: &str| {
        let mut import = import.to_owned();
        while let Some(place) = re_exports.get(&import).filter(|place| **place != import) {
            import.clone_from(place);
        }
        while !modules.contains(&import) {
            import = import.rsplit_once('/')?.0.to_owned();
        }
        Some(import)
    };
    files
        .iter()
        .map(|(path, code)| {
            let own = module(path);
            let targets = imports(path, code).iter().filter_map(|import| resolve(import)).collect::<BTreeSet<_>>();
            let others = targets.into_iter().filter(|other| !format!("{own}/").starts_with(&format!("{other}/")));
            (own.clone(), others.collect())
        })
        .collect()
}

/// The modules that a module reaches by imports.
fn reached<'g>(graph: &'g BTreeMap<String, BTreeSet<String>>, from: &str) -> BTreeSet<&'g str> {
    let (mut reached, mut left) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(next) = left.pop() {
        for other in graph.get(&next).into_iter().flatten() {
            if reached.insert(other.as_str()) {
                left.push(other.clone());
            }
        }
    }
    reached
}

/// The circles of a graph: sets of modules that reach each other.
fn circles(graph: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<Vec<String>> {
    let all: BTreeMap<&str, BTreeSet<&str>> = graph.keys().map(|from| (from.as_str(), reached(graph, from))).collect();
    let circle = |from: &str| -> Vec<String> {
        let mutual = all[from].iter().filter(|other| all.get(**other).is_some_and(|back| back.contains(from)));
        mutual.map(|other| (*other).to_owned()).collect()
    };
    all.keys().map(|from| circle(from)).filter(|circle| circle.len() > 1).collect()
}

#[test]
fn files_import_each_other_in_a_circle_only_where_it_is_named() {
    let known: BTreeSet<Vec<String>> =
        CIRCLES.iter().map(|circle| circle.iter().map(|name| (*name).to_owned()).collect()).collect();
    let outside = |path: &str| ["fuzzing", "measuring", "lib"].iter().any(|name| path.starts_with(name));
    let files: Vec<_> = code().into_iter().filter(|(path, _)| !outside(path)).collect();
    assert_eq!(circles(&graph(&files)), known);
}

#[test]
fn lines_end_by_the_width() {
    for (path, text) in ["src", "examples", "tests", "benches", "fuzz"].into_iter().flat_map(rust_files) {
        for (index, line) in text.lines().enumerate() {
            let is_table = ["//! |", "/// |"].iter().any(|table| line.trim_start().starts_with(table));
            let fits = line.chars().count() <= WIDTH || is_table || line.contains('"');
            assert!(fits, "{path}:{} has {} characters", index + 1, line.chars().count());
        }
    }
}

#[test]
fn checks_see_what_they_look_for() {
    let imports = |path: &str, code: &str| imports(path, code).into_iter().collect::<Vec<_>>();
    assert_eq!(imports("net/bind.rs", "use crate::reactor::Hub;"), ["reactor/Hub", "reactor/Hub"]);
    let tree = "use crate::{\n    error::Error,\n    reactor::{Hub, hub::{self, Running}},\n};";
    assert_eq!(
        imports("net/bind.rs", tree),
        ["error/Error", "reactor/Hub", "reactor/hub/self", "reactor/hub/Running", ""]
    );
    assert_eq!(
        imports("net/tls/session.rs", "use super::client;\nuse self::a::B;"),
        ["net/tls/client", "net/tls/session/a/B"]
    );
    assert_eq!(imports("net/bind.rs", "let x = crate::reactor::Hub::new();"), ["reactor/Hub/new"]);
    let file = |path: &str, code: &str| (path.to_owned(), code.to_owned());
    let files = [
        file("a/mod.rs", "pub use self::b::B;"),
        file("a/b.rs", "use super::A; use super::c::C;"),
        file("a/c.rs", "use super::b::B; use crate::e::E;"),
        file("d.rs", "use crate::a::b::B;"),
        file("e.rs", "use crate::a::B;"),
    ];
    let found: Vec<Vec<String>> = circles(&graph(&files)).into_iter().collect();
    assert_eq!(found, [["a/b", "a/c", "e"]], "also by a re-export");
    assert!(may_import("http", &["url"], "url/Url") && may_import("http", &["url"], "http/head"));
    assert!(!may_import("http", &["url"], "reactor/Hub") && !may_import("http", &["url"], "Server"));
    assert!(names_crate("use mio::Poll;", "mio") && names_crate("crate::rustls::X", "rustls"));
    assert!(!names_crate("self::mio::Poll", "mio") && !names_crate("not_mio::x", "mio"));
}
