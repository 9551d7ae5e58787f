//! The client side of the Autobahn|Testsuite: asks the server for the number of cases, echoes every message of each
//! case, and lets the server write the report.
//!
//!     cargo run --release --example autobahn_client -- [URL] [AGENT] [--insecure]
//!
//! The server is `wstest -m fuzzingserver`. The message limit is 64 MiB, and compression is offered.

mod arguments;

use std::{cell::RefCell, error::Error, process::ExitCode, rc::Rc};

#[cfg(feature = "deflate")]
use ws_reactor::DeflateConfig;
#[cfg(feature = "tls")]
use ws_reactor::TlsClientConfig;
use ws_reactor::{Callbacks, Client, Handler, Hub, Reactor};

const LARGEST: usize = 64 * 1024 * 1024;

/// Options and results of the run.
#[derive(Clone)]
struct Suite {
    url: String,
    agent: String,
    #[cfg_attr(not(feature = "tls"), allow(dead_code))]
    insecure: bool,
    cases: Rc<RefCell<u32>>,
    failed: Rc<RefCell<Option<String>>>,
}

fn main() -> ExitCode {
    env_logger::init();
    let arguments = arguments::Arguments::read(
        "The client side of the Autobahn|Testsuite",
        &[
            ("--url URL", "Address of the fuzzing server [default: ws://127.0.0.1:9001]"),
            ("--agent NAME", "Name in the report [default: ws-reactor]"),
            ("--insecure", "Accept any certificate"),
        ],
    );
    arguments::run(|| run(&arguments))
}

fn run(arguments: &arguments::Arguments) -> Result<(), Box<dyn Error>> {
    let suite = Suite {
        url: arguments.get("--url", "ws://127.0.0.1:9001".to_owned()),
        agent: arguments.get("--agent", "ws-reactor".to_owned()),
        insecure: arguments.has("--insecure"),
        cases: Rc::default(),
        failed: Rc::default(),
    };
    let mut reactor = Reactor::new()?;
    suite.count(reactor.hub());
    reactor.run()?;
    match suite.failed.take() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

impl Suite {
    /// Asks for the number of cases, and starts the first.
    fn count(&self, hub: &mut Hub) {
        let (suite, cases) = (self.clone(), Rc::clone(&self.cases));
        let handler = Callbacks::new()
            .on_message(move |_, message| {
                *cases.borrow_mut() = message.as_text().and_then(|count| count.trim().parse().ok()).unwrap_or(0);
            })
            .on_close(move |ws, _| suite.case(ws.hub(), 1));
        self.connect(hub, "getCaseCount", handler);
    }

    fn case(&self, hub: &mut Hub, number: u32) {
        if number > *self.cases.borrow() {
            return self.report(hub);
        }
        let suite = self.clone();
        let handler = Callbacks::new()
            .on_message(|ws, message| {
                ws.send(message);
            })
            .on_error(move |_, error| log::info!("case {number}: {error}"))
            .on_close(move |ws, _| suite.case(ws.hub(), number + 1));
        self.connect(hub, &format!("runCase?case={number}&agent={}", self.agent), handler);
    }

    fn report(&self, hub: &mut Hub) {
        println!("{} cases run", self.cases.borrow());
        let handler = Callbacks::new().on_close(|ws, _| ws.hub().stop());
        self.connect(hub, &format!("updateReports?agent={}", self.agent), handler);
    }

    fn connect(&self, hub: &mut Hub, target: &str, handler: impl Handler + 'static) {
        let client = Client::new(handler).max_frame_bytes(LARGEST).max_message_bytes(LARGEST);
        #[cfg(feature = "deflate")]
        let client =
            client.deflate(DeflateConfig::shared().server_context_takeover(true).client_context_takeover(true));
        #[cfg(feature = "tls")]
        let client = match self.insecure {
            true => client.tls(TlsClientConfig::dangerously_trusting_everybody()),
            false => client,
        };
        if let Err(error) = hub.connect(&format!("{}/{target}", self.url), client) {
            *self.failed.borrow_mut() = Some(error.to_string());
            hub.stop();
        }
    }
}
