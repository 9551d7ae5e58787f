//! Serves a folder, and reloads its pages in the browser when a file changes: version 7 of the LiveReload protocol, for
//! npm's `livereload-js` and for browser extensions.
//!
//!     cargo run --manifest-path examples/livereload/Cargo.toml -- FOLDER [--listen ADDR] [--script FILE]
//!
//! A page loads the script of `livereload-js`, which `--script` serves as `/livereload.js`:
//!
//!     npm install livereload-js
//!     <script src="/livereload.js?port=35729"></script>
//!
//! A changed style sheet is replaced without loading the page again.

#[path = "../../arguments/mod.rs"]
mod arguments;

use std::{
    collections::BTreeSet,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use notify::{EventKind, RecursiveMode, Watcher};
use serde_json::{Value, json};
use ws_reactor::{
    Handler, Message, Reactor, Remote, RemoteError, Reply, Routes, Server, WebSocket,
    http::{HeaderValue, StatusCode, header},
};

const PROTOCOL: &str = "http://livereload.com/protocols/official-7";

/// Topic of the changes.
const CHANGES: &str = "changes";

/// Changes within this time are one: editors write a file in several steps.
const SETTLING: Duration = Duration::from_millis(50);

struct Page;

impl Handler for Page {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        let command: Value = message.as_text().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        // The client says further what it shows (`info`), which needs no answer.
        if command["command"] == "hello" {
            let hello = json!({"command": "hello", "protocols": [PROTOCOL], "serverName": "ws-reactor"});
            ws.send(hello.to_string());
            ws.subscribe(CHANGES);
        }
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let options = [
        ("--folder PATH", "Folder to serve and watch; the option's name may be left out [default: .]"),
        ("--listen ADDR", "Address or name to listen on [default: 127.0.0.1:35729]"),
        ("--script FILE", "The script of livereload-js, served as /livereload.js"),
    ];
    let arguments = arguments::Arguments::read("Reloads the pages of a folder when a file changes", &options);
    arguments::run(|| serve(&arguments))
}

fn serve(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(arguments.get("--folder", ".".to_owned()));
    let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
    let script = arguments.all("--script").pop().map(std::fs::read).transpose();
    let script = script.map_err(|error| format!("--script: {error}"))?;
    let routes = Routes::new()
        .websocket("/livereload", |_| Page)
        .get("/livereload.js", move |_, _| match &script {
            Some(script) => Reply::bytes(script.clone())
                .header(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
            None => StatusCode::NOT_FOUND.into(),
        })
        .files("/", &folder);
    let mut reactor = Reactor::new()?;
    let listening = reactor.listen(arguments.get("--listen", "127.0.0.1:35729".to_owned()), Server::routes(routes)?)?;
    let (changed, changes) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| match event {
        Ok(event) if !matches!(event.kind, EventKind::Access(_)) => {
            // The receiver ends with the program.
            _ = changed.send(event.paths);
        }
        Ok(_) => {}
        Err(error) => eprintln!("{error}"),
    })?;
    watcher.watch(&folder, RecursiveMode::Recursive)?;
    eprintln!("listening on http://{}", listening.addr);
    let remote = reactor.remote();
    thread::spawn(move || publish(&changes, &folder, &remote));
    Ok(reactor.run()?)
}

/// Publishes the changed files, each once for all changes within a short time.
fn publish(changes: &Receiver<Vec<PathBuf>>, folder: &Path, remote: &Remote) -> Result<(), RemoteError> {
    while let Ok(first) = changes.recv() {
        let mut paths: BTreeSet<PathBuf> = first.into_iter().collect();
        while let Ok(more) = changes.recv_timeout(SETTLING) {
            paths.extend(more);
        }
        for path in paths.iter().filter(|path| !path.is_dir()) {
            let path = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().replace('\\', "/");
            let reload = json!({"command": "reload", "path": format!("/{path}"), "liveCSS": true});
            remote.publish(CHANGES, reload.to_string())?;
        }
    }
    Ok(())
}
