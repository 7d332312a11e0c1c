//! The token that a session registers with: given once, read from a file, or fetched from an OpenID server and renewed
//! in time (docs/qss.md, Token; RFC 6749 sections 4.3, 5 and 6). Sans IO.
//!
//! ```text
//!   Source::Fixed    always ready
//!   Source::File     asked for before each attempt
//!   Source::Grant    asked for when there is none, at `renew_at` of its life, and when the QSS refused it
//!
//!            prepare, due                    answer
//!   Rest ------------------> Asked(until) -----------> Rest
//!    ^                         |
//!    | prepare, at `until`     | a renewal failed and the old token still holds
//!    +----- Pausing(until) <---+
//! ```
//!
//! The session asks [`Tokens::prepare`] before each attempt and waits while a token is [`Coming`](Readiness::Coming). A
//! first token that cannot be had fails the attempt, so the session's own back-off rules the next; only a renewal, which
//! nobody waits for, has a back-off here.

use crate::agent::{LinkError, LinkErrorKind};
use crate::config::{Config, QssAuth, Secret, secret_line};
use crate::qss::backoff::Backoff;
use crate::random::Rng;
use crate::status::failure::{Cause, Failure};
use crate::time::{Span, Time, Wakeup};
use serde::Deserialize;
use serde_json::Value;

/// No token server says more; the shell reads no further.
pub const MAX_ANSWER: usize = 64 * 1024;
/// No token is longer: it travels in a header and in each `register`.
const MAX_TOKEN: usize = 16 * 1024;
/// A server that says nothing about a token's life means a long one: it is renewed when the QSS refuses it.
const LONGEST_LIFE: Span = Span::from_secs(10 * 365 * 86_400);

/// What the shell is asked to do; it says [`Answer`] once, or nothing if it is asked again meanwhile.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// Read `qss.token_file`.
    File,
    /// POST this form to `qss.auth.token_url`.
    Form(Secret),
}

/// What came of an [`Ask`].
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// The file's text, or why it cannot be read.
    File(Result<Secret, String>),
    /// The token server's answer, whatever its status; `retry_after` in seconds.
    Http { status: u16, retry_after: Option<u32>, body: Secret },
    /// There was none.
    Failed(LinkError),
}

/// What an answer, or its absence, changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// There is a token, and it is another than before.
    New,
    /// It is the same as before.
    Same,
    /// There is no token.
    Failed { cause: Cause, retry_after: Option<Span> },
    /// The present token could not be renewed yet; it still holds.
    Later { cause: Cause, retry_at: Time },
    /// Nobody waited for it.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readiness {
    Ready,
    Coming,
}

pub struct Tokens {
    source: Source,
    token: Secret,
    file_timeout: Span,
    /// Requests that have failed.
    failures: usize,
    errand: Errand,
    standing: Standing,
}

enum Source {
    Fixed,
    File,
    Grant(Box<Grant>),
}

struct Grant {
    auth: QssAuth,
    life: Life,
    backoff: Backoff,
}

/// Of a token that was fetched.
#[derive(Debug)]
enum Life {
    /// There is no token, or it must not be used again.
    Over,
    Until {
        renew_at: Time,
        ends_at: Time,
        refresh: Option<Refresh>,
    },
}

/// What a token is renewed with, instead of the password.
#[derive(Clone, Debug)]
struct Refresh {
    token: Secret,
    ends_at: Time,
}

#[derive(Clone, Copy, Debug)]
enum Errand {
    Rest,
    Asked { with: With, until: Time },
    Pausing { until: Time },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum With {
    File,
    Password,
    Refresh,
}

/// What the QSS thinks of the present token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It has not refused it.
    Good,
    /// It is there because the QSS refused the one before.
    Replacement,
}

impl Tokens {
    pub fn new(config: &Config) -> Tokens {
        let qss = &config.qss;
        let source = match (&qss.auth.token_url, &qss.token_file) {
            (Some(_), _) => {
                let backoff = Backoff::new(qss.auth.retry_min, qss.auth.retry_max).obeying(qss.retry_after_max);
                Source::Grant(Box::new(Grant { auth: qss.auth.clone(), life: Life::Over, backoff }))
            }
            (None, Some(_)) => Source::File,
            (None, None) => Source::Fixed,
        };
        Tokens {
            source,
            token: qss.token.clone(),
            file_timeout: qss.token_file_timeout,
            failures: 0,
            errand: Errand::Rest,
            standing: Standing::Good,
        }
    }

