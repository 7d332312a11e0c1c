//! The PCM plug-in: libasound's calls, translated for a [`Card`].
//!
//! libasound calls back into the plug-in from functions that the plug-in itself calls (`avail_update` asks for the
//! `pointer`), and changes `IoPlug` meanwhile. Therefore `IoPlug` is only touched through its raw pointer, field by
//! field, and a `RefCell` borrow of the card never spans a call into libasound.

use crate::card::{Card, Direction, Motion, Ring};
use crate::clock::monotonic_ns;
use crate::faults::Stop;
use crate::ffi::{
    HW_ACCESS, HW_BUFFER_BYTES, HW_CHANNELS, HW_FORMAT, HW_PERIOD_BYTES, HW_PERIODS, HW_RATE, IOPLUG_BOUNDARY_WA,
    IOPLUG_MONOTONIC, IOPLUG_VERSION, IoPlug, IoPlugCallbacks, snd_pcm_ioplug_create, snd_pcm_ioplug_hw_avail,
    snd_pcm_ioplug_mmap_areas, snd_pcm_ioplug_set_param_list, snd_pcm_ioplug_set_param_minmax,
};
use crate::settings::{Format, Settings};
use alsa_sys::{
    SND_PCM_ACCESS_MMAP_INTERLEAVED, SND_PCM_ACCESS_RW_INTERLEAVED, SND_PCM_FORMAT_S16_LE, SND_PCM_FORMAT_S24_3LE,
    SND_PCM_FORMAT_S24_LE, SND_PCM_FORMAT_S32_LE, SND_PCM_STATE_DISCONNECTED, SND_PCM_STATE_DRAINING,
    SND_PCM_STATE_PREPARED, SND_PCM_STATE_RUNNING, SND_PCM_STATE_SETUP, SND_PCM_STATE_SUSPENDED, SND_PCM_STATE_XRUN,
    SND_PCM_STREAM_PLAYBACK, snd_config_t, snd_pcm_avail_update, snd_pcm_close, snd_pcm_hw_params_t, snd_pcm_sframes_t,
    snd_pcm_state_t, snd_pcm_stream_t, snd_pcm_sw_params_get_avail_min, snd_pcm_sw_params_get_boundary,
    snd_pcm_sw_params_get_stop_threshold, snd_pcm_sw_params_t, snd_pcm_t, snd_pcm_uframes_t,
};
use libc::{c_char, c_int, c_uint, c_ushort, pollfd};
use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null;

/// What `IoPlug::private_data` points to.
struct Plugin {
    card: RefCell<Card>,
    timer: OwnedFd,
    avail_min: Cell<i64>,
    stop_threshold: Cell<snd_pcm_uframes_t>,
    boundary: Cell<snd_pcm_uframes_t>,
    /// `IoPlug::name` points into it.
    _name: CString,
}

/// A timer that never fires.
const NEVER: i64 = i64::MAX / 2;
/// A time long past: the timer fires at once.
const AT_ONCE: i64 = 1;

static CALLBACKS: IoPlugCallbacks = IoPlugCallbacks {
    start,
    stop,
    pointer,
    transfer: null(),
    close,
    hw_params,
    hw_free: null(),
    sw_params,
    prepare,
    drain: null(),
    pause: null(),
    resume: null(),
    poll_descriptors_count,
    poll_descriptors,
    poll_revents,
    dump: null(),
    delay,
    channel_maps: [null(); 3],
};

