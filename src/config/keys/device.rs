//! `[device]`.

use super::{Section, key};
use crate::config::shape;
use crate::config::value::Rule;

pub(super) const DEVICE: Section = Section {
    name: "device",
    doc: "Who this device is.",
    board: false,
    keys: &[
        key(
            "id",
            |d| &mut d.config.device.id,
            Rule::Text("1 to 64 letters, digits or . - _ :", shape::device_id),
            "Stable id, given to the QSS as `deviceId` and in each status event. If not given: a hash of \
         `/etc/machine-id` (not the machine id itself), or else the host name.",
        ),
        key(
            "state_dir",
            |d| &mut d.config.device.state_dir,
            Rule::Any,
            "Directory for what must outlive a crash: the rooms that the device made and must destroy, how many \
             attempts at a session came to nothing, a time that has certainly passed, and how fast the clocks of \
             card and mixer run. If not given: systemd's \
             `StateDirectory`, or nothing is kept.",
        ),
        key(
            "stop_timeout_ms",
            |d| &mut d.config.device.stop_timeout,
            Rule::Range(0, 60_000),
            "How long a stop waits for its goodbyes to mixer and QSS to be answered.",
        ),
        key(
            "board_interval_ms",
            |d| &mut d.config.device.board_interval,
            Rule::Range(0, 3_600_000),
            "Heat and supply of the board are looked at this often: when it is too hot or lacks voltage, the encoder is \
             asked for less (event `economy`). 0: never.",
        ),
        key(
            "input_retry_ms",
            |d| &mut d.config.device.input_retry,
            Rule::Range(10, 600_000),
            "An input device of a `[[button]]` that cannot be read is looked for this often.",
        ),
        key(
            "clock_kept_ms",
            |d| &mut d.config.device.clock_kept,
            Rule::Range(1_000, 31_536_000_000),
            "The time that has certainly passed is kept in `state_dir`, anew when it has grown by this: \
             storage wears out.",
        ),
    ],
};
