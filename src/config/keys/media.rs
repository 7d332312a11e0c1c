//! `[rtp]`, `[codec]`, `[audio]` and `[jitter]`: the way from the microphone to the network, and back.

use super::{Section, key};
use crate::config::shape;
use crate::config::value::Rule;

const SUITE: Rule = Rule::Text(shape::SUITES, shape::srtp_suite);
const VOLUME: Rule = Rule::Signed(-60, 30);
const PCM: Rule = Rule::Text("an ALSA PCM name, no card number", shape::pcm);

pub(super) const RTP: Section = Section {
    name: "rtp",
    doc: "Audio on the network.",
    board: true,
    keys: &[
        key(
            "bind",
            |d| &mut d.config.rtp.bind,
            Rule::Any,
            "Local address of the RTP sockets, and the one offered to the mixer unless unspecified: that takes IPv4 and IPv6.",
        ),
        key(
            "port_min",
            |d| &mut d.config.rtp.ports.0,
            Rule::ZeroOr(1_024, 65_534),
            "First port for RTP, even; 0: any.",
        ),
        key(
            "port_max",
            |d| &mut d.config.rtp.ports.1,
            Rule::ZeroOr(1_024, 65_534),
            "Last port for RTP, even; RTCP takes the next. 0: any.",
        ),
        key("dscp", |d| &mut d.config.rtp.dscp, Rule::Range(0, 63), "DSCP of RTP packets; 46 is EF (RFC 3246)."),
        key(
            "follow_clock",
            |d| &mut d.config.rtp.follow_clock,
            Rule::Any,
            "What the microphone gives is sent in the time of the mixer that is called: its queue for us neither grows nor runs dry.",
        ),
        key(
            "silence_timeout_ms",
            |d| &mut d.config.rtp.silence_timeout,
            // Who sends nothing while nobody speaks (DTX) still sends a packet each 400 ms.
            Rule::Range(500, 600_000),
            "Nothing arrives for this long: the status falls below `receiving`.",
        ),
        key(
            "dead_timeout_ms",
            |d| &mut d.config.rtp.dead_timeout,
            Rule::Range(500, 3_600_000),
            "Nothing arrives for this long: the call is hung up and dialled again.",
        ),
        key(
            "rtcp_interval_ms",
            |d| &mut d.config.rtp.rtcp_interval,
            Rule::Range(100, 60_000),
            "RTCP is sent this often.",
        ),
        key(
            "rtcp_xr",
            |d| &mut d.config.rtp.rtcp_xr,
            Rule::Any,
            "Offer extended reports (RFC 3611), and send those that the mixer asks for: how it is heard, and round trips.",
        ),
        key(
            "mixer_behind_nat",
            |d| &mut d.config.rtp.mixer_behind_nat,
            Rule::Any,
            "Believe plain audio from another host than the mixer names, until it comes from there. Another port of its \
             host, and protected audio, are believed anyway.",
        ),
        key(
            "srtp",
            |d| &mut d.config.rtp.srtp,
            Rule::Any,
            "Protected audio with keys in SDP (RFC 4568): not at all, plain if the mixer has none, or no call without.",
        ),
        key("srtp_suites", |d| &mut d.config.rtp.srtp_suites, SUITE, "What is offered, most wanted first."),
        key(
            "srtp_over_plain_signalling",
            |d| &mut d.config.rtp.srtp_over_plain_signalling,
            Rule::Any,
            "Send the keys over UDP, TCP and `ws` as well, where everybody on the way can read them. Only for networks \
             that are protected otherwise.",
        ),
    ],
};

