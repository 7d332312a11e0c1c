//! What libasound has to say, kept from standard error.
//!
//! Its handler belongs to the thread, and so does what it has heard. A plug-in may complain each period: what was said
//! is thrown away whenever it becomes long, and of the rest only the beginning is told, with the error it belongs to.

use alsa::Output;
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    static HEARD: RefCell<Option<Rc<RefCell<Output>>>> = const { RefCell::new(None) };
}

/// Bytes after which what was said is thrown away.
const MOST: usize = 16 * 1024;

/// Hears this thread's libasound from now on; what it said before is forgotten.
pub(super) fn listen() {
    HEARD.with_borrow_mut(|heard| *heard = Output::local_error_handler().ok());
}

/// What it has said since, on one line.
pub(super) fn heard() -> String {
    HEARD.with_borrow(|heard| {
        let Some(heard) = heard else { return String::new() };
        let text = heard.borrow().buffer_string(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    })
}

/// Keeps what it says short. Allocates nothing unless it has said much.
pub(super) fn trim() {
    let long = HEARD.with_borrow(|heard| {
        heard.as_ref().is_some_and(|heard| heard.borrow().buffer_string(|bytes| bytes.len() > MOST))
    });
    if long {
        listen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libasound_says_is_heard_and_thrown_away_when_it_is_much() {
        let complain = || alsa::PCM::new("no such card", alsa::Direction::Playback, true).map(drop).unwrap_err();
        listen();
        complain();
        trim();
        let once = heard();
        assert!(once.contains("no such card"), "{once}");
        for _ in 0..2 * MOST / once.len() {
            complain();
        }
        assert!(heard().len() > MOST);
        trim();
        assert_eq!(heard(), "");
        complain();
        assert_eq!(heard(), once, "and goes on being heard");
    }
}
