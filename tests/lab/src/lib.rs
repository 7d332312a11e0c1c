//! The laboratory around the endpoint.
#![allow(clippy::disallowed_types)]

pub mod asterisk;
pub mod baresip;
