//! RTP and RTCP (RFC 3550), sans IO, on `rtp-types` and `rtcp-types`.
