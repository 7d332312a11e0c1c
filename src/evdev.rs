//! Keys of Linux input devices (linux/input.h): bytes to presses, names to codes. Buttons of a door station are such
//! keys, whether they hang on USB or on GPIO (gpio-keys).

/// Bytes of one `struct input_event`: two longs of time, type and code (16 bit each), value (32 bit).
pub const EVENT: usize = 2 * size_of::<usize>() + 8;

/// `EV_KEY`.
const KEY: u16 = 1;
/// A key went down; 0 is up, 2 is repeated while down.
const DOWN: i32 = 1;

/// Names for the keys that door stations and key pads have; any other is given by its number.
const NAMES: &[(&str, u16)] = &[
    ("KEY_ESC", 1),
    ("KEY_1", 2),
    ("KEY_2", 3),
    ("KEY_3", 4),
    ("KEY_4", 5),
    ("KEY_5", 6),
    ("KEY_6", 7),
    ("KEY_7", 8),
    ("KEY_8", 9),
    ("KEY_9", 10),
    ("KEY_0", 11),
    ("KEY_ENTER", 28),
    ("KEY_SPACE", 57),
    ("KEY_F1", 59),
    ("KEY_F2", 60),
    ("KEY_F3", 61),
    ("KEY_F4", 62),
    ("KEY_MUTE", 113),
    ("KEY_VOLUMEDOWN", 114),
    ("KEY_VOLUMEUP", 115),
    ("KEY_POWER", 116),
    ("KEY_PROG1", 148),
    ("KEY_PROG2", 149),
    ("KEY_PHONE", 169),
    ("KEY_MICMUTE", 248),
    ("BTN_0", 256),
    ("BTN_1", 257),
    ("BTN_2", 258),
    ("BTN_3", 259),
    ("KEY_PICKUP_PHONE", 445),
    ("KEY_HANGUP_PHONE", 446),
];

/// A key by its name or number.
pub fn code(key: &str) -> Option<u16> {
    NAMES.iter().find(|(name, _)| *name == key).map(|(_, code)| *code).or_else(|| key.parse().ok())
}

/// Puts bytes together to events, however they are cut.
#[derive(Debug, Default)]
pub struct Keys {
    rest: Vec<u8>,
}

impl Keys {
    /// The codes of the keys that went down, in order.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u16> {
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() / EVENT * EVENT;
        let pressed = self.rest[..whole].chunks_exact(EVENT).filter_map(press).collect();
        self.rest.drain(..whole);
        pressed
    }
}

fn press(event: &[u8]) -> Option<u16> {
    let (_, event) = event.split_at_checked(2 * size_of::<usize>())?;
    let ([t0, t1, c0, c1], value) = event.split_first_chunk::<4>()?;
    let value = i32::from_ne_bytes(value.try_into().ok()?);
    (u16::from_ne_bytes([*t0, *t1]) == KEY && value == DOWN).then(|| u16::from_ne_bytes([*c0, *c1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, code: u16, value: i32) -> Vec<u8> {
        let mut bytes = vec![0xaa; 2 * size_of::<usize>()];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(code.to_ne_bytes());
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    #[test]
    fn only_presses_count_however_the_bytes_are_cut() {
        let bytes: Vec<u8> = [
            event(1, 169, 1),
            event(0, 0, 0),
            event(1, 169, 2),
            event(1, 169, 0),
            event(4, 4, 1),
            event(1, 2, 1),
            event(1, 3, -1),
        ]
        .concat();
        for cut in [1, 7, EVENT, EVENT + 1, bytes.len()] {
            let mut keys = Keys::default();
            let pressed: Vec<u16> = bytes.chunks(cut).flat_map(|part| keys.take(part)).collect();
            assert_eq!(pressed, [169, 2], "cut every {cut} bytes");
            assert!(keys.rest.len() < EVENT);
        }
    }

    #[test]
    fn keys_have_names_and_numbers() {
        assert_eq!((code("KEY_PHONE"), code("169"), code("0")), (Some(169), Some(169), Some(0)));
        for wrong in ["", "KEY_", "key_phone", "-1", "65536", "PHONE"] {
            assert_eq!(code(wrong), None, "{wrong}");
        }
    }
}