pub(super) const CODEC: Section = Section {
    name: "codec",
    doc: "Opus.",
    board: true,
    keys: &[
        key(
            "bitrate",
            |d| &mut d.config.codec.bitrate,
            Rule::Range(6_000, 510_000),
            "Wanted bit/s of the payload; the room's cap may lower it.",
        ),
        key(
            "cap_kbps",
            |d| &mut d.config.codec.cap_kbps,
            Rule::ZeroOr(12, 100_000),
            "Cap in kbit/s of everything on the wire, headers included, when the room gives none. 0: none.",
        ),
        key(
            "ptime_ms",
            |d| &mut d.config.codec.ptime,
            Rule::OneOf(&[3, 5, 10, 20, 40, 60]),
            "Wanted length of a packet; a low cap may lengthen it. 3 stands for 2.5 ms, as in SDP. Packets below 10 ms cost \
             64 or 128 kbit/s of headers, and come in time only if `audio.period_ms` is no longer.",
        ),
        key(
            "low_delay",
            |d| &mut d.config.codec.low_delay,
            Rule::Any,
            "Opus without its speech coder and the 4 ms that it looks ahead: for music, and for lines that lose nothing or \
             whose other side takes copies (`redundancy`), since there is no forward error correction then. Below 10 ms \
             packets never have it.",
        ),
        key(
            "complexity",
            |d| &mut d.config.codec.complexity,
            Rule::Range(0, 10),
            "Effort of the encoder: 0 is cheapest, 10 sounds best.",
        ),
        key(
            "fec",
            |d| &mut d.config.codec.fec,
            Rule::Any,
            "In-band forward error correction; `auto`: while the other side reports loss.",
        ),
        key(
            "redundancy",
            |d| &mut d.config.codec.redundancy,
            Rule::Any,
            "Offer and take packets that carry the one before them once more (RFC 2198). They are sent while the other side, if it \
             can take them, reports loss and the cap has room.",
        ),
        key("dtx", |d| &mut d.config.codec.dtx, Rule::Any, "Send nearly nothing while nobody speaks."),
    ],
};

