//! Handlers made of closures, in the style of em-websocket's blocks.

use std::{any::Any, fmt};

use super::handler::{Handler, WebSocket};
use crate::{
    error::Error,
    protocol::{CloseReason, Handshake, Message},
    reactor::{Attempt, Retry, TimerId},
};

/// Makes a handler from a closure for messages. All other callbacks do nothing.
///
/// ```no_run
/// # use ws_reactor::{Error, Reactor, Server, on_message};
/// let mut reactor = Reactor::new()?;
/// reactor.listen("127.0.0.1:8080", Server::new(|_| on_message(|ws, message| { ws.send(message); })))?;
/// reactor.run()?;
/// # Ok::<(), Error>(())
/// ```
pub fn on_message<F: FnMut(&mut WebSocket<'_>, Message<'_>)>(call: F) -> impl Handler {
    OnMessage(call)
}

struct OnMessage<F>(F);

impl<F: FnMut(&mut WebSocket<'_>, Message<'_>)> Handler for OnMessage<F> {
    fn on_message(&mut self, ws: &mut WebSocket<'_>, message: Message<'_>) {
        (self.0)(ws, message);
    }
}

macro_rules! callbacks {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) $(-> $answer:ty, $usual:expr)?;)*) => {
        /// A handler made of closures. A callback without a closure does nothing; [`Handler::on_reconnect`] answers
        /// [`Attempt::default`](field@Attempt::default).
        ///
        /// ```
        /// use ws_reactor::{Callbacks, Server};
        ///
        /// let server = Server::new(|_| {
        ///     Callbacks::new()
        ///         .on_open(|ws, handshake| { ws.send(&format!("you asked for {}", handshake.path())); })
        ///         .on_message(|ws, message| { ws.send(message); })
        ///         .on_close(|_, reason| println!("gone: {reason}"))
        /// });
        /// ```
        #[derive(Default)]
        pub struct Callbacks {
            $($name: Option<Box<dyn FnMut(&mut WebSocket<'_>, $($type),*) $(-> $answer)?>>,)*
        }

        impl Callbacks {
            /// Makes a handler without closures.
            pub fn new() -> Self {
                Self::default()
            }

            $(
                $(#[$doc])*
                pub fn $name(
                    mut self,
                    call: impl FnMut(&mut WebSocket<'_>, $($type),*) $(-> $answer)? + 'static,
                ) -> Self {
                    self.$name = Some(Box::new(call));
                    self
                }
            )*
        }

        impl Handler for Callbacks {
            $(
                fn $name(&mut self, ws: &mut WebSocket<'_>, $($argument: $type),*) $(-> $answer)? {
                    match &mut self.$name {
                        Some(call) => call(ws, $($argument),*),
                        None => { $($usual)? }
                    }
                }
            )*
        }

        impl fmt::Debug for Callbacks {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.debug_struct("Callbacks")$(.field(stringify!($name), &self.$name.is_some()))*.finish()
            }
        }
    };
}

callbacks! {
    /// Sets the closure for [`Handler::on_open`].
    on_open(handshake: &Handshake);
    /// Sets the closure for [`Handler::on_message`].
    on_message(message: Message<'_>);
    /// Sets the closure for [`Handler::on_ping`].
    on_ping(data: &[u8]);
    /// Sets the closure for [`Handler::on_pong`].
    on_pong(data: &[u8]);
    /// Sets the closure for [`Handler::on_drain`].
    on_drain();
    /// Sets the closure for [`Handler::on_timer`].
    on_timer(timer: TimerId);
    /// Sets the closure for [`Handler::on_event`].
    on_event(event: &dyn Any);
    /// Sets the closure for [`Handler::on_error`].
    on_error(error: &Error);
    /// Sets the closure for [`Handler::on_close`].
    on_close(reason: &CloseReason);
    /// Sets the closure for [`Handler::on_reconnect`].
    on_reconnect(attempt: &Attempt<'_>) -> Retry, attempt.default;
}
