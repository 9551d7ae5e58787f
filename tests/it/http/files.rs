//! Files of a folder, and files within the program.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ws_reactor::{Files, Reply, Routes, TestSocket, http::StatusCode};

use super::{answer, get, received, response, serving};

/// A folder that is removed at the end of a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ws-reactor-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(path.join("public/sub")).unwrap();
        let folder = Folder(path);
        for (file, content) in [
            ("secret.txt", "secret"),
            ("public/index.html", "<h1>home</h1>"),
            ("public/app.js", "let a = 1;"),
            ("public/app.js.gz", "gzipped"),
            ("public/app.js.br", "brotlied"),
            ("public/sub/index.html", "sub"),
            ("public/sub/data.bin", "0123456789"),
            ("public/.hidden", "hidden"),
            ("public/na me é.txt", "spaced"),
        ] {
            folder.write(file, content);
        }
        folder
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.0.join(file), content).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.0.join("public")
    }

    fn routes(&self) -> Routes {
        Routes::new().files("/static", self.root())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_lines(path: &str, lines: &str) -> String {
    get(path).replace("\r\n\r\n", &format!("\r\n{lines}\r\n"))
}

/// The value of a header in a response.
fn header(response: &str, name: &str) -> Option<String> {
    let head = response.split_once("\r\n\r\n").unwrap().0;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
}

#[test]
fn file_has_its_type_and_validators() {
    let folder = Folder::new("types");
    for (path, content_type, content) in [
        ("/static/", "text/html; charset=utf-8", "<h1>home</h1>"),
        ("/static/index.html", "text/html; charset=utf-8", "<h1>home</h1>"),
        ("/static/app.js", "text/javascript; charset=utf-8", "let a = 1;"),
        ("/static/sub/", "text/html; charset=utf-8", "sub"),
        ("/static/sub/data.bin", "application/octet-stream", "0123456789"),
        ("/static/na%20me%20%C3%A9.txt", "text/plain; charset=utf-8", "spaced"),
    ] {
        let response = response(folder.routes(), &get(path));
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {response}");
        assert_eq!(header(&response, "Content-Type").as_deref(), Some(content_type), "{path}");
        assert_eq!(response.split_once("\r\n\r\n").unwrap().1, content, "{path}");
        let etag = header(&response, "ETag").unwrap();
        assert!(etag.starts_with('"') && etag.ends_with('"'));
        assert!(header(&response, "Last-Modified").unwrap().ends_with(" GMT"));
        let head = super::response(folder.routes(), &get(path).replace("GET", "HEAD"));
        assert_eq!(head, response[..response.len() - content.len()], "{path}");
    }
}

#[test]
fn folder_without_a_slash_is_redirected_to_itself() {
    let folder = Folder::new("redirects");
    for (path, location) in [("/static", "./static/"), ("/static/sub", "./sub/"), ("/static/sub?a=b", "./sub/?a=b")] {
        let response = response(folder.routes(), &get(path));
        assert!(response.starts_with("HTTP/1.1 301 "), "{path}: {response}");
        assert_eq!(header(&response, "Location").as_deref(), Some(location), "{path}");
    }
    fs::create_dir(folder.root().join("evil.example")).unwrap();
    folder.write("public/evil.example/index.html", "x");
    let at_root = || Routes::new().files("/", folder.root());
    for path in ["//evil.example", "//evil.example/..", "/%2fevil.example", "/\\evil.example"] {
        let response = response(at_root(), &get(path));
        let location = header(&response, "Location").unwrap_or_default();
        assert!(location.is_empty() || location.starts_with("./"), "{path}: {location}");
    }
    fs::create_dir(folder.root().join("empty")).unwrap();
    assert_eq!(answer(folder.routes(), &get("/static/empty")).0, 404);
    assert_eq!(answer(folder.routes(), &get("/static/empty/")).0, 404, "a folder is not listed");
    assert_eq!(answer(folder.routes(), &get("/static/app.js/")).0, 404);
}

#[test]
fn files_of_a_scope_are_those_below_its_prefix() {
    let folder = Folder::new("scopes");
    let scoped = || {
        let files = Routes::new().files("/", folder.root());
        let deep =
            Routes::new().files("/files/", folder.root()).scope("/{team}", Routes::new().files("/x", folder.root()));
        Routes::new().scope("/s", files).scope("/t/{name}", deep)
    };
    for path in ["/s/app.js", "/t/n/files/app.js", "/t/n/red/x/app.js", "/t/a%2Fb/files/app.js"] {
        assert_eq!(answer(scoped(), &get(path)), (200, "let a = 1;".to_owned()), "{path}");
    }
    for path in ["/app.js", "/s/s/app.js", "/t/files/app.js", "/t/n/x/app.js", "/s/sub/app.js"] {
        assert_eq!(answer(scoped(), &get(path)).0, 404, "{path}");
    }
}

#[test]
fn other_routes_go_before_files() {
    let folder = Folder::new("precedence");
    let routes = || {
        Routes::new()
            .files("/", folder.root())
            .get("/", |_, _| "page")
            .get("/{name}.txt", |request, _| request.param("name").to_owned())
            .post("/app.js", |_, _| "posted")
            .files("/sub", folder.root())
            .fallback(|_, _| "fallback")
    };
    for (path, expected) in
        [("/", "page"), ("/a.txt", "a"), ("/index.html", "<h1>home</h1>"), ("/sub/app.js", "let a = 1;")]
    {
        assert_eq!(answer(routes(), &get(path)), (200, expected.to_owned()), "{path}");
    }
    assert_eq!(answer(routes(), &get("/app.js")).0, 405, "the path has a route of its own");
    assert_eq!(answer(routes(), &get("/nothing")).0, 404);
}

#[test]
fn path_does_not_leave_the_folder() {
    let folder = Folder::new("traversal");
    for path in [
        "/static/../secret.txt",
        "/static/%2e%2e/secret.txt",
        "/static/..%2fsecret.txt",
        "/static/sub/../../secret.txt",
        "/static/sub%2f..%2f..%2fsecret.txt",
        "/static/..%5csecret.txt",
        "/static//etc/passwd",
        "/static/%00",
        "/static/app.js%00.html",
        "/static/.hidden",
        "/static/sub/.",
        "/static/nothing",
        &format!("/static/{}", "x".repeat(300)),
        &format!("/static/{}", "x/".repeat(2000)),
    ] {
        let (status, body) = answer(folder.routes(), &get(path));
        assert_eq!((status, body.as_str()), (404, "Not Found\n"), "{path}");
    }
}

#[cfg(unix)]
#[test]
fn links_to_the_outside_and_special_files_are_not_served() {
    use std::os::unix::{fs::symlink, net::UnixListener};

    let folder = Folder::new("special");
    symlink(folder.0.join("secret.txt"), folder.root().join("out.txt")).unwrap();
    symlink("../secret.txt", folder.root().join("relative.txt")).unwrap();
    symlink(&folder.0, folder.root().join("up")).unwrap();
    symlink("app.js", folder.root().join("inside.js")).unwrap();
    symlink("loop", folder.root().join("loop")).unwrap();
    let _socket = UnixListener::bind(folder.root().join("socket")).unwrap();
    let fifo = std::process::Command::new("mkfifo").arg(folder.root().join("fifo")).status().unwrap();
    assert!(fifo.success());
    for name in ["out.txt", "relative.txt", "up/secret.txt", "loop", "socket", "fifo"] {
        assert_eq!(answer(folder.routes(), &get(&format!("/static/{name}"))).0, 404, "{name}");
    }
    assert_eq!(answer(folder.routes(), &get("/static/inside.js")), (200, "let a = 1;".to_owned()));
    // The folder itself may be a link.
    symlink(folder.root(), folder.0.join("link")).unwrap();
    let linked = Routes::new().files("/", folder.0.join("link"));
    assert_eq!(answer(linked, &get("/app.js")).0, 200);
}

#[test]
fn client_that_has_the_file_gets_304() {
    let folder = Folder::new("conditions");
    let first = response(folder.routes(), &get("/static/app.js"));
    let (etag, modified) = (header(&first, "ETag").unwrap(), header(&first, "Last-Modified").unwrap());
    let ask = |lines: &str| response(folder.routes(), &with_lines("/static/app.js", lines));
    for lines in [format!("If-None-Match: {etag}\r\n"), format!("If-Modified-Since: {modified}\r\n")] {
        let response = ask(&lines);
        assert!(response.starts_with("HTTP/1.1 304 Not Modified\r\n") && response.ends_with("\r\n\r\n"), "{response}");
        assert_eq!(header(&response, "ETag"), Some(etag.clone()));
        assert_eq!((header(&response, "Content-Length"), header(&response, "Content-Type")), (None, None));
    }
    assert!(ask("If-None-Match: \"other\"\r\n").starts_with("HTTP/1.1 200 "));
    assert!(ask("If-Match: \"other\"\r\n").starts_with("HTTP/1.1 412 "));
    folder.write("public/app.js", "let a = 22;");
    assert!(ask(&format!("If-None-Match: {etag}\r\n")).starts_with("HTTP/1.1 200 "));
}

#[test]
fn range_of_a_file_is_sent_alone() {
    let folder = Folder::new("ranges");
    let ask = |lines: &str| response(folder.routes(), &with_lines("/static/sub/data.bin", lines));
    for (range, content_range, content) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=5-", "bytes 5-9/10", "56789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=-20", "bytes 0-9/10", "0123456789"),
    ] {
        let response = ask(&format!("Range: {range}\r\n"));
        assert!(response.starts_with("HTTP/1.1 206 Partial Content\r\n"), "{range}: {response}");
        assert_eq!(header(&response, "Content-Range").as_deref(), Some(content_range));
        assert!(response.ends_with(&format!("\r\n\r\n{content}")), "{range}: {response}");
    }
    let beyond = ask("Range: bytes=10-\r\n");
    assert!(beyond.starts_with("HTTP/1.1 416 ") && beyond.contains("Content-Range: bytes */10\r\n"), "{beyond}");
    for lines in ["Range: bytes=0-1,3-4\r\n", "Range: lines=1\r\n", "Range: bytes=0-1\r\nIf-Range: \"other\"\r\n"] {
        assert!(ask(lines).starts_with("HTTP/1.1 200 "), "{lines}");
    }
    let etag = header(&ask(""), "ETag").unwrap();
    assert!(ask(&format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n")).starts_with("HTTP/1.1 206 "));
    let head =
        response(folder.routes(), &with_lines("/static/sub/data.bin", "Range: bytes=0-3\r\n").replace("GET", "HEAD"));
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("Content-Length: 10\r\n"), "{head}");
}

#[test]
fn compressed_neighbour_is_sent_to_clients_that_accept_it() {
    let folder = Folder::new("codings");
    for (accepted, coding, content) in [
        ("gzip, deflate, br", Some("br"), "brotlied"),
        ("gzip", Some("gzip"), "gzipped"),
        ("br;q=0, gzip;q=0.5", Some("gzip"), "gzipped"),
        ("br;q=0.1, gzip;q=0.2", Some("gzip"), "gzipped"),
        ("br;q=2, gzip;q=x", None, "let a = 1;"),
        ("identity", None, "let a = 1;"),
        ("gzip;q=0", None, "let a = 1;"),
        ("gzip;Q=0", None, "let a = 1;"),
    ] {
        let response =
            response(folder.routes(), &with_lines("/static/app.js", &format!("Accept-Encoding: {accepted}\r\n")));
        assert_eq!(header(&response, "Content-Encoding").as_deref(), coding, "{accepted}");
        assert_eq!(header(&response, "Content-Type").as_deref(), Some("text/javascript; charset=utf-8"));
        assert_eq!(header(&response, "Vary").as_deref(), Some("Accept-Encoding"));
        assert!(response.ends_with(content), "{accepted}: {response}");
    }
    let plain = response(folder.routes(), &with_lines("/static/sub/data.bin", "Accept-Encoding: br\r\n"));
    assert_eq!((header(&plain, "Content-Encoding"), header(&plain, "Vary")), (None, None));
}

#[test]
fn files_within_the_program_are_served_as_those_of_a_folder() {
    let assets = || {
        let files = Files::embedded()
            .asset("index.html", b"home")
            .asset("/app.js", b"plain")
            .asset("app.js.gz", b"gzipped")
            .asset("sub/index.html", b"sub")
            .asset("sub/data.bin", b"0123456789");
        Routes::new().files("/", files.cache_control("max-age=60"))
    };
    for (path, status, content) in [
        ("/", 200, "home"),
        ("/app.js", 200, "plain"),
        ("/sub/", 200, "sub"),
        ("/sub", 301, "Moved Permanently\n"),
        ("/nothing", 404, "Not Found\n"),
        ("/../app.js", 404, "Not Found\n"),
    ] {
        assert_eq!(answer(assets(), &get(path)), (status, content.to_owned()), "{path}");
    }
    let scoped = Routes::new().scope("/s", assets());
    assert_eq!(answer(scoped, &get("/s")).0, 301, "links of the page are relative to its folder");
    let page = response(assets(), &get("/"));
    assert_eq!(header(&page, "Cache-Control").as_deref(), Some("max-age=60"));
    let etag = header(&page, "ETag").unwrap();
    assert!(response(assets(), &with_lines("/", &format!("If-None-Match: {etag}\r\n"))).starts_with("HTTP/1.1 304 "));
    assert!(response(assets(), &with_lines("/sub/data.bin", "Range: bytes=2-3\r\n")).ends_with("\r\n\r\n23"));
    assert!(response(assets(), &with_lines("/app.js", "Accept-Encoding: gzip\r\n")).ends_with("\r\n\r\ngzipped"));
}

#[test]
fn file_may_be_sent_with_another_status() {
    // regression: the status was ignored
    let folder = Folder::new("status");
    let page = folder.root().join("index.html");
    let routes = Routes::new().fallback(move |_, _| Reply::file(&page).with_status(StatusCode::NOT_FOUND));
    let text = response(routes, &with_lines("/nothing", "If-None-Match: *\r\nRange: bytes=0-1\r\n"));
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n") && text.ends_with("\r\n\r\n<h1>home</h1>"), "{text}");
    assert_eq!(header(&text, "Content-Type").as_deref(), Some("text/html; charset=utf-8"));
}

#[test]
fn page_of_a_folder_has_its_own_type_whatever_the_name_of_the_folder() {
    // regression: a folder `v1.2` was taken for a file with the extension `2`
    let folder = Folder::new("dotted");
    fs::create_dir_all(folder.root().join("v1.2")).unwrap();
    folder.write("public/v1.2/index.html", "docs");
    let page = response(folder.routes(), &get("/static/v1.2/"));
    assert_eq!(header(&page, "Content-Type").as_deref(), Some("text/html; charset=utf-8"), "{page}");
}

#[test]
fn file_with_a_time_that_is_no_date_of_http_is_served_without_it() {
    // regression: the date of such a file panicked
    let folder = Folder::new("times");
    let file = fs::File::options().write(true).open(folder.root().join("app.js")).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH - Duration::from_secs(86_400)).unwrap();
    let script = response(folder.routes(), &get("/static/app.js"));
    assert!(script.starts_with("HTTP/1.1 200 OK\r\n"), "{script}");
    assert_eq!(header(&script, "Last-Modified"), None);
}

