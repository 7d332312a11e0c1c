//! SIP user agent of one device (RFC 3261), sans IO. See `endpoint` for the way in.
pub mod endpoint;
