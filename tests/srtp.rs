//! Protection of media, held against another implementation packet by packet, and against who replays and forges.

use qss_endpoint::random::Rng;
use qss_endpoint::srtp::{Entropy, Inbound, Keying, MAX_OVERHEAD, MAX_SOURCES, Outbound, Rejected, Suite};
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

const SSRC: u32 = 0xdead_beef;

fn keying(suite: Suite, seed: u64) -> Keying {
    let mut rng = Rng::from_u64(seed);
    Entropy::new(std::array::from_fn(|_| rng.next_u32() as u8)).keying(suite)
}

/// The other implementation, in one direction.
fn other(keying: &Keying) -> Context {
    let profile = match keying.suite() {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let (key, salt) = keying.bytes().split_at(keying.suite().key_len());
    let (rtp, rtcp) = (srtp_replay_protection(64), srtcp_replay_protection(64));
    Context::new(key, salt, profile, Some(rtp), Some(rtcp)).unwrap()
}

fn rtp(ssrc: u32, sequence_number: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence_number.to_be_bytes());
    packet.extend((u32::from(sequence_number).wrapping_mul(960)).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// CSRCs and an extension now and then, payloads of every length.
fn any_rtp(rng: &mut Rng, sequence_number: u16) -> Vec<u8> {
    let mut packet = rtp(SSRC, sequence_number, &[]);
    packet[1] |= (rng.below(2) as u8) << 7;
    let sources = rng.below(4) as u8;
    packet[0] |= sources;
    packet.extend((0..4 * sources).map(|n| n ^ 0x55));
    if rng.below(3) == 0 {
        packet[0] |= 0x10;
        let words = 1 + rng.below(4) as u8;
        packet.extend([0x12, 0x34, 0, words]);
        packet.extend(vec![7; usize::from(words) * 4]);
    }
    packet.extend((0..rng.below(200)).map(|_| rng.next_u32() as u8));
    packet
}

fn any_rtcp(rng: &mut Rng) -> Vec<u8> {
    let words = 6 + rng.below(20) as u8;
    let mut packet = vec![0x80, 200, 0, words];
    packet.extend(SSRC.to_be_bytes());
    packet.extend((0..4 * (usize::from(words) - 1)).map(|_| rng.next_u32() as u8));
    packet
}

fn seal(sender: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let len = sender.seal_rtp(&mut buffer, packet.len()).expect("a packet to seal");
    buffer.truncate(len);
    buffer
}

fn seal_rtcp(sender: &mut Outbound, packet: &[u8]) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    let len = sender.seal_rtcp(&mut buffer, packet.len()).expect("a report to seal");
    buffer.truncate(len);
    buffer
}

fn open(receiver: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, Rejected> {
    let mut buffer = sealed.to_vec();
    let opened = receiver.open_rtp(&mut buffer);
    match opened {
        Ok(len) => buffer.truncate(len),
        Err(_) => assert_eq!(buffer, sealed, "a refused packet is left as it was"),
    }
    opened.map(|_| buffer)
}

fn open_rtcp(receiver: &mut Inbound, sealed: &[u8]) -> Result<Vec<u8>, Rejected> {
    let mut buffer = sealed.to_vec();
    let len = receiver.open_rtcp(&mut buffer)?;
    buffer.truncate(len);
    Ok(buffer)
}

/// More than 2^17 packets of each suite: the roll-over counter becomes 1, and 2.
#[test]
fn another_implementation_makes_the_same_packets_over_two_roll_overs() {
    for suite in Suite::ALL {
        let mut rng = Rng::from_u64(suite as u64);
        let keying = keying(suite, 1);
        let (mut ours, mut theirs) = (Outbound::new(keying), other(&keying));
        let (mut receiver, mut their_receiver) = (Inbound::new(keying), other(&keying));
        for n in 30_000..30_000u32 + (1 << 17) {
            let packet = any_rtp(&mut rng, n as u16);
            let sealed = seal(&mut ours, &packet);
            assert_eq!(sealed.len(), packet.len() + suite.rtp_overhead());
            assert_eq!(theirs.encrypt_rtp(&packet).unwrap(), sealed, "{suite:?}, packet {n}");
            assert_eq!(their_receiver.decrypt_rtp(&sealed).unwrap(), packet, "{suite:?}, packet {n}");
            assert_eq!(open(&mut receiver, &sealed), Ok(packet), "{suite:?}, packet {n}");
        }
    }
}

#[test]
fn another_implementation_makes_the_same_reports() {
    for suite in Suite::ALL {
        let mut rng = Rng::from_u64(7);
        let keying = keying(suite, 2);
        let (mut ours, mut theirs) = (Outbound::new(keying), other(&keying));
        let (mut receiver, mut their_receiver) = (Inbound::new(keying), other(&keying));
        // RFC 3711 3.4: the first report has the index 0. Theirs has 1.
        let first = any_rtcp(&mut rng);
        let sealed = seal_rtcp(&mut ours, &first);
        assert_eq!(their_receiver.decrypt_rtcp(&sealed).unwrap(), first);
        assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(first));
        for _ in 0..500 {
            let packet = any_rtcp(&mut rng);
            let sealed = seal_rtcp(&mut ours, &packet);
            assert_eq!(sealed.len(), packet.len() + suite.rtcp_overhead());
            assert_eq!(theirs.encrypt_rtcp(&packet).unwrap(), sealed, "{suite:?}");
            assert_eq!(their_receiver.decrypt_rtcp(&sealed).unwrap(), packet, "{suite:?}");
            assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(packet), "{suite:?}");
            assert_eq!(open_rtcp(&mut receiver, &sealed), Err(Rejected::Replayed), "{suite:?}");
        }
    }
}

