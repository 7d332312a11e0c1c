//! The token server of the simulated world, and the file that a token may be read from instead (docs/qss.md, Token).

use qss_endpoint::config::Secret;
use qss_endpoint::qss::token::{Answer, Ask};
use serde_json::json;

/// What a question gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Grant,
    /// This HTTP status; a file cannot be read.
    Refuse(u16),
    Silent,
}

pub struct Idp {
    pub manner: Manner,
    /// Of a token, in seconds.
    pub life: u64,
    /// Tokens issued so far; the last one is what stands in the file.
    issued: u32,
    /// Refresh tokens up to this one are worth nothing.
    revoked: u32,
}

impl Default for Idp {
    fn default() -> Idp {
        Idp { manner: Manner::Grant, life: 4_200, issued: 1, revoked: 0 }
    }
}

impl Idp {
    /// `None`: no answer.
    pub fn answer(&mut self, ask: &Ask) -> Option<Answer> {
        match (self.manner, ask) {
            (Manner::Silent, _) => None,
            (Manner::Refuse(_), Ask::File) => Some(Answer::File(Err("Permission denied".into()))),
            (Manner::Grant, Ask::File) => Some(Answer::File(Ok(Secret(format!("{}\n", token(self.issued)))))),
            (Manner::Refuse(status), Ask::Form(_)) => Some(http(status, "{}")),
            (Manner::Grant, Ask::Form(form)) => {
                let refresh = form.0.split('&').find_map(|field| field.strip_prefix("refresh_token=refresh"));
                if refresh.is_some_and(|n| n.parse::<u32>().expect("our own number") <= self.revoked) {
                    return Some(http(400, r#"{"error":"invalid_grant"}"#));
                }
                self.issued += 1;
                let granted = json!({"access_token": token(self.issued), "expires_in": self.life,
                                     "refresh_token": format!("refresh{}", self.issued), "refresh_expires_in": 864_000});
                Some(http(200, &granted.to_string()))
            }
        }
    }

    /// Every token so far is worth nothing any more; another one stands in the file. Those that are.
    pub fn revoke(&mut self) -> Vec<String> {
        self.revoked = self.issued;
        self.issued += 1;
        (1..=self.revoked).map(token).collect()
    }
}

fn token(number: u32) -> String {
    format!("token{number}")
}

fn http(status: u16, body: &str) -> Answer {
    Answer::Http { status, retry_after: None, body: Secret(body.to_owned()) }
}