/// Entry point, found by name.
///
/// # Safety
/// Called by libasound with a valid configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _snd_pcm_vsnd_open(
    pcm: *mut *mut snd_pcm_t,
    name: *const c_char,
    _root: *mut snd_config_t,
    conf: *mut snd_config_t,
    stream: snd_pcm_stream_t,
    mode: c_int,
) -> c_int {
    let direction = if stream == SND_PCM_STREAM_PLAYBACK { Direction::Playback } else { Direction::Capture };
    // SAFETY: libasound's arguments; the boxes are released in `close`, or here if libasound never learnt of them.
    unsafe {
        let card = match Settings::read(conf).and_then(|settings| Card::open(settings, direction)) {
            Ok(card) => card,
            Err(error) => return error,
        };
        let timer = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
        if timer < 0 {
            return -libc::EMFILE;
        }
        let name_of_card = CString::new(format!("vsnd {}", card.settings.card)).unwrap_or_default();
        let settings = card.settings.clone();
        let io = Box::into_raw(Box::new(IoPlug {
            version: IOPLUG_VERSION,
            name: name_of_card.as_ptr(),
            flags: IOPLUG_MONOTONIC | IOPLUG_BOUNDARY_WA,
            poll_fd: timer,
            poll_events: libc::POLLIN as c_uint,
            mmap_rw: 1,
            callback: &CALLBACKS,
            ..std::mem::zeroed()
        }));
        (*io).private_data = Box::into_raw(Box::new(Plugin {
            card: RefCell::new(card),
            timer: OwnedFd::from_raw_fd(timer),
            avail_min: Cell::new(1),
            stop_threshold: Cell::new(snd_pcm_uframes_t::MAX),
            boundary: Cell::new(snd_pcm_uframes_t::MAX),
            _name: name_of_card,
        }))
        .cast();
        let error = snd_pcm_ioplug_create(io, name, stream, mode);
        if error < 0 {
            close(io);
            return error;
        }
        let error = constrain(io, &settings, direction);
        if error < 0 {
            snd_pcm_close((*io).pcm);
            return error;
        }
        *pcm = (*io).pcm;
        0
    }
}

/// libasound looks for this symbol to see that the plug-in speaks its version of the interface.
#[unsafe(no_mangle)]
pub static __snd_pcm_vsnd_open_dlsym_pcm_001: c_char = 0;

/// Tells libasound what the card can do. Zero or a negative error.
unsafe fn constrain(io: *mut IoPlug, settings: &Settings, direction: Direction) -> c_int {
    let channels = match direction {
        Direction::Playback => settings.playback_channels,
        Direction::Capture => settings.capture_channels,
    };
    let format = match settings.format {
        Format::S16 => SND_PCM_FORMAT_S16_LE,
        Format::S32 => SND_PCM_FORMAT_S32_LE,
        Format::S24Packed => SND_PCM_FORMAT_S24_3LE,
        Format::S24 => SND_PCM_FORMAT_S24_LE,
    } as c_uint;
    let access = [SND_PCM_ACCESS_MMAP_INTERLEAVED as c_uint, SND_PCM_ACCESS_RW_INTERLEAVED as c_uint];
    let frame = channels * settings.format.bytes();
    let (least, most) = (settings.period_min * frame, settings.period_max * frame);
    // SAFETY: `io` has just been created; the lists outlive the calls.
    unsafe {
        let range = |kind, min, max| snd_pcm_ioplug_set_param_minmax(io, kind, min, max);
        [
            snd_pcm_ioplug_set_param_list(io, HW_ACCESS, 2, access.as_ptr()),
            snd_pcm_ioplug_set_param_list(io, HW_FORMAT, 1, &format),
            range(HW_CHANNELS, channels, channels),
            range(HW_RATE, settings.rate, settings.rate),
            range(HW_PERIOD_BYTES, least, most),
            range(HW_BUFFER_BYTES, least * settings.periods_min, most * 16),
            range(HW_PERIODS, settings.periods_min, 64),
        ]
        .into_iter()
        .find(|&error| error < 0)
        .unwrap_or(0)
    }
}

/// The plug-in behind `io`.
///
/// # Safety
/// `io` was made by `_snd_pcm_vsnd_open` and is not closed yet. libasound serialises the calls of one PCM.
unsafe fn plugin<'a>(io: *mut IoPlug) -> &'a Plugin {
    // SAFETY: only shared references to it exist, see the module's words.
    unsafe { &*(*io).private_data.cast::<Plugin>() }
}

/// Frames the card may still move; calls into libasound, so the card must not be borrowed.
unsafe fn movable(io: *mut IoPlug) -> i64 {
    // SAFETY: pure computation on two counters of `io`.
    unsafe { snd_pcm_ioplug_hw_avail(io, (*io).hw_ptr, (*io).appl_ptr) as i64 }
}

unsafe extern "C" fn start(io: *mut IoPlug) -> c_int {
    // SAFETY: as for all callbacks below: libasound passes the `io` it was given, under its lock.
    unsafe {
        let queued = movable(io);
        if let Err(error) = plugin(io).card.borrow_mut().start(queued) {
            (*io).state = SND_PCM_STATE_DISCONNECTED;
            return error;
        }
        (*io).state = SND_PCM_STATE_RUNNING;
        arm(io);
        0
    }
}

unsafe extern "C" fn stop(io: *mut IoPlug) -> c_int {
    // SAFETY: see `start`.
    unsafe { plugin(io).card.borrow_mut().stop() };
    0
}

