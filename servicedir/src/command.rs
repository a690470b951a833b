//! The bytes of `supervise/control` (RSV-30).

use sys::Signal;

/// A command to a supervised service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// `u`: keep it running.
    Up,
    /// `d`: stop it and leave it down.
    Down,
    /// `o`: start it, but not again.
    Once,
    /// `x`: stop it, and runsv too.
    Exit,
    /// `p`: SIGSTOP.
    Pause,
    /// `c`: SIGCONT.
    Cont,
    /// `h`: SIGHUP.
    Hup,
    /// `a`: SIGALRM.
    Alarm,
    /// `i`: SIGINT.
    Interrupt,
    /// `q`: SIGQUIT.
    Quit,
    /// `1`: SIGUSR1.
    Usr1,
    /// `2`: SIGUSR2.
    Usr2,
    /// `t`: SIGTERM.
    Term,
    /// `k`: SIGKILL.
    Kill,
}

impl Command {
    /// Every command with its byte.
    pub const ALL: [(u8, Self); 14] = [
        (b'u', Self::Up),
        (b'd', Self::Down),
        (b'o', Self::Once),
        (b'x', Self::Exit),
        (b'p', Self::Pause),
        (b'c', Self::Cont),
        (b'h', Self::Hup),
        (b'a', Self::Alarm),
        (b'i', Self::Interrupt),
        (b'q', Self::Quit),
        (b'1', Self::Usr1),
        (b'2', Self::Usr2),
        (b't', Self::Term),
        (b'k', Self::Kill),
    ];

    /// The command of a byte; `None` for the many that runsv skips silently (RSV-26).
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(letter, _)| *letter == byte).map(|(_, command)| *command)
    }

    /// The byte of the command.
    pub fn byte(self) -> u8 {
        Self::ALL.iter().find(|(_, command)| *command == self).map_or(b'?', |(letter, _)| *letter)
    }

    /// The signal the command stands for, if it stands for one.
    pub fn signal(self) -> Option<Signal> {
        Some(match self {
            Self::Up | Self::Down | Self::Once | Self::Exit => return None,
            Self::Pause => Signal::STOP,
            Self::Cont => Signal::CONT,
            Self::Hup => Signal::HUP,
            Self::Alarm => Signal::ALRM,
            Self::Interrupt => Signal::INT,
            Self::Quit => Signal::QUIT,
            Self::Usr1 => Signal::USR1,
            Self::Usr2 => Signal::USR2,
            Self::Term => Signal::TERM,
            Self::Kill => Signal::KILL,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_command_has_one_byte_and_back() {
        for (byte, command) in Command::ALL {
            assert_eq!(Command::from_byte(byte), Some(command));
            assert_eq!(command.byte(), byte);
        }
        for byte in [b'\n', b'U', b'3', 0] {
            assert_eq!(Command::from_byte(byte), None);
        }
    }

    proptest! {
        #[test]
        fn any_byte_is_one_command_or_none(byte: u8) {
            prop_assert!(Command::from_byte(byte).is_none_or(|command| command.byte() == byte));
        }
    }
}
