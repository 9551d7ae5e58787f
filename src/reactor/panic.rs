//! Calls of user code under a guard that stops panics.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
};

use super::config::PanicPolicy;

/// A call panicked with this message; the panic was logged.
#[derive(Debug)]
pub(super) struct Panicked(pub(super) String);

/// Calls user code. The reactor's state is consistent at every call: the Hub calls no user code, and whatever the loop
/// holds across a call may be lost.
pub(super) fn catch_panic<T>(policy: PanicPolicy, call: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = message(&*payload);
        log::error!(target: "ws_reactor::reactor", "a handler panicked: {message}");
        if policy == PanicPolicy::Abort {
            process::abort();
        }
        Panicked(message.to_owned())
    })
}

/// The message of a panic.
pub(super) fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
