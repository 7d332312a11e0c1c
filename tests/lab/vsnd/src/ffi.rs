//! What `pcm_ioplug.h` and `control_external.h` declare and `alsa-sys` leaves out, and a reader of configuration.

use alsa_sys::{
    snd_config_get_ascii, snd_config_get_id, snd_config_iterator_end, snd_config_iterator_entry,
    snd_config_iterator_first, snd_config_iterator_next, snd_config_t, snd_ctl_elem_id_t, snd_ctl_t, snd_pcm_access_t,
    snd_pcm_channel_area_t, snd_pcm_format_t, snd_pcm_hw_params_t, snd_pcm_sframes_t, snd_pcm_state_t,
    snd_pcm_stream_t, snd_pcm_sw_params_t, snd_pcm_t, snd_pcm_uframes_t,
};
use libc::{c_char, c_int, c_long, c_uint, c_ulong, c_ushort, c_void, pollfd};
use std::ffi::CStr;

/// `snd_pcm_ioplug`: shared with libasound, which moves `appl_ptr` and `hw_ptr` and reads and writes `state`.
#[repr(C)]
pub(crate) struct IoPlug {
    pub(crate) version: c_uint,
    pub(crate) name: *const c_char,
    pub(crate) flags: c_uint,
    pub(crate) poll_fd: c_int,
    pub(crate) poll_events: c_uint,
    pub(crate) mmap_rw: c_uint,
    pub(crate) callback: *const IoPlugCallbacks,
    pub(crate) private_data: *mut c_void,
    pub(crate) pcm: *mut snd_pcm_t,
    pub(crate) stream: snd_pcm_stream_t,
    pub(crate) state: snd_pcm_state_t,
    pub(crate) appl_ptr: snd_pcm_uframes_t,
    pub(crate) hw_ptr: snd_pcm_uframes_t,
    pub(crate) nonblock: c_int,
    pub(crate) access: snd_pcm_access_t,
    pub(crate) format: snd_pcm_format_t,
    pub(crate) channels: c_uint,
    pub(crate) rate: c_uint,
    pub(crate) period_size: snd_pcm_uframes_t,
    pub(crate) buffer_size: snd_pcm_uframes_t,
}

pub(crate) const IOPLUG_VERSION: c_uint = 0x01_00_02;
pub(crate) const IOPLUG_MONOTONIC: c_uint = 1 << 1;
/// `pointer` answers modulo the boundary, not modulo the buffer.
pub(crate) const IOPLUG_BOUNDARY_WA: c_uint = 1 << 2;

/// `SND_PCM_IOPLUG_HW_*`
pub(crate) const HW_ACCESS: c_int = 0;
pub(crate) const HW_FORMAT: c_int = 1;
pub(crate) const HW_CHANNELS: c_int = 2;
pub(crate) const HW_RATE: c_int = 3;
pub(crate) const HW_PERIOD_BYTES: c_int = 4;
pub(crate) const HW_BUFFER_BYTES: c_int = 5;
pub(crate) const HW_PERIODS: c_int = 6;

type Io = *mut IoPlug;

/// `snd_pcm_ioplug_callback`; the members this plug-in never fills are plain pointers.
#[repr(C)]
pub(crate) struct IoPlugCallbacks {
    pub(crate) start: unsafe extern "C" fn(Io) -> c_int,
    pub(crate) stop: unsafe extern "C" fn(Io) -> c_int,
    pub(crate) pointer: unsafe extern "C" fn(Io) -> snd_pcm_sframes_t,
    pub(crate) transfer: *const c_void,
    pub(crate) close: unsafe extern "C" fn(Io) -> c_int,
    pub(crate) hw_params: unsafe extern "C" fn(Io, *mut snd_pcm_hw_params_t) -> c_int,
    pub(crate) hw_free: *const c_void,
    pub(crate) sw_params: unsafe extern "C" fn(Io, *mut snd_pcm_sw_params_t) -> c_int,
    pub(crate) prepare: unsafe extern "C" fn(Io) -> c_int,
    pub(crate) drain: *const c_void,
    pub(crate) pause: *const c_void,
    pub(crate) resume: *const c_void,
    pub(crate) poll_descriptors_count: unsafe extern "C" fn(Io) -> c_int,
    pub(crate) poll_descriptors: unsafe extern "C" fn(Io, *mut pollfd, c_uint) -> c_int,
    pub(crate) poll_revents: unsafe extern "C" fn(Io, *mut pollfd, c_uint, *mut c_ushort) -> c_int,
    pub(crate) dump: *const c_void,
    pub(crate) delay: unsafe extern "C" fn(Io, *mut snd_pcm_sframes_t) -> c_int,
    pub(crate) channel_maps: [*const c_void; 3],
}

// SAFETY: a table of functions and null pointers; nothing writes to it.
unsafe impl Sync for IoPlugCallbacks {}