#[test]
fn what_was_replayed_forged_or_cut_is_refused_and_changes_nothing() {
    for suite in Suite::ALL {
        let keying = keying(suite, 3);
        let (mut sender, mut receiver) = (Outbound::new(keying), Inbound::new(keying));
        let sealed: Vec<Vec<u8>> =
            (0..300u16).map(|n| seal(&mut sender, &rtp(SSRC, n, b"twenty milliseconds"))).collect();
        assert!(open(&mut receiver, &sealed[0]).is_ok());
        // Each bit of a packet that has not come yet.
        for bit in 0..sealed[1].len() * 8 {
            let mut forged = sealed[1].clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let refused = open(&mut receiver, &forged);
            assert!(matches!(refused, Err(Rejected::Forged | Rejected::Malformed | Rejected::Replayed)), "{refused:?}");
        }
        for len in 0..sealed[1].len() {
            assert!(open(&mut receiver, &sealed[1][..len]).is_err());
        }
        assert_eq!(open(&mut receiver, &rtp(SSRC, 1, b"this one is plain, and long enough")), Err(Rejected::Forged));
        // None of these moved the window, and another key is another key.
        assert_eq!(open(&mut receiver, &sealed[1]).unwrap()[12..], *b"twenty milliseconds");
        assert_eq!(open(&mut Inbound::new(self::keying(suite, 4)), &sealed[1]), Err(Rejected::Forged));
        for packet in &sealed[2..] {
            assert!(open(&mut receiver, packet).is_ok());
        }
        for packet in &sealed {
            assert_eq!(open(&mut receiver, packet), Err(Rejected::Replayed), "the old ones, too");
        }
    }
}

#[test]
fn forged_reports_are_refused() {
    for suite in Suite::ALL {
        let keying = keying(suite, 5);
        let (mut sender, mut receiver) = (Outbound::new(keying), Inbound::new(keying));
        let report = any_rtcp(&mut Rng::from_u64(5));
        let sealed = seal_rtcp(&mut sender, &report);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(open_rtcp(&mut receiver, &forged).is_err(), "{suite:?}, bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(open_rtcp(&mut receiver, &sealed[..len]).is_err());
        }
        assert_eq!(open_rtcp(&mut receiver, &report), Err(Rejected::Forged));
        assert_eq!(open_rtcp(&mut receiver, &sealed), Ok(report));
    }
}

/// Loss and disorder, also across the edge of the sequence number, in four hundred thousand packets.
#[test]
fn disorder_and_loss_across_the_roll_over_lose_nothing_that_came() {
    let keying = keying(Suite::AesCm128HmacSha1_80, 6);
    let (mut sender, mut receiver) = (Outbound::new(keying), Inbound::new(keying));
    let mut rng = Rng::from_u64(6);
    let mut under_way: Vec<(u32, Vec<u8>)> = Vec::new();
    for n in 20_000..20_000u32 + (3 << 16) {
        let sealed = seal(&mut sender, &rtp(SSRC, n as u16, &n.to_be_bytes()));
        let edge = (n + 300) & 0xffff < 600;
        if rng.below(if edge { 4 } else { 50 }) != 0 {
            under_way.push((n, sealed));
        }
        while under_way.len() > if edge { 60 } else { 3 } {
            let (n, sealed) = under_way.remove(rng.below(under_way.len().min(10) as u64) as usize);
            assert_eq!(open(&mut receiver, &sealed).unwrap()[12..], n.to_be_bytes(), "packet {n}");
            if edge {
                assert_eq!(open(&mut receiver, &sealed), Err(Rejected::Replayed));
            }
        }
    }
}

#[test]
fn a_source_whose_first_packets_were_lost_over_the_edge_is_heard() {
    let keying = keying(Suite::AeadAes128Gcm, 7);
    let (mut sender, mut receiver) = (Outbound::new(keying), Inbound::new(keying));
    let sealed: Vec<Vec<u8>> = (0xfff0..0x1_0010u32).map(|n| seal(&mut sender, &rtp(SSRC, n as u16, b"x"))).collect();
    for packet in &sealed[20..] {
        assert!(open(&mut receiver, packet).is_ok());
    }
    assert!(open(&mut receiver, &sealed[0]).is_ok(), "overtaken, not replayed");
}

