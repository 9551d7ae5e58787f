//! Errors of routes.

use std::{fmt, path::PathBuf};

use http::Method;

/// Error of [`Server::routes`](crate::Server::routes): two routes conflict, or a route is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouteError {
    /// The pattern is malformed, or matches the same paths as another one.
    Pattern {
        /// The pattern.
        pattern: String,
        /// The fault.
        reason: String,
    },
    /// The pattern has two routes for the same requests, or a host has two sets of routes.
    Twice {
        /// The pattern, or the host.
        pattern: String,
        /// The method; `None` for two routes of WebSockets, or of any method, and for a host.
        method: Option<Method>,
    },
    /// The folder of files cannot be read.
    Directory {
        /// The path of the folder.
        path: PathBuf,
        /// The error of the system.
        reason: String,
    },
    /// A pattern of origins cannot match any origin.
    Origin(super::origins::OriginError),
}

impl fmt::Display for RouteError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RouteError::Pattern { pattern, reason } => write!(formatter, "route {pattern:?}: {reason}"),
            RouteError::Twice { pattern, method: Some(method) } => {
                write!(formatter, "route {pattern:?} is set twice for {method}")
            }
            RouteError::Twice { pattern, method: None } => write!(formatter, "route {pattern:?} is set twice"),
            RouteError::Directory { path, reason } => write!(formatter, "files in {path:?}: {reason}"),
            RouteError::Origin(error) => error.fmt(formatter),
        }
    }
}

impl std::error::Error for RouteError {}
