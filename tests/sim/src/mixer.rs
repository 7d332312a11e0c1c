//! The mixer of the simulated world: enough of a SIP user agent server to answer, refuse, hang up and die.

use super::{DEVICE, Delivery, MIXER};
use std::collections::{BTreeMap, BTreeSet};

const GONE: &str = "481 Call/Transaction Does Not Exist";

/// What an INVITE gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Answer,
    Refuse(u16),
    /// 200, and BYE 20 ms later: how a locked or full ConfBridge refuses.
    AnswerThenBye,
    /// 183 with SDP and its sound, 200 three seconds later.
    PlayThenAnswer,
    /// 200, but never a packet.
    AnswerSilently,
}

pub struct Mixer {
    pub up: bool,
    pub manner: Manner,
    /// What came in: method and Call-ID.
    pub log: Vec<(String, String)>,
    pub last_invite: String,
    /// Status and CSeq of what the device answered.
    pub answers: Vec<String>,
    /// Repeats its 200 as RFC 3261 13.3.1.4 asks (ACKed or not).
    pub insists: bool,
    calls: Vec<Call>,
    /// Calls that are over or were refused: an INVITE that comes late or twice does not make them again.
    /// By Call-ID, with what it gets.
    ended: BTreeMap<String, String>,
    tags: u32,
}

#[derive(Debug)]
struct Call {
    call_id: String,
    tag: String,
    /// From, Contact and the INVITE's answer, kept for its repetition.
    from: String,
    to: String,
    contact: String,
    answer: String,
    acknowledged: bool,
    /// Plays before it answers.
    early: bool,
    silent: bool,
    /// The device holds it.
    held: bool,
    /// CSeq of its last offer.
    offered: u32,
    /// What the mixer wants of its side; answers to re-INVITEs keep to it.
    direction: String,
    /// The device that made it is no more.
    orphaned: bool,
    /// Another call has its packets.
    superseded: bool,
    /// On hold, and the device has shown since it was last looked at that it knows the call.
    probed: bool,
    cseq: u32,
}

impl Default for Mixer {
    fn default() -> Mixer {
        Mixer {
            up: true,
            manner: Manner::Answer,
            log: Vec::new(),
            last_invite: String::new(),
            answers: Vec::new(),
            insists: false,
            calls: Vec::new(),
            ended: BTreeMap::new(),
            tags: 0,
        }
    }
}

impl Mixer {
    /// The process dies and forgets its calls.
    pub fn kill(&mut self) {
        self.up = false;
        self.calls.clear();
    }

    /// Sends nothing for a while, but answers.
    pub fn pause(&mut self, paused: bool) {
        self.calls.iter_mut().for_each(|call| call.silent = paused);
    }

    /// The device is gone; the mixer does not know yet.
    pub fn orphan(&mut self) {
        self.calls.iter_mut().for_each(|call| call.orphaned = true);
    }

    /// Ends the calls from which nothing comes any more; those on hold are waited for until the device asks for them.
    pub fn miss_orphans(&mut self) -> Vec<(u64, Delivery)> {
        let missed = |c: &Call| c.orphaned || (c.superseded && !(c.held && c.probed));
        let (gone, here) = std::mem::take(&mut self.calls).into_iter().partition(missed);
        self.calls = here;
        let gone: Vec<Call> = gone;
        let mut out: Vec<_> = gone.iter().flat_map(|call| send(2, bye(call))).collect();
        let held = self.calls.iter_mut().filter(|c| c.superseded && c.held);
        if held.map(|call| call.probed = false).count() > 0 {
            out.push((45_000, Delivery::MixerMisses));
        }
        out
    }

    pub fn is_sending(&self) -> bool {
        let sends = |c: &Call| (c.acknowledged || c.early) && !c.silent && !c.held && !c.orphaned && !c.superseded;
        self.up && self.calls.iter().any(sends)
    }

    /// Those of the device as it is now.
    pub fn confirmed_calls(&self) -> usize {
        self.calls.iter().filter(|c| c.acknowledged && !c.orphaned).count()
    }

    pub fn count(&self, method: &str) -> usize {
        self.log.iter().filter(|(m, _)| m == method).count()
    }

    /// How many different calls were asked for.
    pub fn invites(&self) -> usize {
        let ids = self.log.iter().filter(|(m, _)| m == "INVITE").map(|(_, id)| id);
        ids.collect::<BTreeSet<_>>().len()
    }

