//! A call through a network that loses, doubles and delays: against a small mixer that keeps the rules itself.

use super::*;

/// A UAS of one call: answers, repeats its 200 until the ACK comes, hangs up or is hung up on.
struct Mixer {
    invite: Option<Sent>,
    /// When the 200 goes out again; None once acknowledged.
    repeat_at: Option<Time>,
    pause: Span,
    bye: Option<(String, Time, Span)>,
    over: bool,
}

/// One way of the link.
struct Link {
    in_flight: Vec<(Time, Vec<u8>)>,
    /// Position of the datagrams to lose, counted over both ways.
    lost: Box<dyn Fn(usize) -> bool>,
    count: usize,
}

impl Mixer {
    fn new() -> Mixer {
        Mixer { invite: None, repeat_at: None, pause: ms(500), bye: None, over: false }
    }

    fn ok(&self) -> Option<Vec<u8>> {
        let invite = self.invite.as_ref()?;
        Some(invite.response(200, "peer", "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER).into_bytes())
    }

    fn receive(&mut self, now: Time, sent: Sent, reply: &mut Vec<Vec<u8>>) {
        if matches!(sent.message, Message::Response { .. }) {
            if sent.header("CSeq").unwrap().ends_with("BYE") {
                (self.bye, self.over) = (None, true);
            }
            return;
        }
        match &sent.request().method {
            Method::Invite if self.over => {}
            Method::Invite => {
                let first = self.invite.is_none();
                if first {
                    reply.push(sent.response(100, "", "", "").into_bytes());
                    self.invite = Some(sent);
                    self.repeat_at = Some(now + self.pause);
                }
                reply.extend(self.ok());
            }
            Method::Ack => self.repeat_at = None,
            Method::Bye => {
                self.over = true;
                self.repeat_at = None;
                reply.push(sent.response(200, "peer", "", "").into_bytes());
            }
            other => panic!("unexpected {other}"),
        }
    }

    fn hang_up(&mut self, now: Time, reply: &mut Vec<Vec<u8>>) {
        let bye = self.invite.as_ref().unwrap().peer_request("BYE", 1, "", "");
        reply.push(bye.clone().into_bytes());
        self.bye = Some((bye, now + ms(500), ms(500)));
    }

    fn timers(&mut self, now: Time, reply: &mut Vec<Vec<u8>>) {
        if self.repeat_at.is_some_and(|at| at <= now) {
            reply.extend(self.ok());
            self.pause = self.pause.times(2).min(ms(4_000));
            self.repeat_at = Some(now + self.pause);
        }
        if let Some((bye, at, pause)) = self.bye.as_mut().filter(|(_, at, _)| *at <= now) {
            *pause = pause.times(2).min(ms(4_000));
            *at = now + *pause;
            reply.push(bye.clone().into_bytes());
        }
    }
}

/// Plays a call of 10 s which `mixer_hangs_up` or we end; returns the events and the number of datagrams.
fn play(
    seed: u64,
    delay: impl Fn(usize) -> u64,
    lost: impl Fn(usize) -> bool + 'static,
    mixer_hangs_up: bool,
) -> (Vec<Event>, usize) {
    let mut world = World::with(config(), seed);
    let mut mixer = Mixer::new();
    let mut link = Link { in_flight: Vec::new(), lost: Box::new(lost), count: 0 };
    let id = world.dial();
    let mut hung_up = false;
    for _ in 0..100_000 {
        let mut to_agent = Vec::new();
        mixer.timers(world.now, &mut to_agent);
        let confirmed = world.events.iter().any(|event| matches!(event, Event::Confirmed { .. }));
        if confirmed && !hung_up && world.now >= Time::from_millis(41_000) {
            hung_up = true;
            if mixer_hangs_up {
                mixer.hang_up(world.now, &mut to_agent);
            } else {
                world.hang_up(id);
            }
        }
        // The link: one queue for both ways, told apart by who would read it.
        let arrived: Vec<Vec<u8>> = {
            let now = world.now;
            let (due, later) = link.in_flight.drain(..).partition(|(at, _)| *at <= now);
            link.in_flight = later;
            due.into_iter().map(|(_, bytes): (Time, Vec<u8>)| bytes).collect()
        };
        for bytes in arrived {
            world.receive_from(MIXER, &bytes);
        }
        while let Some((to, bytes)) = world.sent.pop_front() {
            link.count += 1;
            if !(link.lost)(link.count - 1) {
                let message = message::parse(&bytes).unwrap();
                mixer.receive(world.now, Sent { to, bytes, message }, &mut to_agent);
            }
        }
        for bytes in to_agent {
            link.count += 1;
            if !(link.lost)(link.count - 1) {
                link.in_flight.push((world.now + ms(delay(link.count)), bytes));
            }
        }
        world.pass(ms(10));
        if world.now > Time::from_millis(120_000) {
            break;
        }
    }
    let idle = world.endpoint.is_idle();
    assert!(idle, "seed {seed}: still busy after 2 minutes: {:?}", world.events);
    (world.events.into_iter().collect(), link.count)
}

fn check(events: &[Event], mixer_hangs_up: bool, note: &str) {
    let confirmed = events.iter().filter(|event| matches!(event, Event::Confirmed { .. })).count();
    let ended: Vec<&EndCause> = events
        .iter()
        .filter_map(|event| match event {
            Event::Ended { cause, .. } => Some(cause),
            _ => None,
        })
        .collect();
    let wanted = if mixer_hangs_up { EndCause::Remote { reason: None } } else { EndCause::Local };
    assert_eq!((confirmed, ended), (1, vec![&wanted]), "{note}");
}

#[test]
fn each_message_of_a_call_may_be_lost_once() {
    for mixer_hangs_up in [false, true] {
        let (_, count) = play(1, |_| 5, |_| false, mixer_hangs_up);
        assert_eq!(count, 6, "INVITE 100 200 ACK BYE 200");
        for lost in 0..count {
            let (events, _) = play(1, |_| 5, move |at| at == lost, mixer_hangs_up);
            check(&events, mixer_hangs_up, &format!("datagram {lost} lost"));
        }
    }
}

#[test]
fn one_in_three_may_be_lost_and_the_rest_come_late_and_in_any_order() {
    for seed in 0..60u64 {
        let mut rng = Rng::from_u64(seed);
        let lost: Vec<bool> = (0..4_000).map(|_| rng.below(3) == 0).collect();
        let delays: Vec<u64> = (0..4_000).map(|_| rng.below(700)).collect();
        let mixer_hangs_up = seed % 2 == 0;
        let (events, _) = play(seed, |at| delays[at % 4_000], move |at| lost[at % 4_000], mixer_hangs_up);
        check(&events, mixer_hangs_up, &format!("seed {seed}"));
    }
}

#[test]
fn a_200_repeated_for_64_t1_gets_the_same_ack_each_time() {
    let mut world = World::new();
    let (id, invite, ack) = world.confirmed();
    // RFC 3261 13.3.1.4: T1, 2 T1 ... T2, until the ACK is there; it never is.
    let (mut pause, mut passed, mut times) = (ms(500), Span::ZERO, 0);
    while passed + pause < ms(32_000) {
        world.pass(pause);
        passed = passed + pause;
        pause = pause.times(2).min(ms(4_000));
        world.reply(&invite, 200, "Contact: <sip:192.0.2.9:5080>\r\n", ANSWER);
        assert_eq!(world.expect(Method::Ack).bytes, ack.bytes, "after {passed:?}");
        world.expect_silence();
        times += 1;
    }
    assert_eq!(times, 10);
    assert!(world.events.is_empty(), "one call, confirmed once");
    world.hang_up(id);
    world.expect(Method::Bye);
}
