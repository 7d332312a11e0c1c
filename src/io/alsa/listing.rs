//! `qss-endpoint devices`: the sound cards of the machine under the names that last, and what is in their way.

use super::machine::Machine;
use crate::config::card_name::CardIdentity;
use std::fmt::Write;

/// For an installer: what to write into `audio.capture` and `audio.playback`. Run as root it names every holder.
pub fn listing(machine: &Machine) -> String {
    let cards = machine.cards();
    if cards.is_empty() {
        return "no sound card is present\n".to_owned();
    }
    let mut text = String::new();
    for card in &cards {
        // A `String` takes everything.
        let _ = writeln!(text, "{}", card.title);
        let names = card.names(&cards);
        let first = names.first().map_or_else(|| format!("CARD={}", card.id), String::clone);
        for (device, directions) in devices(machine, card) {
            let _ = writeln!(text, "  hw:{first},DEV={device}  {directions}");
        }
        for name in names.iter().skip(1) {
            let _ = writeln!(text, "  {name}  means the same card");
        }
        for (letter, direction) in [('c', "capture"), ('p', "playback")] {
            match machine.holders(card, letter) {
                holders if holders.is_empty() => {}
                holders => {
                    let _ = writeln!(text, "  {direction} is held by {}", holders.join(", "));
                }
            }
        }
        if let Some(group) = machine.missing_group(card) {
            let _ = writeln!(text, "  for group {group} only, which this user is not in");
        }
    }
    text
}

/// The card's PCM devices by number, and which way their sound goes.
fn devices(machine: &Machine, card: &CardIdentity) -> Vec<(u32, &'static str)> {
    let pcms = machine.pcms(card);
    let mut numbers: Vec<u32> = pcms.iter().map(|(device, _)| *device).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let directions = |device| match (pcms.contains(&(device, 'c')), pcms.contains(&(device, 'p'))) {
        (true, true) => "capture and playback",
        (true, false) => "capture",
        (false, _) => "playback",
    };
    numbers.into_iter().map(|device| (device, directions(device))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::alsa::machine::fake::Fake;

    #[test]
    fn an_installer_sees_what_to_write_and_who_is_in_the_way() {
        let fake = Fake::new("listing");
        assert_eq!(listing(&fake.machine()), "no sound card is present\n");
        fake.headset(1, "Device");
        fake.codec(0, "rockchipes8388");
        fake.held(
            1,
            'c',
            812,
            "pipewire",
            "user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service",
        );
        assert_eq!(
            listing(&fake.machine()),
            "rockchip-es8388\n  hw:CARD=rockchipes8388,DEV=0  capture and playback\n  \
             BUS=platform-es8388-sound  means the same card\n\
             USB PnP Audio\n  hw:USB=0d8c:0014:A1B2,DEV=0  capture and playback\n  \
             USB=0d8c:0014  means the same card\n  \
             BUS=platform-3f980000.usb-usb-0:1.2:1.0  means the same card\n  \
             CARD=Device  means the same card\n  \
             capture is held by pipewire (812, pipewire.service)\n"
        );
    }
}