/// `snd_ctl_ext`
#[repr(C)]
pub(crate) struct CtlExt {
    pub(crate) version: c_uint,
    pub(crate) card_idx: c_int,
    pub(crate) id: [c_char; 16],
    pub(crate) driver: [c_char; 16],
    pub(crate) name: [c_char; 32],
    pub(crate) longname: [c_char; 80],
    pub(crate) mixername: [c_char; 80],
    pub(crate) poll_fd: c_int,
    pub(crate) callback: *const CtlExtCallbacks,
    pub(crate) private_data: *mut c_void,
    pub(crate) handle: *mut snd_ctl_t,
    pub(crate) nonblock: c_int,
    pub(crate) subscribed: c_int,
    pub(crate) tlv: *const c_uint,
}

pub(crate) const CTL_EXT_VERSION: c_uint = 0x01_00_01;
pub(crate) const CTL_ACCESS_READ: c_uint = 1 << 0;
pub(crate) const CTL_ACCESS_WRITE: c_uint = 1 << 1;
pub(crate) const CTL_ACCESS_VOLATILE: c_uint = 1 << 2;
pub(crate) const CTL_ACCESS_TLV_READ: c_uint = 1 << 4;

pub(crate) type CtlKey = c_ulong;
pub(crate) const CTL_KEY_NOT_FOUND: CtlKey = CtlKey::MAX;
type Ext = *mut CtlExt;

/// `snd_ctl_ext_callback`
#[repr(C)]
pub(crate) struct CtlExtCallbacks {
    pub(crate) close: unsafe extern "C" fn(Ext),
    pub(crate) elem_count: unsafe extern "C" fn(Ext) -> c_int,
    pub(crate) elem_list: unsafe extern "C" fn(Ext, c_uint, *mut snd_ctl_elem_id_t) -> c_int,
    pub(crate) find_elem: unsafe extern "C" fn(Ext, *const snd_ctl_elem_id_t) -> CtlKey,
    pub(crate) free_key: *const c_void,
    pub(crate) get_attribute: unsafe extern "C" fn(Ext, CtlKey, *mut c_int, *mut c_uint, *mut c_uint) -> c_int,
    pub(crate) get_integer_info: unsafe extern "C" fn(Ext, CtlKey, *mut c_long, *mut c_long, *mut c_long) -> c_int,
    pub(crate) other_infos: [*const c_void; 3],
    pub(crate) read_integer: unsafe extern "C" fn(Ext, CtlKey, *mut c_long) -> c_int,
    pub(crate) other_reads: [*const c_void; 4],
    pub(crate) write_integer: unsafe extern "C" fn(Ext, CtlKey, *mut c_long) -> c_int,
    pub(crate) other_writes: [*const c_void; 4],
    pub(crate) subscribe_events: *const c_void,
    pub(crate) read_event: unsafe extern "C" fn(Ext, *mut snd_ctl_elem_id_t, *mut c_uint) -> c_int,
    pub(crate) polling: [*const c_void; 3],
}

// SAFETY: a table of functions and null pointers; nothing writes to it.
unsafe impl Sync for CtlExtCallbacks {}

unsafe extern "C" {
    pub(crate) fn snd_pcm_ioplug_create(io: Io, name: *const c_char, stream: snd_pcm_stream_t, mode: c_int) -> c_int;
    pub(crate) fn snd_pcm_ioplug_mmap_areas(io: Io) -> *const snd_pcm_channel_area_t;
    pub(crate) fn snd_pcm_ioplug_set_param_minmax(io: Io, kind: c_int, min: c_uint, max: c_uint) -> c_int;
    pub(crate) fn snd_pcm_ioplug_set_param_list(io: Io, kind: c_int, count: c_uint, list: *const c_uint) -> c_int;
    pub(crate) fn snd_pcm_ioplug_hw_avail(
        io: *const IoPlug,
        hw: snd_pcm_uframes_t,
        appl: snd_pcm_uframes_t,
    ) -> snd_pcm_uframes_t;
    pub(crate) fn snd_ctl_ext_create(ext: Ext, name: *const c_char, mode: c_int) -> c_int;
}

/// The `key value` pairs of a compound; nested compounds (`hint { .. }`) are left out.
///
/// # Safety
/// `conf` is a valid compound.
pub(crate) unsafe fn field_pairs(conf: *mut snd_config_t) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    // SAFETY: the iterator stays inside the compound; `ascii` is ours to free.
    unsafe {
        let end = snd_config_iterator_end(conf);
        let mut at = snd_config_iterator_first(conf);
        while at != end {
            let entry = snd_config_iterator_entry(at);
            at = snd_config_iterator_next(at);
            let mut id: *const c_char = std::ptr::null();
            let mut ascii: *mut c_char = std::ptr::null_mut();
            if snd_config_get_id(entry, &mut id) < 0 || snd_config_get_ascii(entry, &mut ascii) < 0 || ascii.is_null() {
                continue;
            }
            let text = |p: *const c_char| CStr::from_ptr(p).to_string_lossy().into_owned();
            pairs.push((text(id), text(ascii)));
            libc::free(ascii.cast());
        }
    }
    pairs
}