unsafe extern "C" fn prepare(io: *mut IoPlug) -> c_int {
    // SAFETY: see `start`.
    unsafe {
        let plugin = plugin(io);
        if let Err(error) = plugin.card.borrow_mut().prepare() {
            (*io).state = SND_PCM_STATE_DISCONNECTED;
            return error;
        }
        let playback = plugin.card.borrow().direction() == Direction::Playback;
        set_timer(plugin, if playback { AT_ONCE } else { NEVER });
        0
    }
}

unsafe extern "C" fn pointer(io: *mut IoPlug) -> snd_pcm_sframes_t {
    let began = monotonic_ns();
    // SAFETY: see `start`.
    unsafe {
        let at = catch_up(io);
        plugin(io).card.borrow_mut().worked(monotonic_ns() - began);
        at
    }
}

/// Brings ring and tape up to date and answers the pointer, modulo the boundary; negative: the card stopped.
unsafe fn catch_up(io: *mut IoPlug) -> snd_pcm_sframes_t {
    // SAFETY: see `start`.
    unsafe {
        let plugin = plugin(io);
        let state = (*io).state;
        let here = || {
            let done = plugin.card.borrow().position() as snd_pcm_uframes_t;
            (done % plugin.boundary.get()) as snd_pcm_sframes_t
        };
        if state == SND_PCM_STATE_XRUN {
            return -(libc::EPIPE as snd_pcm_sframes_t);
        }
        if state != SND_PCM_STATE_RUNNING && state != SND_PCM_STATE_DRAINING {
            return here();
        }
        let buffer = (*io).buffer_size as i64;
        let threshold = plugin.stop_threshold.get();
        let ring = Ring {
            buffer,
            movable: movable(io),
            stop_threshold: (threshold < plugin.boundary.get()).then(|| (threshold as i64).min(buffer)),
            draining: state == SND_PCM_STATE_DRAINING,
        };
        let motion = plugin.card.borrow_mut().look(ring);
        match motion {
            Motion::Moved(frames) => transfer(io, plugin, frames, buffer),
            Motion::Xrun(frames) => {
                transfer(io, plugin, frames, buffer);
                if !ring.draining {
                    return -(libc::EPIPE as snd_pcm_sframes_t);
                }
            }
            Motion::Stopped(Stop::Xrun) => return -(libc::EPIPE as snd_pcm_sframes_t),
            Motion::Stopped(Stop::Suspend) => (*io).state = SND_PCM_STATE_SUSPENDED,
            Motion::Unplugged => (*io).state = SND_PCM_STATE_DISCONNECTED,
        }
        here()
    }
}

/// Moves `frames` between libasound's ring and the tape, in contiguous pieces.
unsafe fn transfer(io: *mut IoPlug, plugin: &Plugin, frames: i64, buffer: i64) {
    let mut left = frames;
    while left > 0 {
        // SAFETY: with `mmap_rw` libasound keeps one interleaved ring of `buffer` frames, described by the first
        // area; only this thread, inside libasound's lock, touches it while the callback runs.
        unsafe {
            let areas = snd_pcm_ioplug_mmap_areas(io);
            if areas.is_null() || (*areas).addr.is_null() {
                return;
            }
            let mut card = plugin.card.borrow_mut();
            let (at, bytes) = (card.position() % buffer, card.frame_bytes());
            let piece = left.min(buffer - at);
            let first = (*areas).addr.cast::<u8>().add(at as usize * bytes);
            card.transfer(std::slice::from_raw_parts_mut(first, piece as usize * bytes));
            left -= piece;
        }
    }
}

unsafe extern "C" fn close(io: *mut IoPlug) -> c_int {
    // SAFETY: libasound's last call for `io`; both boxes were made in `_snd_pcm_vsnd_open`.
    unsafe {
        drop(Box::from_raw((*io).private_data.cast::<Plugin>()));
        drop(Box::from_raw(io));
    }
    0
}

unsafe extern "C" fn hw_params(io: *mut IoPlug, _params: *mut snd_pcm_hw_params_t) -> c_int {
    // SAFETY: see `start`.
    unsafe { plugin(io).card.borrow_mut().configured((*io).period_size as i64, (*io).buffer_size as i64) };
    0
}