pub(super) const AUDIO: Section = Section {
    name: "audio",
    doc: "The sound card.",
    board: true,
    keys: &[
        key(
            "capture",
            |d| &mut d.config.audio.capture,
            PCM,
            "ALSA PCM of the microphone. The card is named by its id (`plughw:CARD=<id>`), by vendor, product and perhaps \
             serial number of a USB device (`hw:USB=0d8c:0014`, `hw:USB=0d8c:0014:A1B2`), or by where it is plugged in \
             (`hw:BUS=platform-3f980000.usb-usb-0:1.2:1.0`); `qss-endpoint devices` lists them. It is looked for anew \
             each time it is opened. A number (`hw:1`) is refused: it changes from boot to boot. `none`: there is no \
             microphone, and silence is sent.",
        ),
        key(
            "playback",
            |d| &mut d.config.audio.playback,
            PCM,
            "ALSA PCM of the loudspeaker, named likewise; it may be another card. `none`: there is no loudspeaker; nothing is \
             decoded, and `receiving` is the highest rung.",
        ),
        key(
            "duplex",
            |d| &mut d.config.audio.duplex,
            Rule::Any,
            "`half`: the card records or plays, one at a time; found out by itself of a card that refuses the second \
             direction as busy. The loudspeaker has it while the far end speaks, a tone sounds or the microphone is \
             muted, the microphone otherwise: to push to talk, mute at the start and unmute by a button.",
        ),
        key(
            "far_speech_dbfs",
            |d| &mut d.config.audio.far_speech,
            Rule::Signed(-60, 0),
            "Of such a card: a peak of the far end that is speech.",
        ),
        key(
            "far_speech_hang_ms",
            |d| &mut d.config.audio.far_speech_hang,
            Rule::Range(0, 10_000),
            "So long after it the microphone has its turn.",
        ),
        key(
            "mixer",
            |d| &mut d.config.audio.mixer,
            Rule::Text("an ALSA control name, no card number", shape::mixer),
            "Mixer of `controls`, such as `hw:CARD=<id>`, named as `capture` is. Empty: that of the playback card.",
        ),
        key(
            "controls",
            |d| &mut d.config.audio.controls,
            Rule::Pairs("decibels, on, off or an item", shape::control, shape::control_value),
            "Controls of the mixer and what they are set to when the card is opened, before anything is played, such as \
             `{ Mic = \"12 dB\", \"Mic Boost\" = \"on\", \"Capture Input\" = \"ADC\" }`. Names are those of `amixer \
             scontrols`; of a control with two sides capture is meant, unless ` Playback` stands behind its name. They are \
             read back, and what was not taken is told.",
        ),
        key(
            "amplifier_control",
            |d| &mut d.config.audio.amplifier_control,
            Rule::Text("the name of a switch", shape::control_or_none),
            "Switch of the mixer that turns the loudspeaker's amplifier on: on while the card runs, off otherwise. Empty: \
             none.",
        ),
        key(
            "playback_db",
            |d| &mut d.config.audio.playback_volume.start,
            VOLUME,
            "The loudspeaker is so much louder, or softer, than the card's mixer makes it: at the start, until the command \
             `volume` says otherwise. Tones are, too. It glides, half a decibel a millisecond; what becomes too loud is \
             clipped.",
        ),
        key("playback_min_db", |d| &mut d.config.audio.playback_volume.min, VOLUME, "The command goes no lower ..."),
        key("playback_max_db", |d| &mut d.config.audio.playback_volume.max, VOLUME, "... and no higher."),
        key("capture_db", |d| &mut d.config.audio.capture_volume.start, VOLUME, "The same for the microphone ..."),
        key("capture_min_db", |d| &mut d.config.audio.capture_volume.min, VOLUME, "... at the least ..."),
        key("capture_max_db", |d| &mut d.config.audio.capture_volume.max, VOLUME, "... and at the most."),
        key(
            "rate",
            |d| &mut d.config.audio.rate,
            Rule::OneOf(&[8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 96_000]),
            "Samples per second to ask of the card. 48000 is what Opus has; a card that cannot do it gives what is nearest, \
             and the endpoint converts. A lower rate spares nothing but a slow bus.",
        ),
        key(
            "period_ms",
            |d| &mut d.config.audio.period,
            Rule::Range(1, 100),
            "Wanted time between two interrupts of the card. Short: less delay, more load. Instead of more than 50, 50 is \
             asked for.",
        ),
        key(
            "periods",
            |d| &mut d.config.audio.periods,
            Rule::Range(2, 32),
            "Wanted size of the card's buffer, in periods. With twice as many as a packet takes we wake up once a packet.",
        ),
        key(
            "capture_channels",
            |d| &mut d.config.audio.capture_channels,
            Rule::Range(1, 32),
            "Channels the card captures.",
        ),
        key(
            "capture_channel",
            |d| &mut d.config.audio.capture_channel,
            Rule::Range(0, 31),
            "Which of them carries the microphone, from 0. The others are ignored, not mixed in.",
        ),
        key(
            "playback_channels",
            |d| &mut d.config.audio.playback_channels,
            Rule::Range(1, 32),
            "Channels the card plays; all get the same.",
        ),
        key(
            "realtime_priority",
            |d| &mut d.config.audio.realtime_priority,
            Rule::Range(0, 99),
            "`SCHED_FIFO` priority of the audio thread; 0: an ordinary thread.",
        ),
        key(
            "lock_memory",
            |d| &mut d.config.audio.lock_memory,
            Rule::Any,
            "Keep the process in memory, so that audio never waits for a disk.",
        ),
        key(
            "reopen_interval_ms",
            |d| &mut d.config.audio.reopen_interval,
            Rule::Range(50, 60_000),
            "A card that is gone or busy is tried again this often; one that opens and dies within a second ever more \
             rarely, every 5 s at last.",
        ),
        key("mute_at_start", |d| &mut d.config.audio.mute_at_start, Rule::Any, "Start with the microphone muted."),
        key(
            "tones",
            |d| &mut d.config.audio.tones,
            Rule::Any,
            "Play tones: ring, ringback, busy, connected, muted and unmuted.",
        ),
        key(
            "ladder_tones",
            |d| &mut d.config.audio.ladder_tones,
            Rule::Any,
            "For installers without a screen: play a tone whenever audio is proven a rung further or less far: one pip \
             for the session, two for the room, three for the call, four when packets leave, five when they arrive, six \
             when the loudspeaker plays; a low one for nothing.",
        ),
        key(
            "tone_level_db",
            |d| &mut d.config.audio.tone_level,
            Rule::Range(0, 60),
            "Peak of the tones, in dB below full scale.",
        ),
    ],
};

pub(super) const JITTER: Section = Section {
    name: "jitter",
    doc: "The buffer between network and loudspeaker. It adapts by itself between these two.",
    board: true,
    keys: &[
        key("min_ms", |d| &mut d.config.jitter.min, Rule::Range(0, 500), "Least delay it aims at."),
        key("max_ms", |d| &mut d.config.jitter.max, Rule::Range(20, 2_000), "Most delay it may add."),
    ],
};
