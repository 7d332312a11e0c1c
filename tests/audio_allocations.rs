//! No heap allocation per frame: two media threads in a call with each other, counted for two seconds.
#![cfg(feature = "io")]
#![allow(clippy::wildcard_enum_match_arm)] // a test looks for one event among all

#[path = "lab/vsnd/rig.rs"]
mod rig;

use qss_endpoint::config::Config;
use qss_endpoint::io::media_thread::{MediaHandle, MediaThread};
use qss_endpoint::media::command::{Command, Event, StreamParams};
use qss_endpoint::rtp::xr::Asked;
use qss_endpoint::time::Span;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts what every thread but the test's own asks for.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

// SAFETY: everything is left to the system's allocator.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !IS_TEST.get() {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_call_allocates_nothing_after_it_has_begun() {
    IS_TEST.set(true);
    let noise: Vec<i16> = (0..20 * 48_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 19) as i16).collect();
    let cards = [rig::card("one", "ppm 200\n"), rig::card("two", "ppm -200\n")];
    cards.iter().for_each(|card| card.set_mic(&noise));
    let mut handles = cards.each_ref().map(start);
    let addresses = handles.each_ref().map(|handle| SocketAddr::from(([127, 0, 0, 1], handle.ports().0)));
    for (index, handle) in handles.iter_mut().enumerate() {
        handle.send(Command::Start(params(addresses[1 - index], index as u32 + 1))).unwrap();
    }
    std::thread::sleep(Duration::from_millis(1_000));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 0, "the counter works: starting a thread allocates");
    std::thread::sleep(Duration::from_millis(2_000));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    for handle in &mut handles {
        handle.send(Command::Stats).unwrap();
    }
    std::thread::sleep(Duration::from_millis(100));
    for handle in &mut handles {
        let stats = std::iter::from_fn(|| handle.poll_event()).find_map(|event| match event {
            Event::Stats(stats) => Some(stats),
            _ => None,
        });
        let stats = stats.expect("asked for");
        assert!(stats.packets_sent > 100 && stats.packets_received > 100, "there was a call: {stats:?}");
    }
    assert_eq!(allocations, 0);
}

fn start(card: &rig::VirtualCard) -> MediaHandle {
    let mut config = Config::default();
    (config.audio.capture, config.audio.playback) = (card.pcm(), card.pcm());
    config.rtp.bind = [127, 0, 0, 1].into();
    MediaThread::start(&config).unwrap()
}

fn params(remote: SocketAddr, ssrc: u32) -> StreamParams {
    StreamParams {
        call: 1,
        remote_rtp: remote,
        remote_rtcp: SocketAddr::new(remote.ip(), remote.port() + 1),
        rtcp_mux: false,
        send_payload_type: 107,
        receive_payload_type: 107,
        telephone_event: None,
        redundancy: None,
        ssrc,
        ptime: Span::from_millis(20),
        max_ptime: Span::from_millis(60),
        bitrate: 32_000,
        cap: 0,
        follows: true,
        send: true,
        receive: true,
        srtp: None,
        extended: Asked::NOTHING,
    }
}
