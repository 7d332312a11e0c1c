//! The mixer of the simulated world: enough of a SIP user agent server to answer, refuse, hang up and die.

use super::{Delivery, MIXER};

/// What an INVITE gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    Answer,
    Refuse(u16),
    /// 200, and BYE 20 ms later: how a locked or full ConfBridge refuses.
    AnswerThenBye,
    /// 200, but never a packet.
    AnswerSilently,
}

pub struct Mixer {
    pub up: bool,
    pub manner: Manner,
    /// What came in: method and Call-ID.
    pub log: Vec<(String, String)>,
    pub last_invite: String,
    /// Repeats its 200 as RFC 3261 13.3.1.4 asks (ACKed or not).
    pub insists: bool,
    calls: Vec<Call>,
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
    silent: bool,
    /// What the mixer wants of its side; answers to re-INVITEs keep to it.
    direction: String,
    cseq: u32,
}

impl Mixer {
    pub fn new() -> Mixer {
        Mixer {
            up: true,
            manner: Manner::Answer,
            log: Vec::new(),
            last_invite: String::new(),
            insists: false,
            calls: Vec::new(),
            tags: 0,
        }
    }

    /// The process dies and forgets its calls.
    pub fn kill(&mut self) {
        self.up = false;
        self.calls.clear();
    }

    /// Sends nothing for a while, but answers.
    pub fn pause(&mut self, paused: bool) {
        self.calls.iter_mut().for_each(|call| call.silent = paused);
    }

    pub fn is_sending(&self) -> bool {
        self.up && self.calls.iter().any(|c| c.acknowledged && !c.silent)
    }

    pub fn confirmed_calls(&self) -> usize {
        self.calls.iter().filter(|c| c.acknowledged).count()
    }

    pub fn count(&self, method: &str) -> usize {
        self.log.iter().filter(|(m, _)| m == method).count()
    }

    /// How many different calls were asked for.
    pub fn invites(&self) -> usize {
        let mut ids: Vec<_> = self.log.iter().filter(|(m, _)| m == "INVITE").map(|(_, id)| id).collect();
        ids.dedup();
        ids.len()
    }

    pub fn handle(&mut self, bytes: &[u8]) -> Vec<(u64, Delivery)> {
        let text = String::from_utf8(bytes.to_vec()).expect("SIP text");
        if !self.up {
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
                if let Some(call) = self.calls.iter_mut().find(|c| c.call_id == call_id) {
                    call.acknowledged = true;
                }
                Vec::new()
            }
            "BYE" => {
                let known = self.calls.iter().any(|c| c.call_id == call_id);
                self.calls.retain(|c| c.call_id != call_id);
                send(2, response(&text, if known { "200 OK" } else { "481 No Such Call" }, None, ""))
            }
            "CANCEL" => {
                self.calls.retain(|c| c.call_id != call_id);
                send(2, response(&text, "200 OK", None, ""))
            }
            _ => send(2, response(&text, "200 OK", None, "")),
        }
    }

    /// The only responses that need anything are the 200s to our re-INVITEs.
    fn on_response(&mut self, text: &str) -> Vec<(u64, Delivery)> {
        let cseq = header(text, "CSeq").expect("CSeq");
        let call_id = header(text, "Call-ID").expect("Call-ID");
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
        if let Some(call) = self.calls.iter().find(|c| c.call_id == call_id) {
            // A retransmission gets the same answer, a re-INVITE one of its own.
            if header(&call.answer, "CSeq") == header(text, "CSeq") {
                return send(2, call.answer.clone());
            }
            let answer = sdp(text).replace("sendrecv", &call.direction);
            return send(2, response(text, "200 OK", Some(&call.tag), &answer));
        }
        if header(text, "To").is_some_and(|to| to.contains(";tag=")) {
            return send(2, response(text, "481 Call/Transaction Does Not Exist", None, ""));
        }
        self.tags += 1;
        let tag = format!("mixer{}", self.tags);
        if let Manner::Refuse(status) = self.manner {
            return send(2, response(text, &format!("{status} Refused"), Some(&tag), ""));
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
            silent: self.manner == Manner::AnswerSilently,
            direction: "sendrecv".into(),
            cseq: 0,
        });
        let mut out = send(2, response(text, "100 Trying", None, ""));
        let repetitions: &[u64] = if self.insists { &[4, 504, 1_504, 3_504, 7_504, 11_504, 15_504] } else { &[4] };
        out.extend(repetitions.iter().flat_map(|after| send(*after, answer.clone())));
        if self.manner == Manner::AnswerThenBye {
            let call = self.calls.pop().expect("just pushed");
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
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=audiomixer\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP \
         {pt}\r\na=rtpmap:{pt} opus/48000/2\r\n{}a=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n",
        fmtp.unwrap_or_default()
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