    /// The token to register with; right after [`Readiness::Ready`] or [`Outcome::New`].
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Which address of the token server is to be tried first, counted round: after each failure the next one.
    pub fn turn(&self) -> usize {
        self.failures
    }

    /// Before an attempt. [`Coming`](Readiness::Coming): an [`Outcome`] follows, from
    /// [`handle_answer`](Tokens::handle_answer) or [`handle_timeout`](Tokens::handle_timeout).
    pub fn prepare(&mut self, now: Time, asks: &mut Option<Ask>) -> Readiness {
        let with = match &self.source {
            Source::Fixed => return Readiness::Ready,
            Source::File => With::File,
            Source::Grant(grant) => match &grant.life {
                Life::Until { ends_at, .. } if now < *ends_at => return Readiness::Ready,
                Life::Until { .. } | Life::Over => grant.means(now),
            },
        };
        match self.errand {
            // It is under way already.
            Errand::Asked { .. } => {}
            Errand::Rest | Errand::Pausing { .. } => self.ask(now, with, asks),
        }
        Readiness::Coming
    }

    /// The QSS refused the present token. True: [`prepare`](Tokens::prepare) gets another, which may be tried at once.
    /// A replacement that is refused too is no better than the next: false, and the attempt counts.
    pub fn refused(&mut self) -> bool {
        match (&mut self.source, self.standing) {
            (Source::Fixed, _) => false,
            (Source::File | Source::Grant(_), Standing::Replacement) => {
                self.standing = Standing::Good;
                false
            }
            (Source::File, Standing::Good) => {
                self.standing = Standing::Replacement;
                true
            }
            (Source::Grant(grant), Standing::Good) => {
                // Who revokes a session revokes what renews it, too: only the password is left.
                grant.life = Life::Over;
                self.standing = Standing::Replacement;
                true
            }
        }
    }

    /// The QSS took the present token.
    pub fn accepted(&mut self) {
        self.standing = Standing::Good;
    }

    pub fn handle_answer(&mut self, now: Time, answer: Answer, rng: &mut Rng, asks: &mut Option<Ask>) -> Outcome {
        let Errand::Asked { with, .. } = self.errand else { return Outcome::Nothing };
        self.errand = Errand::Rest;
        match answer {
            Answer::File(read) => self.on_file(read),
            Answer::Http { status, retry_after, body } => {
                let retry_after = retry_after.map(|seconds| Span::from_secs(seconds.into()));
                match read(status, body.0.as_bytes()) {
                    Ok(granted) => self.on_granted(now, granted),
                    // RFC 6749 5.2: the refresh token is invalid, expired or revoked. The password still is a way.
                    Err(_) if with == With::Refresh && (400..500).contains(&status) && status != 429 => {
                        if let Source::Grant(grant) = &mut self.source {
                            grant.forget_refresh();
                        }
                        self.ask(now, With::Password, asks);
                        Outcome::Nothing
                    }
                    Err(cause) => self.failed(now, cause, retry_after, rng),
                }
            }
            Answer::Failed(error) => {
                let clock = error.kind == LinkErrorKind::TlsWrongDate;
                let failure = if clock { Failure::TlsClock } else { Failure::TokenUnreachable };
                self.failed(now, Cause::new(failure, format!("token_url: {}", error.detail)), None, rng)
            }
        }
    }

    pub fn poll_timeout(&self) -> Option<Wakeup> {
        match (self.errand, &self.source) {
            (Errand::Asked { until, .. }, _) => Some(Wakeup::new(until, "token request timeout")),
            (Errand::Pausing { until }, _) => Some(Wakeup::new(until, "token renewal")),
            (Errand::Rest, Source::Grant(grant)) => match grant.life {
                Life::Until { renew_at, .. } => Some(Wakeup::new(renew_at, "token renewal")),
                Life::Over => None,
            },
            (Errand::Rest, Source::Fixed | Source::File) => None,
        }
    }

