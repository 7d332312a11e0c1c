//! The machine's sound cards as the kernel lists them: which are there, who holds one, and who may.
//!
//! Read below a root, so that tests bring a machine of their own:
//!
//! ```text
//!   sys/class/sound/cardN -> ../../devices/<where it is plugged in>/sound/cardN     id; of USB: idVendor, idProduct, serial
//!   proc/asound/cardN/pcmMp/sub0/status                                             owner_pid
//!   proc/PID/{comm,cgroup,fd}                                                       the owner's name and unit
//!   dev/snd/pcmC0D0p, etc/group, proc/self/status                                   the group that may, and ours
//! ```

use crate::config::card_name::{CardIdentity, UsbIdentity, bus_path};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the machine's files are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Machine {
    root: PathBuf,
}

/// More cards than any kernel has (`SNDRV_CARDS`).
const MAX_CARDS: usize = 32;

impl Default for Machine {
    fn default() -> Machine {
        Machine::below("/")
    }
}

impl Machine {
    /// The one below `root`.
    pub fn below(root: impl Into<PathBuf>) -> Machine {
        Machine { root: root.into() }
    }

    /// The cards that are present, by number.
    pub fn cards(&self) -> Vec<CardIdentity> {
        let devices = fs::canonicalize(self.path("sys/devices")).unwrap_or_default();
        let entries = fs::read_dir(self.path("sys/class/sound")).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("card")?.parse().ok());
        let mut cards: Vec<_> = numbers.take(MAX_CARDS).filter_map(|index| self.card(index, &devices)).collect();
        cards.sort_by_key(|card| card.index);
        cards
    }

    /// When a device of any card came or went last, in seconds and nanoseconds; `None`: there are no devices.
    pub fn devices_changed(&self) -> Option<(i64, i64)> {
        let devices = fs::metadata(self.path("dev/snd")).ok()?;
        Some((devices.mtime(), devices.mtime_nsec()))
    }

    /// Device and direction (`c`, `p`) of each of its PCMs.
    pub fn pcms(&self, card: &CardIdentity) -> Vec<(u32, char)> {
        let prefix = format!("pcmC{}D", card.index);
        let pcm = |path: PathBuf| {
            let rest = path.file_name()?.to_str()?.strip_prefix(&prefix)?;
            let direction = rest.chars().next_back()?;
            Some((rest.strip_suffix(direction)?.parse().ok()?, direction))
        };
        entries(&self.path("sys/class/sound")).into_iter().filter_map(pcm).collect()
    }

    /// The processes that hold a PCM of this card in one direction, `p` or `c`: `pipewire (812, user@1000.service)`.
    pub fn holders(&self, card: &CardIdentity, direction: char) -> Vec<String> {
        let mut pids = self.owners(card.index, direction);
        if pids.is_empty() {
            pids = self.openers(card.index, direction);
        }
        let mut processes: Vec<_> = pids.into_iter().map(|pid| self.process(pid)).collect();
        processes.sort_unstable();
        processes.dedup();
        processes
    }

    /// The group that may open this card's devices, if we are not in it.
    pub fn missing_group(&self, card: &CardIdentity) -> Option<String> {
        let entries = fs::read_dir(self.path("dev/snd")).ok()?.flatten();
        let prefix = format!("pcmC{}D", card.index);
        let device = entries.into_iter().find(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))?;
        let gid = device.metadata().ok()?.gid();
        let status = self.text("proc/self/status")?;
        let ours = status.lines().filter(|line| line.starts_with("Groups:") || line.starts_with("Gid:"));
        let mut ours =
            ours.flat_map(|line| line.split_whitespace().skip(1)).filter_map(|word| word.parse::<u32>().ok());
        if ours.any(|group| group == gid) {
            return None;
        }
        let groups = self.text("etc/group").unwrap_or_default();
        let name = groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
        });
        Some(name.unwrap_or_else(|| format!("number {gid}")))
    }

    fn card(&self, index: u32, devices: &Path) -> Option<CardIdentity> {
        let directory = self.path(&format!("sys/class/sound/card{index}"));
        let id = line(&directory.join("id"))?;
        // <devices>/<where>/sound/cardN
        let place = fs::canonicalize(&directory).ok().and_then(|path| Some(path.parent()?.parent()?.to_owned()));
        let below = place.as_deref().and_then(|place| place.strip_prefix(devices).ok());
        let bus = below.and_then(|below| bus_path(&below.to_string_lossy()));
        // The card belongs to an interface of the USB device.
        let device = place.as_deref().and_then(Path::parent).filter(|device| device.join("idVendor").exists());
        let usb = device.and_then(|device| {
            let number = |name| u16::from_str_radix(&line(&device.join(name))?, 16).ok();
            let (vendor, product) = (number("idVendor")?, number("idProduct")?);
            Some(UsbIdentity { vendor, product, serial: line(&device.join("serial")) })
        });
        let product = device.and_then(|device| line(&device.join("product")));
        let driver = || {
            let cards = self.text("proc/asound/cards").unwrap_or_default();
            let of_card = cards.lines().find(|line| line.trim_start().starts_with(&format!("{index} [")))?;
            Some(of_card.rsplit_once(" - ")?.1.trim().to_owned())
        };
        let title = product.or_else(driver).unwrap_or_else(|| id.clone());
        Some(CardIdentity { index, id, title, usb, bus })
    }

    /// As the kernel's own list says.
    fn owners(&self, index: u32, direction: char) -> Vec<u32> {
        let card = self.path(&format!("proc/asound/card{index}"));
        let of_direction = |path: &PathBuf| {
            path.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("pcm") && name.ends_with(direction)
            })
        };
        let substreams = entries(&card).into_iter().filter(of_direction).flat_map(|pcm| entries(&pcm));
        let states = substreams.filter_map(|substream| fs::read_to_string(substream.join("status")).ok());
        let owner = |state: String| {
            let line = state.lines().find(|line| line.starts_with("owner_pid"))?;
            line.split_once(':')?.1.trim().parse().ok()
        };
        states.filter_map(owner).collect()
    }

    /// Whoever has the device open, as far as we may see: for kernels whose list has no owner.
    fn openers(&self, index: u32, direction: char) -> Vec<u32> {
        let prefix = format!("pcmC{index}D");
        let is_it = |path: PathBuf| {
            fs::read_link(path).is_ok_and(|target| {
                let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with(&prefix) && name.ends_with(direction)
            })
        };
        let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
        let processes = entries(&self.path("proc")).into_iter().filter_map(|path| Some((number(&path)?, path)));
        let holders = processes.filter(|(_, path)| entries(&path.join("fd")).into_iter().any(is_it));
        holders.map(|(pid, _)| pid).collect()
    }

    /// Its name, number and unit, as far as we may see them. The kernel's list has the thread that opened the device.
    fn process(&self, thread: u32) -> String {
        let status = self.text(&format!("proc/{thread}/status")).unwrap_or_default();
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
        let pid: u32 = process.unwrap_or(thread);
        let comm = line(&self.path(&format!("proc/{pid}/comm")));
        let cgroup = self.text(&format!("proc/{pid}/cgroup")).unwrap_or_default();
        // `0::/system.slice/pulse.service`; the innermost that systemd runs.
        let path = cgroup.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        let unit = path.rsplit('/').find(|name| name.ends_with(".service") || name.ends_with(".scope"));
        match (comm, unit) {
            (Some(comm), Some(unit)) => format!("{comm} ({pid}, {unit})"),
            (Some(comm), None) => format!("{comm} ({pid})"),
            (None, _) => format!("process {pid}"),
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn line(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|line| !line.is_empty())
}

/// A machine in a directory.
#[cfg(test)]
pub(super) mod fake {
    use super::*;
    use std::os::unix::fs::symlink;

    pub(in crate::io::alsa) struct Fake(pub(super) PathBuf);

    impl Fake {
        pub(in crate::io::alsa) fn new(test: &str) -> Fake {
            let root = std::env::temp_dir().join(format!("qss-endpoint-machine-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("sys/class/sound")).unwrap();
            Fake(root)
        }

        pub(in crate::io::alsa) fn machine(&self) -> Machine {
            Machine::below(&self.0)
        }

        pub(in crate::io::alsa) fn headset(&self, index: u32, id: &str) {
            let device = "platform/soc/3f980000.usb/usb1/1-1/1-1.2";
            for (name, text) in
                [("idVendor", "0d8c"), ("idProduct", "0014"), ("serial", "A1B2"), ("product", "USB PnP Audio")]
            {
                self.write(&format!("sys/devices/{device}/{name}"), text);
            }
            self.card(index, id, &format!("{device}/1-1.2:1.0"));
        }

        pub(in crate::io::alsa) fn codec(&self, index: u32, id: &str) {
            self.card(index, id, "platform/es8388-sound");
            let list = format!(" {index} [{id}]: simple-card - rockchip-es8388\n                      rockchip\n");
            self.write("proc/asound/cards", &list);
        }

        pub(in crate::io::alsa) fn held(&self, index: u32, direction: char, pid: u32, comm: &str, unit: &str) {
            let status = format!("proc/asound/card{index}/pcm0{direction}/sub0/status");
            self.write(&status, &format!("state: RUNNING\nowner_pid   : {pid}\ntrigger_time: 1.2\n"));
            self.write(&format!("proc/{pid}/comm"), comm);
            self.write(&format!("proc/{pid}/cgroup"), &format!("0::/{unit}\n"));
        }

        pub(in crate::io::alsa) fn unplug(&self, index: u32) {
            let _ = fs::remove_file(self.0.join(format!("sys/class/sound/card{index}")));
        }

        pub(in crate::io::alsa) fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }

        pub(in crate::io::alsa) fn link(&self, path: &str, target: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }

        fn card(&self, index: u32, id: &str, device: &str) {
            let below = format!("devices/{device}/sound/card{index}");
            self.write(&format!("sys/{below}/id"), id);
            self.link(&format!("sys/class/sound/card{index}"), &format!("../../{below}"));
            for direction in ['c', 'p'] {
                self.link(&format!("sys/class/sound/pcmC{index}D0{direction}"), "../..");
            }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;
    use super::*;

    #[test]
    fn a_headset_is_known_by_what_it_is_and_where_it_is_whatever_its_number() {
        let fake = Fake::new("identity");
        for (index, id) in [(1, "Device"), (4, "Device_1")] {
            fake.headset(index, id);
            let cards = fake.machine().cards();
            assert_eq!(cards.len(), 1);
            let usb = UsbIdentity { vendor: 0x0d8c, product: 0x0014, serial: Some("A1B2".into()) };
            assert_eq!((cards[0].index, cards[0].id.as_str()), (index, id));
            assert_eq!(cards[0].usb, Some(usb));
            assert_eq!(cards[0].bus.as_deref(), Some("platform-3f980000.usb-usb-0:1.2:1.0"));
            assert_eq!(fake.machine().pcms(&cards[0]).len(), 2);
            fake.unplug(index);
        }
        assert!(fake.machine().cards().is_empty());
    }

    #[test]
    fn who_holds_a_card_is_told_as_far_as_one_may_see() {
        let fake = Fake::new("holder");
        fake.headset(2, "Device");
        let card = &fake.machine().cards()[0];
        assert!(fake.machine().holders(card, 'p').is_empty());
        fake.link("proc/77/fd/5", "/dev/snd/pcmC2D0p");
        fake.link("proc/78/fd/5", "/dev/snd/pcmC20D0p");
        fake.write("proc/77/comm", "aplay");
        fake.write("proc/813/status", "Name:\talsa-sink\nTgid:\t812");
        assert_eq!(fake.machine().holders(card, 'p'), ["aplay (77)"], "by its descriptors");
        fake.held(2, 'p', 812, "pulseaudio", "system.slice/pulse.service");
        fake.write("proc/asound/card2/pcm1p/sub0/status", "state: RUNNING\nowner_pid   : 813");
        assert_eq!(fake.machine().holders(card, 'p'), ["pulseaudio (812, pulse.service)"], "the kernel knows better");
        assert!(fake.machine().holders(card, 'c').is_empty());
        fake.write("proc/asound/card2/pcm0c/sub0/status", "closed");
        fake.write("proc/asound/card2/pcm1c/sub0/status", "state: RUNNING\nowner_pid   : 900");
        assert_eq!(fake.machine().holders(card, 'c'), ["process 900"], "hidden from us");
    }

    #[test]
    fn the_group_that_we_are_not_in_is_named() {
        let fake = Fake::new("group");
        fake.headset(0, "Device");
        let card = &fake.machine().cards()[0];
        assert_eq!(fake.machine().missing_group(card), None, "no device, nothing known");
        fake.write("dev/snd/pcmC0D0p", "");
        let gid = fs::metadata(fake.0.join("dev/snd/pcmC0D0p")).unwrap().gid();
        fake.write("etc/group", &format!("nobody:x:1:\nsound:x:{gid}:"));
        fake.write("proc/self/status", &format!("Name:\tx\nGid:\t{0}\t{0}\t{0}\t{0}\nGroups:\t4 ", gid + 1));
        assert_eq!(fake.machine().missing_group(card).as_deref(), Some("sound"));
        fake.write("proc/self/status", &format!("Gid:\t1\t1\t1\t1\nGroups:\t4 {gid}"));
        assert_eq!(fake.machine().missing_group(card), None);
        fake.write("proc/self/status", "");
        fake.write("etc/group", "");
        assert_eq!(fake.machine().missing_group(card), Some(format!("number {gid}")));
    }
}
