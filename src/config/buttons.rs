//! Buttons of the device.

/// `[[button]]`: a key of an input device, and the command it stands for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Button {
    /// `/dev/input/by-path/…`.
    pub device: String,
    /// Name or number of the key.
    pub key: String,
    /// A line of the local socket.
    pub does: String,
    /// In a call the button hangs up instead.
    pub toggle: bool,
}
