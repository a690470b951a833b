//! State: the meaning of sv's words (SV-4).

use servicedir::Command;
use servicedir::Command::{Alarm, Cont, Down, Exit, Hup, Interrupt, Kill, Once, Pause, Quit, Term, Up};

use crate::cli::Mode;
use crate::condition::Sign;

/// What sv does with each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Print its status.
    Status,
    /// Send commands, and perhaps wait until they are carried out.
    Control(ControlVerb),
    /// A command that runit's sv does not have.
    Own(OwnVerb),
}

/// The commands that runit's sv does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnVerb {
    /// Show all services in a table.
    List,
    /// Explain the state of a service by its recent history.
    Why,
    /// Check service directories for mistakes.
    Lint,
    /// Name the services that are not well.
    Health,
    /// Put a service into the services directory.
    Enable,
    /// Take a service out of it.
    Disable,
}

impl OwnVerb {
    /// Only the whole word: `e`, `enabl`, `d`, `disabl` and `h`, `healt` keep their old meaning, and in an init
    /// script, which other programs call with their own words, the whole words do, too (SV-4).
    fn parse(word: &[u8], mode: Mode) -> Option<Self> {
        if mode == Mode::Script {
            return None;
        }
        Some(match word {
            b"list" => Self::List,
            b"why" => Self::Why,
            b"lint" => Self::Lint,
            b"health" => Self::Health,
            b"enable" => Self::Enable,
            b"disable" => Self::Disable,
            _ => return None,
        })
    }
}

/// The commands to send, and when they are carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlVerb {
    /// The commands, sent in one write.
    pub commands: &'static [Command],
    /// What shows that they are carried out.
    pub signs: &'static [Sign],
    /// Whether sv waits even without `-v`.
    pub waits: bool,
    /// Whether a service that takes too long gets KILL.
    pub kills: bool,
}

impl ControlVerb {
    /// Whether runsv itself ends, so that a missing runsv is success (SV-41).
    pub fn ends_runsv(self) -> bool {
        self.commands.contains(&Exit)
    }
}

impl Verb {
    /// Parses a word; `None` if it has no meaning. Whole words come first, then the first letter decides.
    pub fn parse(word: &[u8], mode: Mode) -> Option<Self> {
        let own = || OwnVerb::parse(word, mode).map(Self::Own);
        Self::whole_word(word).or_else(own).or_else(|| Self::by_first_letter(word, mode))
    }

    /// Whether the word makes sense without the name of a service.
    pub fn may_be_alone(self) -> bool {
        matches!(self, Self::Own(OwnVerb::List | OwnVerb::Lint | OwnVerb::Health))
    }

    /// Whether its output can be JSON.
    pub fn has_json(self) -> bool {
        matches!(self, Self::Status | Self::Own(OwnVerb::List))
    }

    fn whole_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"status" => Self::Status,
            b"start" => waiting(&[Up], &[Sign::Up]),
            b"stop" => waiting(&[Down], &[Sign::Down]),
            b"restart" => waiting(RESTART, RESTARTED),
            b"try-restart" => waiting(TERMINATE, TERMINATED),
            b"reload" => waiting(&[Hup], &[]),
            b"shutdown" => waiting(&[Exit], &[Sign::Gone]),
            b"check" => waiting(&[], &[Sign::AsRequested]),
            b"force-stop" => killing(&[Down], &[Sign::Down]),
            b"force-reload" => killing(TERMINATE, TERMINATED),
            b"force-restart" => killing(RESTART, RESTARTED),
            b"force-shutdown" => killing(&[Exit], &[Sign::Gone]),
            _ => return None,
        })
    }

    fn by_first_letter(word: &[u8], mode: Mode) -> Option<Self> {
        Some(match word.first()? {
            b's' if mode == Mode::Sv => Self::Status,
            b'u' => plain(&[Up], &[Sign::Up]),
            b'd' => plain(&[Down], &[Sign::Down]),
            b'o' => plain(&[Once], &[Sign::Once]),
            b'p' => plain(&[Pause], &[Sign::Paused]),
            b'c' => plain(&[Cont], &[Sign::Continued]),
            b'h' => plain(&[Hup], &[]),
            b'a' => plain(&[Alarm], &[]),
            b'i' => plain(&[Interrupt], &[]),
            b'q' => plain(&[Quit], &[]),
            b'1' => plain(&[Command::Usr1], &[]),
            b'2' => plain(&[Command::Usr2], &[]),
            b't' => plain(&[Term], &[Sign::Renewed]),
            b'k' => plain(&[Kill], &[Sign::Renewed]),
            b'x' | b'e' => plain(&[Exit], &[Sign::Gone]),
            b'D' => killing(&[Down], &[Sign::Down]),
            b'T' => killing(TERMINATE, TERMINATED),
            b'X' | b'E' => killing(&[Exit], &[Sign::Gone]),
            _ => return None,
        })
    }
}

