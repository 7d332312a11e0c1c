//! The laboratory around the endpoint.
