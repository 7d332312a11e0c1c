//! A week of one call: kept alive, refreshed, asked, held, moved five times, lost in ten restarts of the mixer. Nothing
//! gathers.

#[allow(dead_code, unreachable_pub)]
#[path = "../../../tests/sim/src/memory.rs"]
mod memory;

use super::*;

#[global_allocator]
static ALLOCATOR: memory::Accountant = memory::Accountant;

const HOURS: u64 = 7 * 24;
const PEER: &str = "Contact: <sip:192.0.2.9:5080>\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 1800;refresher=uac\r\n";

/// The mixer's side of the one dialog there may be.
struct Dialog {
    call: CallId,
    invite: Sent,
    /// CSeq of the last request we sent in it.
    ours: u32,
    /// And of the mixer's own.
    theirs: u32,
    lost: bool,
}

struct Week {
    world: World,
    dialog: Dialog,
    dialogs: u32,
    refreshes: u32,
    pings: u32,
}

fn establish(world: &mut World) -> Dialog {
    let call = world.dial();
    let invite = world.expect(Method::Invite);
    world.reply(&invite, 200, PEER, ANSWER);
    world.expect(Method::Ack);
    assert!(matches!(world.expect_event(), Event::Confirmed { .. }));
    Dialog { call, invite, ours: 1, theirs: 0, lost: false }
}

impl Week {
    fn new(keepalive: config::Keepalive) -> Week {
        let every = config::Config::default().sip.keepalive_interval;
        let mut world = World::with(config::Sip { keepalive, keepalive_interval: every, ..config() }, 1);
        let dialog = establish(&mut world);
        Week { world, dialog, dialogs: 1, refreshes: 0, pings: 0 }
    }

    /// Answers what the device sends, and dials again when the call is over.
    fn serve(&mut self) {
        while let Some((to, bytes)) = self.world.sent.pop_front() {
            if bytes == b"\r\n\r\n" {
                self.pings += 1;
                continue;
            }
            let message = message::parse(&bytes).expect("what we send is well formed");
            let sent = Sent { to, bytes, message };
            let Message::Request { request, identity } = &sent.message else { continue };
            if request.method == Method::Options {
                self.pings += 1;
                self.world.reply(&sent, 200, "", "");
                continue;
            }
            assert_eq!(identity.call_id, self.dialog.invite.identity().call_id, "one dialog at a time");
            if request.method == Method::Ack {
                continue;
            }
            self.dialog.ours += 1;
            assert_eq!(identity.cseq.number, self.dialog.ours, "each request the next number: {}", sent.text());
            let body = if request.method == Method::Invite { ANSWER } else { "" };
            self.refreshes += u32::from(request.method == Method::Update);
            match self.dialog.lost {
                true => self.world.reply(&sent, 481, "", ""),
                false => self.world.reply(&sent, 200, PEER, body),
            }
        }
        self.world.resolves.clear();
        self.world.targets.clear();
        let over = self.world.events.iter().any(|event| matches!(event, Event::Ended { .. }));
        self.world.events.clear();
        if over {
            assert!(self.dialog.lost, "only a restart ends the call");
            assert!(self.world.endpoint.is_idle());
            self.dialog = establish(&mut self.world);
            self.dialogs += 1;
        }
    }

    fn pass(&mut self, span: Span) {
        let until = self.world.now + span;
        while self.world.now < until {
            let next = self.world.endpoint.poll_timeout().map_or(until, |wakeup| wakeup.at.min(until));
            let step = next.since(self.world.now).max(ms(1)).min(until.since(self.world.now));
            self.world.pass(step);
            self.serve();
        }
    }

    /// A request of the mixer, answered with 200 unless its side of the dialog is gone.
    fn ask(&mut self, method: &str, body: &str) {
        self.dialog.theirs += 1;
        let cseq = self.dialog.theirs;
        self.world.receive(&self.dialog.invite.peer_request(method, cseq, "", body));
        self.world.expect_status(200);
        if method == "INVITE" {
            self.world.receive(&self.dialog.invite.peer_request("ACK", cseq, "", ""));
        }
        self.serve();
    }
}

#[test]
fn a_week_of_one_call() {
    memory::inside(|| live(config::Keepalive::Crlf));
}

#[test]
fn a_week_of_one_call_asked_by_options() {
    memory::inside(|| live(config::Keepalive::Options));
}

fn live(keepalive: config::Keepalive) {
    let mut week = Week::new(keepalive);
    let mut most = 0;
    // Of each hour, when everything has been answered; twelve of them are alike.
    let mut bytes = Vec::with_capacity(HOURS as usize);
    for hour in 1..=HOURS {
        for _ in 0..60 {
            week.pass(Span::from_secs(60));
            if !week.dialog.lost {
                week.ask("OPTIONS", "");
            }
        }
        if hour % 12 == 0 {
            week.ask("INVITE", &OFFER.replace("sendrecv", "sendonly"));
            week.pass(Span::from_secs(40));
            week.ask("INVITE", OFFER);
            week.world.modify(week.dialog.call, held());
            week.serve();
            week.world.modify(week.dialog.call, local());
            week.serve();
        }
        // Five times the device has another address.
        if hour % 30 == 0 {
            let address = format!("192.0.2.{}", 100 + hour / 30);
            week.world.endpoint.handle_addresses_changed(week.world.now, &mut week.world.out);
            week.world.drain();
            let target = week.world.targets.last().expect("the way is looked up again").clone();
            let flow = Flow::udp(self::address(MIXER));
            let route = Route { flow, local: address.parse().unwrap() };
            week.world.endpoint.handle_route(week.world.now, &target, Ok(vec![route]), &mut week.world.out);
            week.world.drain();
            let moved = week.world.sent.front().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
            let moved = moved.expect("the call moves");
            assert!(moved.starts_with("INVITE ") && moved.contains(&format!("@{address}:5062>")), "{moved}");
            week.serve();
        }
        // Ten times the mixer is started anew.
        if hour % 16 == 8 {
            week.dialog.lost = true;
        }
        week.pass(Span::from_secs(40));
        most = most.max(week.world.endpoint.transactions());
        bytes.push(memory::balance());
    }
    let most_of = |hours: &[i64]| hours.iter().copied().max().unwrap_or_default();
    let (first_day, last_day) = (most_of(&bytes[..24]), most_of(&bytes[HOURS as usize - 24..]));
    assert!(first_day > 0 && last_day <= first_day + 512, "{first_day} bytes on the first day, {last_day} on the last");
    assert_eq!(week.dialogs, 11, "ten restarts");
    assert!(week.refreshes > 600, "{} refreshes", week.refreshes);
    assert!(week.pings > 20_000, "{} pings", week.pings);
    assert!(most <= 5, "{most} transactions are kept");
    week.world.hang_up(week.dialog.call);
    week.serve_end();
}

impl Week {
    fn serve_end(&mut self) {
        let bye = self.world.expect(Method::Bye);
        assert_eq!(bye.identity().cseq.number, self.dialog.ours + 1);
        self.world.reply(&bye, 200, "", "");
        self.world.pass(Span::from_secs(70));
        assert_eq!((self.world.expect_ended(), self.world.endpoint.transactions()), (EndCause::Local, 0));
    }
}
