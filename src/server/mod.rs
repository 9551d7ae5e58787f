//! The server floor: routes and replies of HTTP.

pub(crate) mod file_path;
pub(crate) mod routes;
