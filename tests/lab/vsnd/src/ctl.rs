//! The mixer: `Mic` and `Speaker`, each with a volume (-30..=30 dB) and a switch, in shared memory `<card>.ctl`.
//!
//! A test sees there what the program set, or changes it under the program's feet. Values are applied to the samples.

use crate::ffi::{
    CTL_ACCESS_READ, CTL_ACCESS_TLV_READ, CTL_ACCESS_VOLATILE, CTL_ACCESS_WRITE, CTL_EXT_VERSION, CTL_KEY_NOT_FOUND,
    CtlExt, CtlExtCallbacks, CtlKey, snd_ctl_ext_create,
};
use crate::settings::Settings;
use alsa_sys::{
    SND_CTL_ELEM_IFACE_MIXER, SND_CTL_ELEM_TYPE_BOOLEAN, SND_CTL_ELEM_TYPE_INTEGER, snd_config_t,
    snd_ctl_elem_id_get_name, snd_ctl_elem_id_get_numid, snd_ctl_elem_id_set_interface, snd_ctl_elem_id_set_name,
    snd_ctl_elem_id_t, snd_ctl_t,
};
use libc::{c_char, c_int, c_long, c_uint};
use std::ffi::CStr;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::ptr::null;
use std::sync::atomic::{AtomicI32, Ordering};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    MicVolume,
    MicSwitch,
    SpeakerVolume,
    SpeakerSwitch,
}

/// In the order of the shared memory and of the controls' numbers.
const ELEMENTS: [(Element, &CStr); 4] = [
    (Element::MicVolume, c"Mic Capture Volume"),
    (Element::MicSwitch, c"Mic Capture Switch"),
    (Element::SpeakerVolume, c"Speaker Playback Volume"),
    (Element::SpeakerSwitch, c"Speaker Playback Switch"),
];
const LIMIT_DB: i32 = 30;
/// `SNDRV_CTL_TLVT_DB_MINMAX`, 8 bytes: minimum and maximum in 1/100 dB.
static TLV: [c_uint; 4] = [4, 8, (-LIMIT_DB * 100) as c_uint, LIMIT_DB as c_uint * 100];

/// The shared values of one card.
pub(crate) struct Mixer(&'static [AtomicI32; ELEMENTS.len()]);

impl Mixer {
    const BYTES: usize = size_of::<[AtomicI32; ELEMENTS.len()]>();

    pub(crate) fn open(settings: &Settings) -> Result<Mixer, c_int> {
        let path = settings.file("ctl");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|_| -libc::EACCES)?;
        if file.metadata().map_or(0, |meta| meta.len()) < Self::BYTES as u64 {
            let initial = [0i32, 1, 0, 1].map(i32::to_ne_bytes).concat();
            file.write_all_at(&initial, 0).map_err(|_| -libc::EIO)?;
        }
        // SAFETY: a fresh shared mapping of a file at least that long; others use it as atomics too, if at all.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let fd = file.as_raw_fd();
            let page = libc::mmap(std::ptr::null_mut(), Self::BYTES, protection, libc::MAP_SHARED, fd, 0);
            if page == libc::MAP_FAILED { Err(-libc::ENOMEM) } else { Ok(Mixer(&*page.cast())) }
        }
    }

    pub(crate) fn mic_gain(&self) -> f32 {
        self.gain(Element::MicVolume, Element::MicSwitch)
    }

    pub(crate) fn speaker_gain(&self) -> f32 {
        self.gain(Element::SpeakerVolume, Element::SpeakerSwitch)
    }

    fn gain(&self, volume: Element, switch: Element) -> f32 {
        match (self.value(switch), self.value(volume)) {
            (0, _) => 0.0,
            (_, 0) => 1.0,
            (_, db) => 10f32.powf(db as f32 / 20.0),
        }
    }

    fn value(&self, element: Element) -> i32 {
        self.0[element as usize].load(Ordering::Relaxed)
    }
}

impl Drop for Mixer {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `open`; nobody else in this process holds a reference into it.
        unsafe { libc::munmap(std::ptr::from_ref(self.0).cast_mut().cast(), Self::BYTES) };
    }
}

static CALLBACKS: CtlExtCallbacks = CtlExtCallbacks {
    close,
    elem_count,
    elem_list,
    find_elem,
    free_key: null(),
    get_attribute,
    get_integer_info,
    other_infos: [null(); 3],
    read_integer,
    other_reads: [null(); 4],
    write_integer,
    other_writes: [null(); 4],
    subscribe_events: null(),
    read_event,
    polling: [null(); 3],
};

/// Entry point, found by name.
///
/// # Safety
/// Called by libasound with a valid configuration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _snd_ctl_vsnd_open(
    handle: *mut *mut snd_ctl_t,
    name: *const c_char,
    _root: *mut snd_config_t,
    conf: *mut snd_config_t,
    mode: c_int,
) -> c_int {
    // SAFETY: libasound's arguments; the boxes are released in `close`, or here if libasound never learnt of them.
    unsafe {
        let settings = match Settings::read(conf) {
            Ok(settings) => settings,
            Err(error) => return error,
        };
        let mixer = match Mixer::open(&settings) {
            Ok(mixer) => Box::new(mixer),
            Err(error) => return error,
        };
        let ext = Box::into_raw(Box::new(CtlExt {
            version: CTL_EXT_VERSION,
            id: chars(&settings.card),
            driver: chars("vsnd"),
            name: chars(&format!("vsnd {}", settings.card)),
            longname: chars("virtual sound card"),
            mixername: chars("vsnd mixer"),
            poll_fd: -1,
            callback: &CALLBACKS,
            private_data: Box::into_raw(mixer).cast(),
            ..std::mem::zeroed()
        }));
        let error = snd_ctl_ext_create(ext, name, mode);
        if error < 0 {
            close(ext);
            return error;
        }
        *handle = (*ext).handle;
        0
    }
}

