//! `lab-codec`: what libopus alone costs in a call, in a process that does nothing else, and the least that a call costs.
//!
//! Every 20 ms and a little, as in a call and with the same priority, a frame is encoded and decoded again with the endpoint's
//! settings; the thread's processor time around these two calls is what counts. Told beside it is what no call can do
//! without: to wake up for a frame, and to take a packet from the kernel and give it one. The packet goes to a socket of the
//! same thread, by loopback, so that nobody else has to be woken for it. Prints one JSON line.
#![allow(unsafe_code)] // clocks and priority, by libc
#![allow(clippy::disallowed_types)] // it is no part of the core

use std::error::Error;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "lab-codec SOUND.raw SECONDS BITRATE COMPLEXITY     (48 kHz, mono, S16LE)";
const FRAME: usize = 960;
/// In ten seconds it is once at each moment of what others do every 20 ms, who share a processor's caches with it.
const EVERY: Duration = Duration::from_micros(20_040);
/// The endpoint's.
const PRIORITY: i32 = 20;

fn main() -> ExitCode {
    match measure(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &[String]) -> Result<String, Box<dyn Error>> {
    let [sound, seconds, bitrate, complexity] = arguments else { return Err("four arguments are needed".into()) };
    let bytes = std::fs::read(sound)?;
    let samples: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    let frames = seconds.parse::<usize>()? * 50;
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip)?;
    encoder.set_signal(opus::Signal::Voice)?;
    encoder.set_complexity(complexity.parse()?)?;
    encoder.set_vbr(true)?;
    encoder.set_vbr_constraint(true)?;
    encoder.set_bitrate(opus::Bitrate::Bits(bitrate.parse()?))?;
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono)?;
    let (mut packet, mut pcm) = ([0_u8; 1500], [0_i16; FRAME]);
    let [from, to] = pair()?;

    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the parameter outlives the call; 0 is the calling thread.
    let realtime = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) } == 0;
    let (mut encode_ns, mut decode_ns, mut packets_ns, mut counted) = (0, 0, 0, 0_u64);
    let (began, began_ns) = (std::time::Instant::now(), thread_ns());
    for (at, frame) in samples.chunks_exact(FRAME).take(frames).enumerate() {
        let due = EVERY * at as u32;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let before = thread_ns();
        let length = encoder.encode(frame, &mut packet)?;
        let between = thread_ns();
        decoder.decode(&packet[..length], &mut pcm, false)?;
        let decoded = thread_ns();
        from.send(&packet[..length])?;
        to.recv(&mut packet)?;
        let after = thread_ns();
        encode_ns += between - before;
        decode_ns += decoded - between;
        packets_ns += after - decoded;
        counted += 1;
    }
    let wake_ns = (thread_ns() - began_ns).saturating_sub(encode_ns + decode_ns + packets_ns);
    let percent = |ns: u64| ns as f64 / (counted.max(1) as f64 * 20_000_000.0) * 100.0;
    Ok(format!(
        r#"{{"frames":{counted},"encode_percent":{:.4},"decode_percent":{:.4},"wake_percent":{:.4},"packets_percent":{:.4},"realtime":{realtime}}}"#,
        percent(encode_ns),
        percent(decode_ns),
        percent(wake_ns),
        percent(packets_ns)
    ))
}

/// What the first sends, the second has at once: loopback delivers before `send` returns.
fn pair() -> std::io::Result<[UdpSocket; 2]> {
    let [from, to] = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    from.connect(to.local_addr()?)?;
    to.connect(from.local_addr()?)?;
    to.set_nonblocking(true)?;
    Ok([from, to])
}

/// Processor time of the calling thread.
fn thread_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec, and this clock always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
