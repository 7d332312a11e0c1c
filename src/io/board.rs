//! What a board says of its heat and its supply: small files of sysfs, looked at from time to time.
//!
//! | file | what |
//! |---|---|
//! | `devices/platform/soc/soc:firmware/get_throttled` | Raspberry Pi's firmware: bit 0 low voltage, bits 1 and 2 slowed down (by heat, if not by that), bit 3 too hot |
//! | `class/hwmon/hwmon*/in0_lcrit_alarm`, where `name` is `rpi_volt` | 1: low voltage |
//! | `class/thermal/thermal_zone*/temp`, `trip_point_*_{type,temp}` | at a passive or hot trip point or above it |
//!
//! A board that has none of them is fine.

use crate::media::governor::Board;
use std::fs;
use std::path::{Path, PathBuf};

const LOW_VOLTAGE: u32 = 1;
const SLOWED_DOWN: u32 = 0b0110;
const TOO_HOT: u32 = 0b1000;
/// No board has more of a kind.
const MOST: usize = 32;

/// `sys`: `/sys`, or what stands for it in a test.
pub fn look(sys: &Path) -> Board {
    let bits = number(&sys.join("devices/platform/soc/soc:firmware/get_throttled"), 16).unwrap_or(0) as u32;
    let alarm = |hwmon: &PathBuf| {
        word(&hwmon.join("name")).is_some_and(|name| name == "rpi_volt")
            && number(&hwmon.join("in0_lcrit_alarm"), 10) == Some(1)
    };
    let by_heat = bits & TOO_HOT != 0 || (bits & SLOWED_DOWN != 0 && bits & LOW_VOLTAGE == 0);
    if by_heat || folders(&sys.join("class/thermal"), "thermal_zone").iter().any(|zone| is_hot(zone)) {
        Board::Hot
    } else if bits & LOW_VOLTAGE != 0 || folders(&sys.join("class/hwmon"), "hwmon").iter().any(alarm) {
        Board::LowVoltage
    } else {
        Board::Fine
    }
}

fn is_hot(zone: &Path) -> bool {
    let Some(temperature) = number(&zone.join("temp"), 10) else { return false };
    let slows_down = |n: &usize| {
        matches!(word(&zone.join(format!("trip_point_{n}_type"))).as_deref(), Some("passive" | "hot" | "critical"))
    };
    let trips = (0..MOST).take_while(|n| zone.join(format!("trip_point_{n}_type")).exists()).filter(slows_down);
    trips
        .filter_map(|n| number(&zone.join(format!("trip_point_{n}_temp")), 10))
        .any(|trip| trip > 0 && temperature >= trip)
}

/// The folders (or links to such) of this name with a number.
fn folders(within: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(within) else { return Vec::new() };
    let named = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(|file| file.starts_with(name)));
    named.take(MOST).map(|entry| entry.path()).collect()
}

fn word(file: &Path) -> Option<String> {
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

fn number(file: &Path, radix: u32) -> Option<i64> {
    let word = word(file)?;
    i64::from_str_radix(word.strip_prefix("0x").unwrap_or(&word), radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_and_low_voltage_are_read_from_where_boards_say_so() {
        let sys = std::env::temp_dir().join(format!("qss-endpoint-sys-{}", std::process::id()));
        let put = |file: &str, text: &str| {
            let file = sys.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        assert_eq!(look(&sys), Board::Fine, "nothing says anything");
        put("class/thermal/thermal_zone0/temp", "61000\n");
        put("class/thermal/thermal_zone0/trip_point_0_type", "active\n");
        put("class/thermal/thermal_zone0/trip_point_0_temp", "50000\n");
        put("class/thermal/thermal_zone0/trip_point_1_type", "passive\n");
        put("class/thermal/thermal_zone0/trip_point_1_temp", "80000\n");
        put("class/hwmon/hwmon1/name", "rpi_volt\n");
        put("class/hwmon/hwmon1/in0_lcrit_alarm", "0\n");
        assert_eq!(look(&sys), Board::Fine);
        put("class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
        assert_eq!(look(&sys), Board::LowVoltage);
        put("class/thermal/thermal_zone0/temp", "80000\n");
        assert_eq!(look(&sys), Board::Hot);
        put("class/thermal/thermal_zone0/temp", "rubbish");
        put("class/hwmon/hwmon1/name", "another\n");
        let firmware = "devices/platform/soc/soc:firmware/get_throttled";
        for (bits, board) in [
            ("0", Board::Fine),
            ("50000", Board::Fine),
            ("50005", Board::LowVoltage),
            ("0x1", Board::LowVoltage),
            ("0x6", Board::Hot),
            ("8", Board::Hot),
        ] {
            put(firmware, bits);
            assert_eq!(look(&sys), board, "{bits}");
        }
        fs::remove_dir_all(&sys).unwrap();
    }
}
