//! Tokens on virtual time, against a server that is right, slow, away and rude.

use super::*;

struct Trace {
    tokens: Tokens,
    rng: Rng,
    now: Time,
    asked: Option<Ask>,
}

impl Trace {
    fn granting() -> Trace {
        let mut config = Config::default();
        config.qss.username = "door 7".into();
        config.qss.auth.token_url = Some("https://idp/token".into());
        config.qss.auth.client_id = "intercom".into();
        config.qss.auth.username = "door 7".into();
        config.qss.auth.password = Secret("p&ss".into());
        Trace::of(&config)
    }

    fn of(config: &Config) -> Trace {
        Trace { tokens: Tokens::new(config), rng: Rng::from_u64(1), now: Time::ZERO, asked: None }
    }

    fn prepare(&mut self) -> Readiness {
        self.tokens.prepare(self.now, &mut self.asked)
    }

    fn form(&mut self) -> String {
        match self.asked.take() {
            Some(Ask::Form(form)) => form.0,
            other => panic!("a form expected: {other:?}"),
        }
    }

    fn http(&mut self, status: u16, body: &str) -> Outcome {
        let answer = Answer::Http { status, retry_after: None, body: Secret(body.into()) };
        self.tokens.handle_answer(self.now, answer, &mut self.rng, &mut self.asked)
    }

    fn wake(&mut self) -> Outcome {
        let at = self.tokens.poll_timeout().expect("something is due").at;
        self.now = self.now.max(at);
        let outcome = self.tokens.handle_timeout(self.now, &mut self.rng, &mut self.asked);
        assert!(self.tokens.poll_timeout().is_none_or(|next| next.at > self.now), "no progress");
        outcome
    }

    /// Has a token that lives for 4200 s, as Keycloak gives it.
    fn granted() -> Trace {
        let mut t = Trace::granting();
        assert_eq!(t.prepare(), Readiness::Coming);
        assert!(t.form().contains("grant_type=password&username=door+7&password=p%26ss"));
        assert_eq!(t.http(200, GOOD), Outcome::New);
        t
    }
}

const GOOD: &str = r#"{"access_token":"a1","expires_in":4200,"refresh_token":"r1","refresh_expires_in":864000}"#;