    pub fn handle(&mut self, bytes: &[u8]) -> Vec<(u64, Delivery)> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        // A keep-alive is all line ends.
        if !self.up || text.trim().is_empty() {
            return Vec::new();
        }
        if text.starts_with("SIP/2.0") {
            return self.on_response(&text);
        }
        let method = text.split(' ').next().expect("a method").to_owned();
        let call_id = header(&text, "Call-ID").expect("a Call-ID");
        self.log.push((method.clone(), call_id.clone()));
        match method.as_str() {
            "INVITE" => self.on_invite(&text, call_id),
            "ACK" => {
                let Some(i) = self.calls.iter().position(|c| c.call_id == call_id) else { return Vec::new() };
                self.calls[i].acknowledged = true;
                if self.calls[i].held || self.calls.len() == 1 {
                    return Vec::new();
                }
                for other in self.calls.iter_mut().filter(|c| c.call_id != call_id) {
                    (other.superseded, other.probed) = (true, true);
                }
                vec![(60_000, Delivery::MixerMisses)]
            }
            "BYE" => {
                let known = self.calls.iter().any(|c| c.call_id == call_id);
                self.calls.retain(|c| c.call_id != call_id);
                self.ended.insert(call_id, response(&text, GONE, None, ""));
                send(2, response(&text, if known { "200 OK" } else { "481 No Such Call" }, None, ""))
            }
            "CANCEL" => {
                self.calls.retain(|c| c.call_id != call_id);
                self.ended.insert(call_id, response(&text, GONE, None, ""));
                send(2, response(&text, "200 OK", None, ""))
            }
            _ => send(2, response(&text, "200 OK", None, "")),
        }
    }

    /// The mixer calls the device, as `user`.
    pub fn call_device(&mut self, user: &str, headers: &str) -> Vec<(u64, Delivery)> {
        self.tags += 1;
        let tag = format!("mixer{}", self.tags);
        let (from, to) = (format!("<sip:{user}@127.0.0.1>;tag={tag}"), format!("<sip:device@{DEVICE}>"));
        let call_id = format!("outward{}", self.tags);
        let body = sdp("a=rtpmap:107 opus/48000/2\r\n");
        self.calls.push(Call {
            call_id: call_id.clone(),
            tag: tag.clone(),
            from: to.clone(),
            to: from.clone(),
            contact: format!("<sip:device@{DEVICE}>"),
            answer: format!("SIP/2.0 200 OK\r\n\r\n{body}"),
            acknowledged: false,
            early: false,
            silent: false,
            held: false,
            offered: 0,
            direction: "sendrecv".into(),
            orphaned: false,
            superseded: false,
            probed: false,
            cseq: 1,
        });
        send(
            2,
            format!(
                "INVITE sip:device@{DEVICE} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKout{tag};rport\r\n\
                 Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
                 Contact: <sip:{MIXER}>\r\n{headers}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
    }

    /// Gives up the last call to the device while it rings.
    pub fn cancel(&mut self) -> Vec<(u64, Delivery)> {
        let call = self.calls.pop().expect("a call");
        send(
            2,
            format!(
                "CANCEL sip:device@{DEVICE} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKout{tag};rport\r\n\
                 Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: 1 CANCEL\r\n\
                 Content-Length: 0\r\n\r\n",
                tag = call.tag,
                from = call.to,
                to = call.from,
                id = call.call_id,
            ),
        )
    }

    /// The only responses that need anything are the 200s to our INVITEs; what else they get stands in `answers`.
    fn on_response(&mut self, text: &str) -> Vec<(u64, Delivery)> {
        // The device answers noise as well, with what the noise had.
        let (Some(cseq), Some(call_id)) = (header(text, "CSeq"), header(text, "Call-ID")) else { return Vec::new() };
        let status = text.split(' ').nth(1).unwrap_or_default();
        self.answers.push(format!("{status} {cseq}"));
        if let Some(call) = self.calls.iter_mut().find(|c| c.call_id == call_id && text.starts_with("SIP/2.0 200")) {
            call.acknowledged = true;
            call.from = header(text, "To").expect("To");
        }
        let call = self.calls.iter().find(|c| c.call_id == call_id);
        match (text.starts_with("SIP/2.0 200"), cseq.strip_suffix(" INVITE"), call) {
            (true, Some(number), Some(call)) => {
                let uri = call.contact.split(['<', '>']).nth(1).expect("a Contact URI");
                send(
                    2,
                    format!(
                        "ACK {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKack{number}{tag};rport\r\n\
                         Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {call_id}\r\nCSeq: {number} ACK\r\n\
                         Content-Length: 0\r\n\r\n",
                        tag = call.tag,
                        from = call.to,
                        to = call.from,
                    ),
                )
            }
            _ => Vec::new(),
        }
    }

    fn on_invite(&mut self, text: &str, call_id: String) -> Vec<(u64, Delivery)> {
        self.last_invite = text.to_owned();
        if let Some(call) = self.calls.iter_mut().find(|c| c.call_id == call_id) {
            // A retransmission gets the same answer, a re-INVITE one of its own.
            if header(&call.answer, "CSeq") == header(text, "CSeq") {
                return send(2, call.answer.clone());
            }
            // A repetition that was overtaken by a later offer changes nothing any more (RFC 3261 12.2.2).
            let number = header(text, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok()).unwrap_or(0);
            if number >= call.offered {
                call.offered = number;
                call.held = text.contains("a=inactive");
                call.superseded &= call.held;
                call.probed = true;
            }
            let answer = sdp(text).replace("sendrecv", &call.direction);
            return send(2, response(text, "200 OK", Some(&call.tag), &answer));
        }
        if let Some(answer) = self.ended.get(&call_id) {
            // Not to a re-INVITE: the transaction of the first one is meant.
            let same = header(answer, "CSeq") == header(text, "CSeq");
            return send(2, if same { answer.clone() } else { response(text, GONE, None, "") });
        }
        if header(text, "To").is_some_and(|to| to.contains(";tag=")) {
            return send(2, response(text, GONE, None, ""));
        }
        self.tags += 1;
        let tag = format!("mixer{}", self.tags);
        if let Manner::Refuse(status) = self.manner {
            let refusal = response(text, &format!("{status} Refused"), Some(&tag), "");
            self.ended.insert(call_id, refusal.clone());
            return send(2, refusal);
        }
        let answer = response(text, "200 OK", Some(&tag), &sdp(text));
        self.calls.push(Call {
            call_id,
            tag: tag.clone(),
            from: header(text, "From").expect("From"),
            to: header(&answer, "To").expect("To"),
            contact: header(text, "Contact").expect("Contact"),
            answer: answer.clone(),
            acknowledged: false,
            early: self.manner == Manner::PlayThenAnswer,
            silent: self.manner == Manner::AnswerSilently,
            held: text.contains("a=inactive"),
            offered: 0,
            direction: "sendrecv".into(),
            orphaned: false,
            superseded: false,
            probed: false,
            cseq: 0,
        });
        let mut out = send(2, response(text, "100 Trying", None, ""));
        if self.manner == Manner::PlayThenAnswer {
            out.extend(send(4, response(text, "183 Session Progress", Some(&tag), &sdp(text))));
            out.extend(send(3_000, answer));
            return out;
        }
        let repetitions: &[u64] = if self.insists { &[4, 504, 1_504, 3_504, 7_504, 11_504, 15_504] } else { &[4] };
        out.extend(repetitions.iter().flat_map(|after| send(*after, answer.clone())));
        if self.manner == Manner::AnswerThenBye {
            let call = self.calls.pop().expect("just pushed");
            self.ended.insert(call.call_id.clone(), call.answer.clone());
            out.extend(send(30, bye(&call)));
        }
        out
    }

    /// A re-INVITE of the mixer with this direction attribute; on hold it sends nothing.
    pub fn reinvite(&mut self, direction: &str) -> Vec<(u64, Delivery)> {
        let call = self.calls.last_mut().expect("a call");
        call.cseq += 1;
        call.silent = direction == "inactive";
        call.direction = direction.into();
        let uri = call.contact.split(['<', '>']).nth(1).expect("a Contact URI");
        let sdp = call.answer.split("\r\n\r\n").nth(1).expect("SDP");
        let body = sdp.replace("sendrecv", direction).replace("o=- 1 2", &format!("o=- 1 {}", 2 + call.cseq));
        let text = format!(
            "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKre{cseq}{tag};rport\r\nMax-Forwards: \
             70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} INVITE\r\nContact: <sip:{MIXER}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {len}\r\n\r\n{body}",
            tag = call.tag,
            from = call.to,
            to = call.from,
            id = call.call_id,
            cseq = call.cseq,
            len = body.len(),
        );
        send(2, text)
    }

    /// INFO with a digit.
    pub fn press(&mut self, digit: char) -> Vec<(u64, Delivery)> {
        let call = self.calls.last_mut().expect("a call");
        call.cseq += 1;
        let uri = call.contact.split(['<', '>']).nth(1).expect("a Contact URI");
        let body = format!("Signal={digit}\r\nDuration=160\r\n");
        let text = format!(
            "INFO {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKin{cseq}{tag};rport\r\nMax-Forwards: \
             70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} INFO\r\n\
             Content-Type: application/dtmf-relay\r\nContent-Length: {len}\r\n\r\n{body}",
            tag = call.tag,
            from = call.to,
            to = call.from,
            id = call.call_id,
            cseq = call.cseq,
            len = body.len(),
        );
        send(2, text)
    }

    /// REFER to another place.
    pub fn refer(&mut self, target: &str) -> Vec<(u64, Delivery)> {
        let call = self.calls.last_mut().expect("a call");
        call.cseq += 1;
        let uri = call.contact.split(['<', '>']).nth(1).expect("a Contact URI");
        let text = format!(
            "REFER {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKrefer{cseq}{tag};rport\r\nMax-Forwards: \
             70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} REFER\r\nContact: <sip:{MIXER}>\r\n\
             Refer-To: <{target}>\r\nContent-Length: 0\r\n\r\n",
            tag = call.tag,
            from = call.to,
            to = call.from,
            id = call.call_id,
            cseq = call.cseq,
        );
        send(2, text)
    }

    /// BYE to the call made so many calls after the oldest.
    pub fn hang_up_one(&mut self, i: usize) -> Vec<(u64, Delivery)> {
        send(2, bye(&self.calls.remove(i)))
    }

    /// Knows nothing of that call any more, and does not say so by itself.
    pub fn forget_one(&mut self, i: usize) {
        self.calls.remove(i);
    }

    /// Whether the device holds each of its calls, oldest first.
    pub fn held(&self) -> Vec<bool> {
        self.calls.iter().map(|call| call.held).collect()
    }

    /// BYE to every call.
    pub fn hang_up(&mut self) -> Vec<(u64, Delivery)> {
        self.calls.drain(..).flat_map(|call| send(2, bye(&call))).collect()
    }
}

fn bye(call: &Call) -> String {
    let uri = call.contact.split(['<', '>']).nth(1).expect("a Contact URI");
    format!(
        "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {MIXER};branch=z9hG4bKbye{tag};rport\r\nMax-Forwards: 70\r\nFrom: \
         {from}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} BYE\r\nReason: Q.850;cause=16\r\nContent-Length: 0\r\n\r\n",
        tag = call.tag,
        from = call.to,
        to = call.from,
        id = call.call_id,
        cseq = call.cseq + 1,
    )
}

fn response(request: &str, status: &str, tag: Option<&str>, body: &str) -> String {
    let copied = |name: &str| header(request, name).expect("a mandatory header");
    let to = match (copied("To"), tag) {
        (to, Some(tag)) if !to.contains(";tag=") => format!("{to};tag={tag}"),
        (to, _) => to,
    };
    let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: \
         <sip:{MIXER}>\r\n{content}Content-Length: {}\r\n\r\n{body}",
        copied("Via"),
        copied("From"),
        copied("Call-ID"),
        copied("CSeq"),
        body.len(),
    )
}

