//! placeholder
pub struct TestSocket;
