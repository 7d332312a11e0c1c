//! The session's own requests: register and unregister (docs/qss.md, Session).

use super::Request;
use super::room::object;
use crate::config::{Config, Secret};
use serde_json::json;

/// Who registers, in the words of the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Registration {
    register: String,
    unregister: String,
    username_key: String,
    token_key: String,
    device_id_key: String,
    username: String,
    device_id: String,
}

impl Registration {
    pub fn new(config: &Config) -> Registration {
        let names = &config.qss.names;
        Registration {
            register: names.register.clone(),
            unregister: names.unregister.clone(),
            username_key: names.username_key.clone(),
            token_key: names.token_key.clone(),
            device_id_key: names.device_id_key.clone(),
            username: config.qss.username.clone(),
            device_id: config.device.id.clone(),
        }
    }

    /// `None`: this QSS wants no registration.
    pub fn register(&self, token: &Secret) -> Option<Request> {
        let (user, device) = (json!(self.username), json!(self.device_id));
        let keys = [(&self.username_key, user), (&self.token_key, json!(token.0)), (&self.device_id_key, device)];
        Request::new(&self.register, object(keys))
    }

    /// `None`: it is told nothing when the device goes.
    pub fn unregister(&self) -> Option<Request> {
        let keys = [(&self.username_key, json!(self.username)), (&self.device_id_key, json!(self.device_id))];
        Request::new(&self.unregister, object(keys))
    }
}
