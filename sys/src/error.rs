//! What went wrong, in runit's words.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;

use crate::errno_text::{errno_of, phrase};

/// Something that could not be done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: OsString,
    why: Option<Errno>,
}

impl Error {
    /// `TEXT: ERR`, with runit's phrase for the error.
    pub fn new(text: impl Into<OsString>, why: Errno) -> Self {
        Self { text: text.into(), why: Some(why) }
    }

    /// `TEXT`, which says it all.
    pub fn plain(text: impl Into<OsString>) -> Self {
        Self { text: text.into(), why: None }
    }

    /// For `map_err` on a system call: says `text` and the call's reason.
    pub fn of(text: impl Into<OsString>) -> impl FnOnce(Errno) -> Self {
        move |why| Self::new(text, why)
    }

    /// For `map_err` on input and output: says `text` and the reason.
    pub fn of_io(text: impl Into<OsString>) -> impl FnOnce(io::Error) -> Self {
        move |why| Self::new(text, errno_of(&why))
    }

    /// The reason, if there is one.
    pub fn why(&self) -> Option<Errno> {
        self.why
    }

    /// The message, without a line end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut message = self.text.as_bytes().to_vec();
        if let Some(why) = self.why {
            message.extend_from_slice(b": ");
            message.extend_from_slice(phrase(why).as_bytes());
        }
        message
    }
}

/// Joins words, file names among them, to a text.
pub fn words<const N: usize>(parts: [&OsStr; N]) -> OsString {
    OsString::from_vec(parts.map(OsStr::as_bytes).concat())
}
