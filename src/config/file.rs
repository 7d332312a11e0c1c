//! Text to [`Config`](super::Config).
