//! Stand-in for `deflate` without the feature: compression is never negotiated, so most of these types have no values.

use std::{cell::RefCell, fmt, rc::Rc};

use super::{error::ProtocolError, version::Side};

#[derive(Debug, Clone, Copy)]
pub(crate) enum DeflateConfig {}

#[derive(Debug, Clone, Copy)]
pub(crate) enum DeflateParameters {}

impl fmt::Display for DeflateParameters {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) struct Malformed;

pub(crate) fn agree<'h>(
    _: impl Iterator<Item = &'h [u8]>,
    config: &DeflateConfig,
) -> Result<Option<DeflateParameters>, Malformed> {
    match *config {}
}

pub(crate) fn offer(config: &DeflateConfig) -> String {
    match *config {}
}

/// Why the server's answer does not match the offer. Without the feature there is no offer.
#[derive(Debug)]
pub(crate) enum BadExtension {}

impl BadExtension {
    pub(crate) fn parameter(&self) -> Option<&'static str> {
        match *self {}
    }
}

pub(crate) fn take_answer<'h>(
    _: impl Iterator<Item = &'h [u8]>,
    config: &DeflateConfig,
) -> Result<Option<DeflateParameters>, BadExtension> {
    match *config {}
}

#[derive(Debug, Default)]
pub(crate) struct Contexts;

impl Contexts {
    #[allow(clippy::unused_self)]
    pub(crate) fn is_empty(&self) -> bool {
        true
    }

    #[allow(clippy::unused_self)]
    pub(crate) fn trim(&mut self) {}

    pub(crate) fn compressed(&self) -> u64 {
        0
    }
}

pub(crate) type SharedContexts = Rc<RefCell<Contexts>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeflateSetting {}

#[derive(Debug)]
pub(crate) enum Inflation {}

impl Inflation {
    pub(crate) fn new(parameters: &DeflateParameters, _: Side, _: &SharedContexts) -> Self {
        match *parameters {}
    }

    pub(crate) fn allow(&mut self, _: usize) {
        match *self {}
    }

    pub(crate) fn push(
        &mut self,
        _: &[u8],
        _: impl FnMut(&[u8]) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        match *self {}
    }

    pub(crate) fn finish(&mut self, _: impl FnMut(&[u8]) -> Result<(), ProtocolError>) -> Result<(), ProtocolError> {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum Deflation {}

impl Deflation {
    pub(crate) fn new(parameters: &DeflateParameters, _: &DeflateConfig, _: Side, _: &SharedContexts) -> Self {
        match *parameters {}
    }

    pub(crate) fn wants(&self, _: usize) -> bool {
        match *self {}
    }

    pub(crate) fn shares(&self) -> Option<DeflateSetting> {
        match *self {}
    }

    pub(crate) fn piece(&mut self, _: &[u8], _: bool) -> Vec<u8> {
        match *self {}
    }

    pub(crate) fn message(&mut self, _: &[u8]) -> Option<Vec<u8>> {
        match *self {}
    }

    pub(crate) fn recycle(&self, _: Vec<u8>) {
        match *self {}
    }
}
