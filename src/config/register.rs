//! Where the device is registered by SIP.

use crate::time::Span;

#[derive(Clone, PartialEq, Debug)]
pub struct Register {
    /// `sip:` URIs, most wanted first; none: nowhere.
    pub servers: Vec<String>,
    /// Our public address; `None`: the SIP user at the server's host.
    pub aor: Option<String>,
    /// What is asked for; the server decides.
    pub expires: Span,
    /// While registered at another server than the first, the first is tried again this often.
    pub home_retry: Span,
    /// Pause after all servers have failed: first value, cap.
    pub retry_min: Span,
    pub retry_max: Span,
    /// A binding is not refreshed sooner than this, whatever the server grants.
    pub least: Span,
    /// A refresh leaves this much time for a second try, if the interval allows.
    pub lead: Span,
}

impl Default for Register {
    fn default() -> Register {
        Register {
            servers: Vec::new(),
            aor: None,
            expires: Span::from_secs(600),
            home_retry: Span::from_secs(300),
            retry_min: Span::from_secs(1),
            retry_max: Span::from_secs(120),
            least: Span::from_secs(20),
            lead: Span::from_secs(40),
        }
    }
}
