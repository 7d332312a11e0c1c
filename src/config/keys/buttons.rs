//! `[[button]]`.

use super::super::buttons::Button;
use super::super::value::Rule;
use super::{Key, WORD, key};

/// A `[[button]]`, repeatable.
pub(in super::super) static BUTTON: &[Key<Button>] = &[
    key(
        "device",
        |b| &mut b.device,
        WORD,
        "Input device (evdev) that the button is on, such as `/dev/input/by-path/platform-gpio-keys-event`.",
    ),
    key("key", |b| &mut b.key, WORD, "Its key: a name such as `KEY_PHONE`, or the number that `evtest` shows."),
    key("does", |b| &mut b.does, WORD, "A command of the local socket, such as `call front-desk` or `answer`."),
    key("toggle", |b| &mut b.toggle, Rule::Any, "In a call that is not one of the `[[room]]`s it hangs up instead."),
];