unsafe extern "C" fn sw_params(io: *mut IoPlug, params: *mut snd_pcm_sw_params_t) -> c_int {
    let (mut avail_min, mut stop_threshold, mut boundary) = (0, 0, 0);
    // SAFETY: see `start`; `params` is valid for the call.
    unsafe {
        snd_pcm_sw_params_get_avail_min(params, &mut avail_min);
        snd_pcm_sw_params_get_stop_threshold(params, &mut stop_threshold);
        snd_pcm_sw_params_get_boundary(params, &mut boundary);
        let plugin = plugin(io);
        plugin.avail_min.set(avail_min as i64);
        plugin.stop_threshold.set(stop_threshold);
        plugin.boundary.set(boundary.max(1));
    }
    0
}

unsafe extern "C" fn delay(io: *mut IoPlug, frames: *mut snd_pcm_sframes_t) -> c_int {
    // SAFETY: see `start`; libasound's lock of a PCM is recursive.
    unsafe {
        let avail = snd_pcm_avail_update((*io).pcm);
        if avail < 0 {
            *frames = 0;
            return avail as c_int;
        }
        let card = plugin(io).card.borrow();
        *frames = match card.direction() {
            Direction::Playback => {
                (*io).buffer_size as snd_pcm_sframes_t - avail + card.settings.delay_play as snd_pcm_sframes_t
            }
            Direction::Capture => avail + card.settings.delay_cap as snd_pcm_sframes_t,
        };
        0
    }
}

unsafe extern "C" fn poll_descriptors_count(_io: *mut IoPlug) -> c_int {
    1
}

unsafe extern "C" fn poll_descriptors(io: *mut IoPlug, fds: *mut pollfd, space: c_uint) -> c_int {
    if space < 1 {
        return 0;
    }
    // SAFETY: see `start`; there is room for one entry.
    unsafe {
        (*fds).fd = plugin(io).timer.as_raw_fd();
        (*fds).events = libc::POLLIN;
        arm(io);
    }
    1
}

unsafe extern "C" fn poll_revents(io: *mut IoPlug, _fds: *mut pollfd, count: c_uint, events: *mut c_ushort) -> c_int {
    if count < 1 {
        return -libc::EINVAL;
    }
    // SAFETY: see `start`.
    unsafe {
        let avail = snd_pcm_avail_update((*io).pcm);
        let plugin = plugin(io);
        let state = (*io).state;
        let playback = plugin.card.borrow().direction() == Direction::Playback;
        let ready = if playback { libc::POLLOUT } else { libc::POLLIN } as c_ushort;
        let waiting_to_start = state == SND_PCM_STATE_PREPARED && !playback;
        *events = if broken(state) || avail < 0 {
            ready | libc::POLLERR as c_ushort
        } else if state == SND_PCM_STATE_SETUP
            || state == SND_PCM_STATE_DRAINING
            || (avail as i64 >= plugin.avail_min.get() && !waiting_to_start)
        {
            ready
        } else {
            0
        };
        if *events == 0 || state == SND_PCM_STATE_DRAINING {
            arm(io);
        }
    }
    0
}

fn broken(state: snd_pcm_state_t) -> bool {
    state == SND_PCM_STATE_XRUN || state == SND_PCM_STATE_SUSPENDED || state == SND_PCM_STATE_DISCONNECTED
}

/// Sets the timer to the instant at which `avail` reaches `avail_min`.
unsafe fn arm(io: *mut IoPlug) {
    let began = monotonic_ns();
    // SAFETY: see `start`.
    unsafe {
        let plugin = plugin(io);
        let state = (*io).state;
        let (movable, buffer, period) = (movable(io), (*io).buffer_size as i64, (*io).period_size as i64);
        let mut card = plugin.card.borrow_mut();
        if state != SND_PCM_STATE_RUNNING && state != SND_PCM_STATE_DRAINING {
            let at_once = card.direction() == Direction::Playback || broken(state);
            set_timer(plugin, if at_once { AT_ONCE } else { NEVER });
            return;
        }
        let missing = if state == SND_PCM_STATE_DRAINING {
            movable.clamp(1, period.max(1))
        } else {
            plugin.avail_min.get() - (buffer - movable)
        };
        set_timer(plugin, if missing <= 0 { AT_ONCE } else { card.when(missing) });
        card.worked(monotonic_ns() - began);
    }
}

fn set_timer(plugin: &Plugin, ns: i64) {
    let at = libc::timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ };
    let once = libc::itimerspec { it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
    // SAFETY: our own timerfd; setting it also clears an expiry that nobody read.
    unsafe {
        libc::timerfd_settime(plugin.timer.as_raw_fd(), libc::TFD_TIMER_ABSTIME, &once, std::ptr::null_mut());
    }
}
