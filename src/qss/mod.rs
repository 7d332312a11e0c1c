//! The session to the QSS: messages, requests by `requestID`, reconnect. Sans IO.