const TERMINATE: &[Command] = &[Term, Cont];
const TERMINATED: &[Sign] = &[Sign::Renewed, Sign::Continued];
const RESTART: &[Command] = &[Term, Cont, Up];
const RESTARTED: &[Sign] = &[Sign::Renewed, Sign::Continued, Sign::Up];

/// A word that waits only with `-v` or `-w`.
fn plain(commands: &'static [Command], signs: &'static [Sign]) -> Verb {
    Verb::Control(ControlVerb { commands, signs, waits: false, kills: false })
}

/// A word that always waits.
fn waiting(commands: &'static [Command], signs: &'static [Sign]) -> Verb {
    Verb::Control(ControlVerb { commands, signs, waits: true, kills: false })
}

/// A word that always waits, and sends KILL to a service that is late.
fn killing(commands: &'static [Command], signs: &'static [Sign]) -> Verb {
    Verb::Control(ControlVerb { commands, signs, waits: true, kills: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes, whether it waits, whether it kills; or what else the word is.
    fn meaning(word: &str, mode: Mode) -> String {
        match Verb::parse(word.as_bytes(), mode) {
            None => "usage".to_owned(),
            Some(Verb::Status) => "status".to_owned(),
            Some(Verb::Own(word)) => format!("{word:?}"),
            Some(Verb::Control(verb)) => {
                let bytes: String = verb.commands.iter().map(|command| char::from(command.byte())).collect();
                let waits = if verb.waits { " waits" } else { "" };
                let kills = if verb.kills { " kills" } else { "" };
                format!("{bytes}{waits}{kills}")
            }
        }
    }

    #[test]
    fn every_row_of_the_table_means_what_it_says() {
        for (words, expected) in [
            ("status stat s sx starting statusx shutdow stopp st", "status"),
            ("u up upgrade", "u"),
            ("d down disabl disables dis di", "d"),
            ("o once", "o"),
            ("p pause", "p"),
            ("h hup healt healths he", "h"),
            ("a alarm", "a"),
            ("i interrupt int", "i"),
            ("k kill", "k"),
            ("q quit", "q"),
            ("1 1x", "1"),
            ("2 2x", "2"),
            ("c cont checks chec", "c"),
            ("t term try try-restar", "t"),
            ("x exit e ex en enabl enables xyz", "x"),
            ("start", "u waits"),
            ("stop", "d waits"),
            ("restart", "tcu waits"),
            ("try-restart", "tc waits"),
            ("reload", "h waits"),
            ("shutdown", "x waits"),
            ("check", " waits"),
            ("force-stop D Down", "d waits kills"),
            ("force-reload T Term", "tc waits kills"),
            ("force-restart", "tcu waits kills"),
            ("force-shutdown X E Exit", "x waits kills"),
            ("list", "List"),
            ("why", "Why"),
            ("lint", "Lint"),
            ("health", "Health"),
            ("enable", "Enable"),
            ("disable", "Disable"),
            ("r restar reloa f force force-sto USR1 S U C json ? 3", "usage"),
            ("l li lis lists lin lints w wh whys", "usage"),
        ] {
            for word in words.split(' ') {
                assert_eq!(meaning(word, Mode::Sv), expected, "{word}");
            }
        }
        assert_eq!(meaning("", Mode::Sv), "usage");
    }

    #[test]
    fn an_init_script_knows_no_abbreviation_of_status() {
        for (words, expected) in [
            ("status", "status"),
            ("start", "u waits"),
            ("stop", "d waits"),
            ("shutdown", "x waits"),
            ("stat s sx shutdow", "usage"),
            ("u up", "u"),
            ("e enable", "x"),
            ("disable", "d"),
            ("health", "h"),
            ("list lint why", "usage"),
        ] {
            for word in words.split(' ') {
                assert_eq!(meaning(word, Mode::Script), expected, "{word}");
            }
        }
    }

    #[test]
    fn only_words_that_end_runsv_expect_its_end() {
        let ends_runsv = |word: &str| match Verb::parse(word.as_bytes(), Mode::Sv) {
            Some(Verb::Control(verb)) => verb.ends_runsv(),
            _ => false,
        };
        assert!(["exit", "shutdown", "force-shutdown", "X"].into_iter().all(ends_runsv));
        assert!(!["down", "stop", "check", "status", "kill"].into_iter().any(ends_runsv));
    }
}
