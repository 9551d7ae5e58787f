//! Channels without code: their clients follow the stream that a parameter names.

use std::rc::Rc;

use super::{
    channel::{Channel, Subscription},
    signed::StreamVerifier,
};

/// How a parameter of a subscription names a stream, for a channel that is nothing but this:
/// [`ActionCable::streams`](super::ActionCable::streams).
///
/// ```
/// use ws_reactor::action_cable::{ActionCable, NamedStreams, StreamVerifier};
///
/// let verifier = StreamVerifier::new("secret");
/// let of_any_cable = NamedStreams::signed("signed_stream_name", &verifier).whispers().presence();
/// let cable = ActionCable::new()
///     .streams("Turbo::StreamsChannel", NamedStreams::signed("signed_stream_name", &verifier))
///     .streams("CableReady::Stream", NamedStreams::signed("identifier", &verifier))
///     .streams("$pubsub", of_any_cable);
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NamedStreams {
    signed: Option<(String, StreamVerifier)>,
    public: Option<String>,
    whispers: bool,
    presence: bool,
}

impl NamedStreams {
    /// Streams whose name is signed. A wrong signature is rejected.
    pub fn signed(param: impl Into<String>, verifier: &StreamVerifier) -> Self {
        let signed = Some((param.into(), verifier.clone()));
        NamedStreams { signed, public: None, whispers: false, presence: false }
    }

    /// Streams whose name is not signed: every client can follow every topic, those of signed streams and of other
    /// parts of the application included. Those of cables themselves (`action_cable/…`) are rejected.
    pub fn public(param: impl Into<String>) -> Self {
        NamedStreams { signed: None, public: Some(param.into()), whispers: false, presence: false }
    }

    /// Also takes a name that is not signed, by another parameter, as [`public`](Self::public). A signed one counts, if
    /// there are both. Whispers and presence are for both.
    pub fn or_public(mut self, param: impl Into<String>) -> Self {
        self.public = Some(param.into());
        self
    }

    /// Lets clients [whisper](Subscription::allow_whispers) in their stream.
    pub fn whispers(mut self) -> Self {
        self.whispers = true;
        self
    }

    /// Lets clients be [present](Subscription::allow_presence) in their stream.
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// The stream of a subscription.
    fn of(&self, subscription: &Subscription<'_>) -> Option<String> {
        if let Some((param, verifier)) = &self.signed
            && let Some(signed) = subscription.param(param)
        {
            return verifier.verify(&signed);
        }
        let name = self.public.as_ref().and_then(|param| subscription.param(param))?;
        (!name.is_empty() && !name.starts_with("action_cable/")).then_some(name)
    }
}

/// The channel of one subscription.
pub(super) struct NamedStream(pub(super) Rc<NamedStreams>);

impl Channel for NamedStream {
    fn subscribed(&mut self, subscription: &mut Subscription<'_>) {
        let Some(stream) = self.0.of(subscription) else { return subscription.reject() };
        subscription.stream_from(&stream);
        if self.0.whispers {
            subscription.allow_whispers(&stream);
        }
        if self.0.presence {
            subscription.allow_presence(&stream);
        }
    }
}
