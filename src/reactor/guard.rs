//! The guard around user code: a panic stops here.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
};

use super::config::PanicPolicy;

/// A call panicked, with this message; it was logged.
#[derive(Debug)]
pub(super) struct Panicked(pub(super) String);

/// Calls user code. The reactor's own state is whole at every call: the Hub never calls back, and what the loop holds across a call it can lose.
pub(super) fn guard<T>(policy: PanicPolicy, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = message(&*payload);
        log::error!(target: "ws_reactor::reactor", "a handler panicked: {message}");
        if policy == PanicPolicy::Abort {
            process::abort();
        }
        Panicked(message.to_owned())
    })
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