    pub fn handle_timeout(&mut self, now: Time, rng: &mut Rng, asks: &mut Option<Ask>) -> Outcome {
        if self.poll_timeout().is_none_or(|wakeup| wakeup.at > now) {
            return Outcome::Nothing;
        }
        match std::mem::replace(&mut self.errand, Errand::Rest) {
            Errand::Asked { .. } => {
                let cause = match self.source {
                    Source::Grant(_) => Cause::new(Failure::TokenUnreachable, "token_url: no answer within timeout_ms"),
                    Source::Fixed | Source::File => {
                        Cause::new(Failure::TokenUnreadable, "token_file: not read within token_file_timeout_ms")
                    }
                };
                self.failed(now, cause, None, rng)
            }
            Errand::Pausing { .. } | Errand::Rest => {
                if let Source::Grant(grant) = &self.source {
                    let with = grant.means(now);
                    self.ask(now, with, asks);
                }
                Outcome::Nothing
            }
        }
    }

    fn ask(&mut self, now: Time, with: With, asks: &mut Option<Ask>) {
        let (ask, patience) = match (&self.source, with) {
            (Source::Grant(grant), With::Password | With::Refresh) => {
                // The shell's own time-out knows better what went wrong.
                let patience = grant.auth.timeout + Span::from_micros(grant.auth.timeout.as_micros() / 5);
                (Ask::Form(grant.form(with)), patience)
            }
            (Source::Fixed | Source::File | Source::Grant(_), _) => (Ask::File, self.file_timeout),
        };
        self.errand = Errand::Asked { with, until: now + patience };
        *asks = Some(ask);
    }

    fn on_file(&mut self, read: Result<Secret, String>) -> Outcome {
        let unreadable = |detail: String| {
            let cause = Cause::new(Failure::TokenUnreadable, detail);
            Outcome::Failed { cause, retry_after: None }
        };
        let text = match read {
            Ok(text) => text,
            Err(why) => return unreadable(why),
        };
        match secret_line(&text.0) {
            Err(why) => unreadable(format!("the token file {why}")),
            Ok(line) if line == self.token.0 => Outcome::Same,
            Ok(line) => {
                self.token = Secret(line.to_owned());
                Outcome::New
            }
        }
    }

    fn on_granted(&mut self, now: Time, granted: Granted) -> Outcome {
        let Source::Grant(grant) = &mut self.source else { return Outcome::Nothing };
        let life = granted.expires_in.unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE);
        let part = Span::from_micros(life.as_micros() / 100 * u64::from(grant.auth.renew_at));
        // A life of nearly nothing must not make a storm of renewals.
        let renew_at = now + part.max(grant.auth.retry_min);
        // RFC 6749 6: without a new refresh token the old one goes on.
        let kept = match &mut grant.life {
            Life::Until { refresh, .. } => refresh.take(),
            Life::Over => None,
        };
        let ends_at = now + granted.refresh_expires_in.unwrap_or(LONGEST_LIFE).min(LONGEST_LIFE);
        let refresh = granted.refresh_token.map(|token| Refresh { token, ends_at }).or(kept);
        grant.life = Life::Until { renew_at, ends_at: (now + life).max(renew_at), refresh };
        grant.backoff.reset();
        let same = self.token == granted.access_token;
        self.token = granted.access_token;
        if same { Outcome::Same } else { Outcome::New }
    }

    fn failed(&mut self, now: Time, cause: Cause, retry_after: Option<Span>, rng: &mut Rng) -> Outcome {
        self.failures = self.failures.wrapping_add(1);
        match &mut self.source {
            Source::Grant(grant) => match grant.life {
                Life::Until { ends_at, .. } if now < ends_at => {
                    let retry_at = grant.backoff.next(now, retry_after, rng).max(now + Span::from_millis(1));
                    self.errand = Errand::Pausing { until: retry_at };
                    Outcome::Later { cause, retry_at }
                }
                Life::Until { .. } | Life::Over => {
                    grant.life = Life::Over;
                    Outcome::Failed { cause, retry_after }
                }
            },
            Source::Fixed | Source::File => Outcome::Failed { cause, retry_after },
        }
    }
}

