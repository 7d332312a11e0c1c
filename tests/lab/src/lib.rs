//! The laboratory around the endpoint.

pub mod asterisk;
pub mod baresip;