#[test]
fn files_in_a_scope_are_found_below_its_prefix() {
    // regression: the prefix was taken for a folder of the files
    let folder = Folder::new("scope");
    let assets = Files::embedded().asset("index.html", b"home").asset("sub/index.html", b"sub");
    let inner = Routes::new().files("/static", folder.root()).scope("/in", Routes::new().files("/", assets));
    let mut socket = TestSocket::request(serving(Routes::new().scope("/{team}/b/", inner)), "");
    for (path, content) in [
        ("/a/b/static/app.js", "let a = 1;"),
        ("/a/b/static/", "<h1>home</h1>"),
        ("/a/b/in/", "home"),
        ("/a/b/in/sub/", "sub"),
    ] {
        socket.send_bytes(get(path).as_bytes());
        let text = received(&mut socket);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(content), "{path}: {text}");
    }
    socket.send_bytes(get("/a/b/in").as_bytes());
    assert!(received(&mut socket).contains("\r\nLocation: ./in/\r\n"));
}

#[test]
fn root_of_files_within_the_program_is_redirected_as_that_of_a_folder() {
    // regression: the page was sent, and its relative links led elsewhere
    let files = Files::embedded().asset("index.html", b"home");
    let page = response(Routes::new().files("/static", files), &get("/static"));
    assert!(page.starts_with("HTTP/1.1 301 "), "{page}");
    assert_eq!(header(&page, "Location").as_deref(), Some("./static/"));
}

#[test]
fn file_larger_than_the_window_is_sent_whole() {
    let folder = Folder::new("large");
    let content = "0123456789abcdef".repeat(100_000);
    folder.write("public/large.txt", &content);
    let response = response(folder.routes(), &get("/static/large.txt"));
    assert!(response.ends_with(&content) && response.contains("Content-Length: 1600000\r\n"));
    assert!(Path::new(&folder.root()).is_absolute());
}
