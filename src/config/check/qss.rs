//! `[qss]`, `[qss.auth]` and `[qss.names]`, compared with each other and with the files they name.

use super::super::error::Fault;
use super::super::{Config, Qss, QssNames, shape};
use super::{Check, Pem, is_local};

impl Check<'_> {
    pub(super) fn qss(&mut self, config: &mut Config) {
        let qss = &mut config.qss;
        if let Some(file) = qss.ca_file.take() {
            qss.ca_file = self.pem("qss.ca_file", &file, Pem::Certificate);
        }
        if let Some(file) = qss.auth.ca_file.take() {
            qss.auth.ca_file = self.pem("qss.auth.ca_file", &file, Pem::Certificate);
        }
        let one_without_the_other =
            "a certificate and its key are given together: qss.client_cert_file, qss.client_key_file";
        match (qss.client_cert_file.take(), qss.client_key_file.take()) {
            (Some(cert), Some(key)) => {
                qss.client_cert_file = self.pem("qss.client_cert_file", &cert, Pem::Certificate);
                qss.client_key_file = self.pem("qss.client_key_file", &key, Pem::PrivateKey);
            }
            (Some(_), None) => self.at("qss.client_cert_file", Fault::Missing(one_without_the_other.into())),
            (None, Some(_)) => self.at("qss.client_key_file", Fault::Missing(one_without_the_other.into())),
            (None, None) => {}
        }
        self.auth(qss);
        self.names(&qss.names);
        if qss.reads.request_id.is_empty() {
            self.at("qss.reads.request_id", Fault::Missing("must name at least one field".into()));
        }
        if qss.reads.room.is_empty() && qss.reads.sip_uri.is_empty() {
            self.at("qss.reads.room", Fault::Missing("no room could be read: it or sip_uri must name a field".into()));
        }
        let Some(url) = qss.url.as_deref() else { return };
        if qss.username.is_empty() {
            self.at("qss.username", Fault::Missing("missing: the QSS registers a user".into()));
        }
        let said = ["qss.token_file", "qss.token_env", "qss.auth.token_url"];
        if qss.token.0.is_empty() && !said.iter().any(|key| self.origins.contains_key(*key)) {
            self.warn("qss.token", "no token: most QSS refuse to register without one");
        }
        if qss.bearer && shape::header_value(&qss.token.0).is_err() {
            self.at("qss.bearer", Fault::Conflict("the token has characters that no HTTP header may have".into()));
        }
        if qss.bearer && qss.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            self.at("qss.bearer", Fault::Conflict("qss.headers has an Authorization already".into()));
        }
        if let Some(rest) = url.strip_prefix("ws://") {
            if !is_local(rest) && (!qss.token.0.is_empty() || qss.auth.token_url.is_some()) {
                self.warn("qss.url", "ws:// sends the token in clear over the network; wss:// does not");
            }
            let https = qss.auth.token_url.as_deref().is_some_and(|url| url.starts_with("https:"));
            if qss.ca_file.is_some() && !https {
                self.warn("qss.ca_file", "has no effect with ws://");
            }
            if qss.client_cert_file.is_some() {
                self.warn("qss.client_cert_file", "has no effect with ws://");
            }
        }
    }

    fn auth(&mut self, qss: &mut Qss) {
        let auth = &mut qss.auth;
        let Some(url) = auth.token_url.as_deref() else { return };
        if auth.username.is_empty() {
            auth.username = qss.username.clone();
        }
        if !qss.token.0.is_empty() || self.origins.contains_key("qss.token_file") {
            let what = "qss.token is given too: either it or qss.auth must go";
            self.at("qss.auth.token_url", Fault::Conflict(what.into()));
        }
        if auth.client_id.is_empty() {
            self.at("qss.auth.client_id", Fault::Missing("missing: the token server knows its clients by it".into()));
        }
        if auth.password.0.is_empty() && !self.origins.contains_key("qss.auth.password_file") {
            self.at("qss.auth.password", Fault::Missing("missing, and so is password_file".into()));
        }
        if let Some(rest) = url.strip_prefix("http://")
            && !is_local(rest)
        {
            self.warn("qss.auth.token_url", "http:// sends the password in clear over the network; https:// does not");
        }
    }

    /// A word of the QSS means one thing.
    fn names(&mut self, names: &QssNames) {
        if names.invite.is_empty() {
            self.at("qss.names.invite", Fault::Missing("must name at least one word".into()));
        }
        let lists = names.aliases();
        for (i, (key, words)) in lists.iter().enumerate() {
            for (earlier, known) in &lists[..i] {
                if let Some(word) = words.iter().find(|word| known.contains(word)) {
                    let fault = Fault::Conflict(format!("{word} stands in {earlier} already: a word means one thing"));
                    self.at(&format!("qss.names.{key}"), fault);
                }
            }
        }
    }
}