#[test]
fn sources_are_told_apart_and_bounded() {
    let keying = keying(Suite::AeadAes256Gcm, 8);
    let mut receiver = Inbound::new(keying);
    let mut sealed = Vec::new();
    for ssrc in 0..MAX_SOURCES as u32 + 1 {
        // Under one key each source needs an SSRC of its own, and has a roll-over counter of its own.
        let mut sender = Outbound::new(keying);
        sealed.push([100, 101, 102].map(|n| seal(&mut sender, &rtp(ssrc, n, b"x"))));
    }
    let (last, known) = sealed.split_last().unwrap();
    for round in 0..3 {
        for packets in known {
            assert!(open(&mut receiver, &packets[round]).is_ok());
        }
    }
    let mut buffer = last[0].clone();
    assert_eq!(receiver.open_rtp(&mut buffer), Err(Rejected::TooManySources));
    assert_eq!(open(&mut receiver, &known[0][1]), Err(Rejected::Replayed), "nobody was forgotten for it");
}

#[test]
fn a_new_key_lets_the_old_packets_end_and_continues_or_resets_the_counter() {
    let (first, second) = (keying(Suite::AesCm128HmacSha1_80, 9), keying(Suite::AeadAes128Gcm, 10));
    for peer_resets in [false, true] {
        let (mut sender, mut receiver) = (Outbound::new(first), Inbound::new(first));
        for n in 0..70_000u32 {
            let sealed = seal(&mut sender, &rtp(SSRC, n as u16, b"x"));
            assert!(open(&mut receiver, &sealed).is_ok());
        }
        let late = seal(&mut sender, &rtp(SSRC, 70_000u32 as u16, b"x"));
        receiver.set_keying(first);
        assert!(
            open(&mut receiver, &seal(&mut sender, &rtp(SSRC, 70_001u32 as u16, b"x"))).is_ok(),
            "the same key goes on"
        );
        receiver.set_keying(second);
        if peer_resets {
            sender = Outbound::new(second)
        } else {
            sender.set_keying(second)
        }
        assert!(open(&mut receiver, &late).is_ok(), "under way when the key changed");
        for n in 70_002..140_000u32 {
            let sealed = seal(&mut sender, &rtp(SSRC, n as u16, b"x"));
            assert!(open(&mut receiver, &sealed).is_ok(), "packet {n}, reset: {peer_resets}");
            assert_eq!(open(&mut receiver, &sealed), Err(Rejected::Replayed));
        }
        let old = seal(&mut Outbound::new(first), &rtp(SSRC, 5, b"x"));
        assert!(open(&mut receiver, &old).is_err(), "the old key is gone");
    }
}

#[test]
fn a_new_key_goes_on_after_any_number_of_roll_overs_and_its_first_packet_ends_the_old_one() {
    let (first, second) = (keying(Suite::AesCm128HmacSha1_80, 13), keying(Suite::AeadAes128Gcm, 14));
    let (mut sender, mut receiver) = (Outbound::new(first), Inbound::new(first));
    let sealed = |sender: &mut Outbound, n: u32| seal(sender, &rtp(SSRC, n as u16, b"x"));
    // Two roll-overs in a few steps.
    for n in (0..160_000).step_by(20_000) {
        assert!(open(&mut receiver, &sealed(&mut sender, n)).is_ok(), "packet {n}");
    }
    let under_way = [160_000, 160_001].map(|n| sealed(&mut sender, n));
    sender.set_keying(second);
    receiver.set_keying(second);
    assert!(open(&mut receiver, &under_way[0]).is_ok());
    assert!(open(&mut receiver, &sealed(&mut sender, 160_002)).is_ok(), "the counter goes on at 2");
    assert_eq!(open(&mut receiver, &under_way[1]), Err(Rejected::Forged));
}

#[test]
fn nothing_leaves_twice_under_one_index() {
    let mut sender = Outbound::new(keying(Suite::AeadAes128Gcm, 11));
    let packet = rtp(SSRC, 7, b"x");
    let mut buffer = packet.clone();
    buffer.resize(packet.len() + MAX_OVERHEAD, 0);
    assert!(sender.seal_rtp(&mut buffer.clone(), packet.len()).is_some());
    assert_eq!(sender.seal_rtp(&mut buffer.clone(), packet.len()), None, "the same number again");
    assert_eq!(sender.seal_rtp(&mut packet.clone(), packet.len()), None, "no room for the tag");
    assert_eq!(sender.seal_rtp(&mut [0; 64], 40), None, "no RTP");
}

#[test]
fn any_bytes_are_refused_without_harm() {
    let mut rng = Rng::from_u64(12);
    for suite in Suite::ALL {
        let mut receiver = Inbound::new(keying(suite, 12));
        for _ in 0..50_000 {
            let mut bytes: Vec<u8> = (0..rng.below(120)).map(|_| rng.next_u32() as u8).collect();
            if let Some(first) = bytes.first_mut().filter(|_| rng.below(2) == 0) {
                *first = 0x80 | *first & 0x3f;
            }
            assert!(open(&mut receiver, &bytes).is_err());
            assert!(open_rtcp(&mut receiver, &bytes).is_err());
        }
    }
}