fn sdp(offer: &str) -> String {
    let opus = offer.lines().find_map(|l| l.strip_prefix("a=rtpmap:").filter(|l| l.contains("opus/48000/2")));
    let pt = opus.and_then(|l| l.split(' ').next()).expect("Opus is offered");
    let fmtp = offer.lines().find(|l| l.starts_with(&format!("a=fmtp:{pt} "))).map(|l| format!("{}\r\n", l.trim()));
    let event = offer.lines().find(|l| l.starts_with("a=rtpmap:") && l.contains("telephone-event/48000"));
    let event_pt = event.and_then(|l| l["a=rtpmap:".len()..].split(' ').next());
    let (event, event_pt) = (event.map(|l| format!("{l}\r\n")), event_pt.map(|pt| format!(" {pt}")));
    let direction = if offer.contains("a=inactive") { "inactive" } else { "sendrecv" };
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=audiomixer\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP \
         {pt}{}\r\na=rtpmap:{pt} opus/48000/2\r\n{}{}a=ptime:20\r\na=maxptime:60\r\na={direction}\r\n",
        event_pt.unwrap_or_default(),
        fmtp.unwrap_or_default(),
        event.unwrap_or_default(),
    )
}

/// The value of a header, in its long or its short form.
fn header(text: &str, name: &str) -> Option<String> {
    let short = match name {
        "Call-ID" => "i",
        "Via" => "v",
        "From" => "f",
        "To" => "t",
        "Contact" => "m",
        _ => name,
    };
    let head = text.split("\r\n\r\n").next()?;
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let key = key.trim();
        (key.eq_ignore_ascii_case(name) || key.eq_ignore_ascii_case(short)).then(|| value.trim().to_owned())
    })
}

fn send(after_ms: u64, text: String) -> Vec<(u64, Delivery)> {
    vec![(after_ms, Delivery::Sip(text.into_bytes()))]
}