#[test]
fn a_token_is_fetched_once_and_renewed_at_80_percent() {
    let mut t = Trace::granted();
    assert_eq!((t.prepare(), t.tokens.token().0.as_str()), (Readiness::Ready, "a1"));
    assert_eq!(t.wake(), Outcome::Nothing);
    assert_eq!(t.now, Time::from_millis(3_360_000));
    assert_eq!(t.form(), "client_id=intercom&grant_type=refresh_token&refresh_token=r1");
    assert_eq!(t.prepare(), Readiness::Ready, "the old one holds meanwhile");
    assert_eq!(t.http(200, r#"{"access_token":"a2","expires_in":"4200"}"#), Outcome::New);
    assert_eq!(t.tokens.token().0, "a2");
    t.wake();
    assert_eq!(t.now, Time::from_millis(2 * 3_360_000));
    assert!(t.form().contains("refresh_token=r1"), "without a new one the old refresh token goes on");
}

#[test]
fn a_refresh_token_that_is_refused_or_over_gives_way_to_the_password() {
    let mut t = Trace::granted();
    t.wake();
    t.form();
    assert_eq!(t.http(400, r#"{"error":"invalid_grant"}"#), Outcome::Nothing);
    assert!(t.form().contains("grant_type=password"));
    assert_eq!(t.http(200, r#"{"access_token":"a2","refresh_token":"r2","refresh_expires_in":1}"#), Outcome::New);
    let mut t = Trace::granting();
    t.prepare();
    t.http(200, r#"{"access_token":"a1","expires_in":1000,"refresh_token":"r1","refresh_expires_in":100}"#);
    t.wake();
    assert!(t.form().contains("grant_type=password"));
}

#[test]
fn a_renewal_that_fails_is_tried_again_while_the_token_holds() {
    let mut t = Trace::granted();
    t.wake();
    let mut tries = 1;
    while t.now < Time::from_millis(4_100_000) {
        t.form();
        let Outcome::Later { cause, retry_at } = t.http(503, "busy") else { panic!("the token still holds") };
        assert_eq!(cause.failure, Failure::TokenUnavailable(503));
        assert!(retry_at > t.now);
        assert_eq!(t.wake(), Outcome::Nothing);
        tries += 1;
    }
    assert!((3..60).contains(&tries), "{tries} tries in 740 s");
    t.now = Time::from_millis(4_200_000);
    t.form();
    let Outcome::Failed { .. } = t.http(503, "busy") else { panic!("the token is over") };
    assert_eq!(t.tokens.poll_timeout(), None, "the session's back-off rules now");
    assert_eq!(t.prepare(), Readiness::Coming);
}

#[test]
fn a_refused_token_is_replaced_once_before_it_counts() {
    let mut t = Trace::granted();
    assert!(t.tokens.refused());
    assert_eq!(t.prepare(), Readiness::Coming);
    assert!(t.form().contains("grant_type=password"), "who revoked it revoked the refresh token too");
    t.http(200, r#"{"access_token":"a2","expires_in":4200}"#);
    assert!(!t.tokens.refused(), "the replacement is refused too");
    assert!(t.tokens.refused(), "the attempt after the pause may renew again");
    t.prepare();
    t.http(200, r#"{"access_token":"a3","expires_in":4200}"#);
    t.tokens.accepted();
    assert!(t.tokens.refused());
}

#[test]
fn a_server_that_does_not_answer_is_given_up_and_a_late_answer_ignored() {
    let mut t = Trace::granting();
    t.prepare();
    let Outcome::Failed { cause, .. } = t.wake() else { panic!("given up") };
    assert_eq!((cause.failure, t.now), (Failure::TokenUnreachable, Time::from_millis(12_000)));
    assert_eq!(t.http(200, GOOD), Outcome::Nothing);
}

#[test]
fn a_clock_that_is_wrong_is_called_so() {
    let mut t = Trace::granting();
    t.prepare();
    let answer = Answer::Failed(LinkErrorKind::TlsWrongDate.into());
    let outcome = t.tokens.handle_answer(t.now, answer, &mut t.rng, &mut t.asked);
    assert!(matches!(outcome, Outcome::Failed { cause: Cause { failure: Failure::TlsClock, .. }, .. }));
}

#[test]
fn each_failure_is_another_addresss_turn() {
    let mut t = Trace::granting();
    for failures in 0..3 {
        assert_eq!((t.tokens.turn(), t.prepare()), (failures, Readiness::Coming));
        t.http(502, "");
    }
    t.prepare();
    t.http(200, GOOD);
    assert_eq!(t.tokens.turn(), 3, "where it went well it begins again");
}

#[test]
fn a_file_is_read_before_each_attempt() {
    let mut config = Config::default();
    config.qss.token = Secret("t1".into());
    config.qss.token_file = Some("/run/token".into());
    let mut t = Trace::of(&config);
    let mut file = |text: Result<&str, &str>| {
        assert_eq!(t.prepare(), Readiness::Coming);
        assert_eq!(t.asked.take(), Some(Ask::File));
        let read = text.map(|text| Secret(text.into())).map_err(str::to_owned);
        let outcome = t.tokens.handle_answer(t.now, Answer::File(read), &mut t.rng, &mut t.asked);
        (outcome, t.tokens.token().0.clone())
    };
    assert_eq!(file(Ok("t1\n")), (Outcome::Same, "t1".into()));
    assert_eq!(file(Ok("t2\r\n")), (Outcome::New, "t2".into()));
    for broken in [Ok("two\nlines"), Ok(""), Err("there is no such file")] {
        let (Outcome::Failed { cause, .. }, token) = file(broken) else { panic!("unusable: {broken:?}") };
        assert_eq!((cause.failure, token.as_str()), (Failure::TokenUnreadable, "t2"));
    }
    assert_eq!(t.prepare(), Readiness::Coming);
    let Outcome::Failed { cause, .. } = t.wake() else { panic!("nothing was read") };
    assert_eq!(cause, Cause::new(Failure::TokenUnreadable, "token_file: not read within token_file_timeout_ms"));
}

#[test]
fn a_fixed_token_is_all_there_is() {
    let mut t = Trace::of(&Config::default());
    assert_eq!((t.prepare(), t.tokens.refused(), t.tokens.poll_timeout()), (Readiness::Ready, false, None));
}

#[test]
fn answers_of_all_kinds_are_read_or_refused() {
    let granted = read(200, GOOD.as_bytes()).expect("the documented form");
    assert_eq!(granted.expires_in, Some(Span::from_secs(4_200)));
    for expires in ["0", "-5", "\"x\"", "null", "1e300", "[]"] {
        let body = format!(r#"{{"access_token":"a","expires_in":{expires}}}"#);
        assert!(read(200, body.as_bytes()).is_ok(), "{expires}");
        let mut t = Trace::granting();
        t.prepare();
        t.http(200, &body);
        let next = t.tokens.poll_timeout().expect("it is renewed some day").at;
        assert!(next >= Time::from_millis(5_000), "{expires}: no storm");
    }
    for bad in
        ["", "[]", "{}", r#"{"access_token":""}"#, r#"{"access_token":"a\nb"}"#, r#"{"access_token":7}"#, "\u{0}"]
    {
        assert_eq!(read(200, bad.as_bytes()).unwrap_err().failure, Failure::TokenRefused(200), "{bad}");
    }
    let refused =
        read(401, br#"{"error":"invalid_grant","error_description":"Invalid user\ncredentials"}"#).unwrap_err();
    assert_eq!(refused, Cause::new(Failure::TokenRefused(401), "invalid_grant: Invalid usercredentials"));
    assert_eq!(read(503, b"<html>").unwrap_err().failure, Failure::TokenUnavailable(503));
    let long = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(MAX_TOKEN + 1));
    assert!(read(200, long.as_bytes()).is_err());
}