impl Grant {
    /// How the next token is to be had.
    fn means(&self, now: Time) -> With {
        match &self.life {
            Life::Until { refresh: Some(refresh), .. } if now < refresh.ends_at => With::Refresh,
            Life::Until { .. } | Life::Over => With::Password,
        }
    }

    fn forget_refresh(&mut self) {
        match &mut self.life {
            Life::Until { refresh, .. } => *refresh = None,
            Life::Over => {}
        }
    }

    /// RFC 6749 4.3.2 and 6, as `application/x-www-form-urlencoded`.
    fn form(&self, with: With) -> Secret {
        let auth = &self.auth;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", &auth.client_id);
        if !auth.client_secret.0.is_empty() {
            form.append_pair("client_secret", &auth.client_secret.0);
        }
        match (&self.life, with) {
            (Life::Until { refresh: Some(refresh), .. }, With::Refresh) => {
                form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", &refresh.token.0);
            }
            (Life::Until { .. } | Life::Over, _) => {
                form.append_pair("grant_type", "password");
                form.append_pair("username", &auth.username).append_pair("password", &auth.password.0);
            }
        }
        if !auth.scope.is_empty() {
            form.append_pair("scope", &auth.scope);
        }
        Secret(form.finish())
    }
}

/// A good answer of the token server (RFC 6749 5.1).
#[derive(Clone, PartialEq, Debug)]
pub struct Granted {
    pub access_token: Secret,
    pub expires_in: Option<Span>,
    pub refresh_token: Option<Secret>,
    /// Keycloak's word; no RFC has it.
    pub refresh_expires_in: Option<Span>,
}

/// Reads the answer of a token server.
///
/// # Errors
/// [`Failure::TokenRefused`] for a 4xx and for an answer that holds no usable token, [`Failure::TokenUnavailable`] for
/// what another try may change.
pub fn read(status: u16, body: &[u8]) -> Result<Granted, Cause> {
    #[derive(Deserialize)]
    struct Wire {
        access_token: Option<String>,
        expires_in: Option<Value>,
        refresh_token: Option<String>,
        refresh_expires_in: Option<Value>,
        error: Option<String>,
        error_description: Option<String>,
    }
    let wire = match body.len() {
        ..=MAX_ANSWER => serde_json::from_slice::<Wire>(body).ok(),
        _ => None,
    };
    let number = i32::from(status);
    if !(200..300).contains(&status) {
        let words = wire.map(|wire| [wire.error, wire.error_description]).unwrap_or_default();
        let words: Vec<_> = words.into_iter().flatten().map(|text| excerpt(&text)).collect();
        let failure = match status {
            429 | 500.. => Failure::TokenUnavailable(number),
            _ => Failure::TokenRefused(number),
        };
        return Err(Cause::new(failure, words.join(": ")));
    }
    let unusable = |what: &str| Cause::new(Failure::TokenRefused(number), format!("the token server's answer {what}"));
    let Some(wire) = wire else { return Err(unusable("is no JSON object of a token")) };
    let usable = |token: &String| (1..=MAX_TOKEN).contains(&token.len()) && token.chars().all(|c| c.is_ascii_graphic());
    let Some(access_token) = wire.access_token.filter(usable) else {
        return Err(unusable("holds no usable access_token"));
    };
    Ok(Granted {
        access_token: Secret(access_token),
        expires_in: wire.expires_in.as_ref().and_then(seconds),
        refresh_token: wire.refresh_token.filter(usable).map(Secret),
        // Keycloak says 0 for an offline token, which does not end.
        refresh_expires_in: wire.refresh_expires_in.as_ref().and_then(seconds).filter(|life| *life > Span::ZERO),
    })
}

/// A number of seconds, also as a string or with a fraction.
fn seconds(value: &Value) -> Option<Span> {
    let whole = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    whole.or_else(|| value.as_f64().map(|s| s as u64)).map(Span::from_secs)
}

/// Words of a stranger, fit for a log.
fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
