//! What happens to a device by itself: the network, the QSS, the mixer, the card, the process.

use super::people::{invite, participants, person, transfer};
use crate::mixer::Manner;
use crate::qss::Door;
use crate::{DEVICE, MIXER, SIP_URI, World, addr};
use qss_endpoint::agent::{Input, LinkError, LinkErrorKind};
use qss_endpoint::media::command::{CardError, CardEvent, Event, Words};
use qss_endpoint::random::Rng;
use qss_endpoint::sip::transport::Flow;
use qss_endpoint::time::Span;

pub(super) fn fault(w: &mut World, chance: &mut Rng) -> &'static str {
    match chance.below(31) {
        0 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1006)));
            "qss dies"
        }
        1 => {
            w.kill_qss(None);
            "qss vanishes"
        }
        2 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1012)));
            w.qss.up = true;
            "qss restarts with memory"
        }
        3 => {
            w.kill_qss(Some(LinkErrorKind::Closed(1012)));
            w.qss.up = true;
            w.qss.forget_rooms();
            "qss restarts without memory"
        }
        4 => {
            w.qss.up = true;
            w.qss.mute = false;
            "qss returns"
        }
        5 => {
            w.qss.mute = true;
            "qss falls silent"
        }
        6 => {
            w.qss.door = door(chance);
            "qss refuses links"
        }
        7 => {
            w.qss.door = Door::Revolving(chance.below(2_000));
            w.kill_qss(Some(LinkErrorKind::Closed(1001)));
            w.qss.up = true;
            "qss flaps"
        }
        8 => {
            let code = [403, 404, 500, 501, 0][chance.below(5) as usize];
            w.qss.refuse.insert(["joinRoom", "createRoom"][chance.below(2) as usize].into(), (code, "no"));
            "rooms refused"
        }
        9 => {
            w.qss.refuse.insert("register".into(), ([401, 500, 0][chance.below(3) as usize], "no"));
            "registration refused"
        }
        10 => {
            w.black_hole(chance.below(2) == 0);
            "black hole"
        }
        11 => {
            w.net.qss_jitter = chance.below(15_000);
            "slow qss"
        }
        12 => {
            w.net.qss_doubles = chance.below(60);
            "doubled messages"
        }
        13 => {
            w.net.sip_loss = chance.below(60);
            "sip lost"
        }
        14 => {
            w.net.sip_jitter = chance.below(1_500);
            "sip late and out of order"
        }
        15 => {
            w.net.sip_doubles = chance.below(60);
            "sip doubled"
        }
        16 => {
            w.mixer.kill();
            "mixer dies"
        }
        17 => {
            w.mixer.up = true;
            "mixer returns"
        }
        18 => {
            w.mixer.manner = match chance.below(7) {
                0 => Manner::Refuse(503),
                1 => Manner::Refuse(404),
                2 => Manner::Refuse(486),
                3 => Manner::AnswerThenBye,
                4 => Manner::AnswerSilently,
                _ => Manner::Answer,
            };
            "mixer's manner"
        }
        19 => {
            w.mixer_hangs_up();
            "mixer hangs up"
        }
        20 => {
            w.mixer.pause(chance.below(2) == 0);
            "mixer sends nothing"
        }
        21 => {
            for _ in 0..1 << chance.below(7) {
                invite(w, chance);
            }
            "storm of invites"
        }
        22 => {
            garbage(w, chance);
            "garbage"
        }
        23 => {
            w.restart_device();
            "device restarts"
        }
        24 => {
            let decades = chance.below(60_000_000_000) as i64 * 60;
            w.wall_error = if chance.below(2) == 0 { decades / 100 } else { -decades / 100 };
            "clock steps"
        }
        25 => {
            // Everything is late by as much.
            w.now += Span::from_millis(chance.below(90_000));
            "device sleeps"
        }
        26 => {
            w.voice_trouble(chance);
            "sound card"
        }
        27 => {
            transfer(w, chance);
            "transfers"
        }
        28 => {
            participants(w, chance);
            "storm of participants"
        }
        29 => {
            let line = if chance.below(3) == 0 { "hold off" } else { "hold on" };
            w.input(Input::Local { client: 1, line });
            "hold"
        }
        _ => person(w, chance),
    }
}

pub(super) fn door(chance: &mut Rng) -> Door {
    let kinds = [
        LinkErrorKind::Dns,
        LinkErrorKind::Refused,
        LinkErrorKind::Unreachable,
        LinkErrorKind::TlsWrongDate,
        LinkErrorKind::TlsOther,
        LinkErrorKind::Http(401),
        LinkErrorKind::Http(403),
        LinkErrorKind::Http(429),
        LinkErrorKind::Http(503),
    ];
    let kind = kinds[chance.below(9) as usize];
    let retry_after = match kind {
        LinkErrorKind::Http(_) if chance.below(2) == 0 => Some(chance.below(30) as u32),
        _ => None,
    };
    Door::Shut(LinkError { kind, detail: String::new(), retry_after })
}

/// Noise, and messages that are nearly right.
fn garbage(w: &mut World, chance: &mut Rng) {
    let mut frame =
        format!(r#"{{"answer":"joinRoom","requestID":"{}","payload":{{"sipUri":"{SIP_URI}"}}}}"#, chance.request_id())
            .into_bytes();
    let mut datagram = format!(
        "BYE sip:endpoint@{DEVICE} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bK{}\r\nFrom: <sip:x@y>;tag=1\r\n\
         To: <sip:endpoint@{DEVICE}>;tag=2\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n",
        chance.hex(8),
        chance.hex(8)
    )
    .into_bytes();
    for bytes in [&mut frame, &mut datagram] {
        for _ in 0..chance.below(12) {
            let at = chance.below(bytes.len() as u64) as usize;
            bytes[at] = chance.next_u32() as u8;
        }
    }
    w.qss_says(&String::from_utf8_lossy(&frame));
    w.qss_says(&chance.hex(40));
    let from = if chance.below(2) == 0 { addr(MIXER) } else { addr("192.0.2.7:5060") };
    w.input(Input::Sip { flow: Flow::udp(from), bytes: &datagram });
}

impl World {
    fn voice_trouble(&mut self, chance: &mut Rng) {
        let Some(stream) = self.voice.stream else { return };
        let call = stream.call;
        self.input(Input::Media(Event::Card(CardEvent::Lost { error: CardError::Absent, words: Words::NONE })));
        self.input(Input::Media(Event::NotPlaying { call }));
        self.input(Input::Media(Event::NotSending { call }));
        let away = Span::from_millis(chance.below(20_000));
        self.run(away.as_millis());
        if self.voice.stream.is_some_and(|stream| stream.call == call) {
            self.input(Input::Media(Event::Card(CardEvent::Returned { away })));
            self.input(Input::Media(Event::Sending { call }));
            self.input(Input::Media(Event::Playing { call }));
        }
    }
}