/// See `__snd_pcm_vsnd_open_dlsym_pcm_001`.
#[unsafe(no_mangle)]
pub static __snd_ctl_vsnd_open_dlsym_control_001: c_char = 0;

fn is_switch(key: CtlKey) -> Option<bool> {
    let (element, _) = ELEMENTS.get(usize::try_from(key).ok()?)?;
    Some(matches!(element, Element::MicSwitch | Element::SpeakerSwitch))
}

/// The shared value behind a key.
///
/// # Safety
/// `ext` was made by `_snd_ctl_vsnd_open` and is not closed yet.
unsafe fn shared<'a>(ext: *mut CtlExt, key: CtlKey) -> Option<&'a AtomicI32> {
    // SAFETY: only shared references to the mixer exist.
    let mixer = unsafe { &*(*ext).private_data.cast::<Mixer>() };
    mixer.0.get(usize::try_from(key).ok()?)
}

unsafe extern "C" fn close(ext: *mut CtlExt) {
    // SAFETY: libasound's last call for `ext`.
    unsafe {
        drop(Box::from_raw((*ext).private_data.cast::<Mixer>()));
        drop(Box::from_raw(ext));
    }
}

unsafe extern "C" fn elem_count(_ext: *mut CtlExt) -> c_int {
    ELEMENTS.len() as c_int
}

unsafe extern "C" fn elem_list(_ext: *mut CtlExt, offset: c_uint, id: *mut snd_ctl_elem_id_t) -> c_int {
    let Some((_, name)) = ELEMENTS.get(offset as usize) else { return -libc::EINVAL };
    // SAFETY: `id` is valid for the call, the name is static.
    unsafe {
        snd_ctl_elem_id_set_interface(id, SND_CTL_ELEM_IFACE_MIXER);
        snd_ctl_elem_id_set_name(id, name.as_ptr());
    }
    0
}

unsafe extern "C" fn find_elem(_ext: *mut CtlExt, id: *const snd_ctl_elem_id_t) -> CtlKey {
    // SAFETY: `id` is valid for the call and its name is a C string.
    unsafe {
        let number = snd_ctl_elem_id_get_numid(id) as usize;
        if (1..=ELEMENTS.len()).contains(&number) {
            return number as CtlKey - 1;
        }
        let name = CStr::from_ptr(snd_ctl_elem_id_get_name(id));
        let found = ELEMENTS.iter().position(|(_, known)| *known == name);
        found.map_or(CTL_KEY_NOT_FOUND, |index| index as CtlKey)
    }
}

unsafe extern "C" fn get_attribute(
    ext: *mut CtlExt,
    key: CtlKey,
    kind: *mut c_int,
    access: *mut c_uint,
    count: *mut c_uint,
) -> c_int {
    // SAFETY: libasound's out parameters.
    unsafe {
        let Some(switch) = is_switch(key) else { return -libc::EINVAL };
        *kind = if switch { SND_CTL_ELEM_TYPE_BOOLEAN } else { SND_CTL_ELEM_TYPE_INTEGER } as c_int;
        let decibels = if switch { 0 } else { CTL_ACCESS_TLV_READ };
        *access = CTL_ACCESS_READ | CTL_ACCESS_WRITE | CTL_ACCESS_VOLATILE | decibels;
        *count = 1;
        (*ext).tlv = TLV.as_ptr();
    }
    0
}

unsafe extern "C" fn get_integer_info(
    _ext: *mut CtlExt,
    _key: CtlKey,
    min: *mut c_long,
    max: *mut c_long,
    step: *mut c_long,
) -> c_int {
    // SAFETY: libasound's out parameters.
    unsafe { (*min, *max, *step) = (c_long::from(-LIMIT_DB), c_long::from(LIMIT_DB), 1) };
    0
}

unsafe extern "C" fn read_integer(ext: *mut CtlExt, key: CtlKey, value: *mut c_long) -> c_int {
    // SAFETY: `private_data` is the mixer; `value` is an out parameter.
    unsafe {
        let Some(shared) = shared(ext, key) else { return -libc::EINVAL };
        *value = c_long::from(shared.load(Ordering::Relaxed));
    }
    0
}

/// 1 if the value changed.
unsafe extern "C" fn write_integer(ext: *mut CtlExt, key: CtlKey, value: *mut c_long) -> c_int {
    // SAFETY: `private_data` is the mixer; `value` is valid for the call.
    unsafe {
        let (Some(switch), Some(shared)) = (is_switch(key), shared(ext, key)) else { return -libc::EINVAL };
        let (low, high) = if switch { (0, 1) } else { (-LIMIT_DB, LIMIT_DB) };
        let wanted = (*value).clamp(c_long::from(low), c_long::from(high)) as i32;
        let before = shared.swap(wanted, Ordering::Relaxed);
        c_int::from(before != wanted)
    }
}

unsafe extern "C" fn read_event(_ext: *mut CtlExt, _id: *mut snd_ctl_elem_id_t, _mask: *mut c_uint) -> c_int {
    -libc::EAGAIN
}

fn chars<const N: usize>(text: &str) -> [c_char; N] {
    let mut chars = [0; N];
    for (slot, byte) in chars[..N - 1].iter_mut().zip(text.bytes()) {
        *slot = byte as c_char;
    }
    chars
}
