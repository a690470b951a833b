//! State: what each signal means to init.

use sys::Signal;

/// Every signal that init takes: all that a process can take. Its children get their default actions.
pub static CAUGHT: [Signal; 62] = caught();

/// What a signal is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalMeaning {
    /// Stop everything.
    Stop,
    /// Look at the services directory now.
    Scan,
    /// It is COMMAND's.
    PassOn,
    /// Stop as a job of a shell.
    Suspend,
    /// Nothing, as for every program that does not handle it.
    Nothing,
    /// Nothing, but the sending process may have meant something by it.
    Unknown,
}

/// The meaning of a signal; with `is_kernels` a terminal or the kernel itself has sent it.
pub fn meaning(signal: Signal, is_kernels: bool, is_command_up: bool) -> SignalMeaning {
    match signal {
        Signal::TERM | Signal::INT | Signal::PWR => SignalMeaning::Stop,
        _ if signal == Signal::real_time(3) => SignalMeaning::Stop,
        // The terminal is gone.
        Signal::HUP if is_kernels => SignalMeaning::Stop,
        _ if is_command_up => SignalMeaning::PassOn,
        Signal::QUIT | Signal::HUP => SignalMeaning::Stop,
        Signal::ALRM => SignalMeaning::Scan,
        Signal::TSTP | Signal::TTIN | Signal::TTOU => SignalMeaning::Suspend,
        Signal::CONT => SignalMeaning::Nothing,
        _ if is_kernels => SignalMeaning::Nothing,
        _ => SignalMeaning::Unknown,
    }
}

const fn caught() -> [Signal; 62] {
    let mut signals = [Signal::CHLD; 62];
    let (mut rest, mut number): (&mut [Signal], _) = (&mut signals, 1);
    while let Some((next, others)) = rest.split_first_mut() {
        if number == Signal::KILL.0 || number == Signal::STOP.0 {
            number += 1;
        }
        *next = Signal(number);
        number += 1;
        rest = others;
    }
    signals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signals_but_two_are_caught_once() {
        let all = (1..=Signal::LAST).map(Signal);
        let caught: Vec<Signal> =
            all.filter(|signal| ![Signal::KILL, Signal::STOP].contains(signal)).collect();
        assert_eq!(caught, CAUGHT);
    }

    #[test]
    fn with_a_command_only_requests_to_stop_are_not_passed_on() {
        let with_command = |signal| meaning(signal, false, true);
        let stopping: Vec<Signal> =
            CAUGHT.into_iter().filter(|signal| with_command(*signal) != SignalMeaning::PassOn).collect();
        assert_eq!(stopping, [Signal::INT, Signal::TERM, Signal::PWR, Signal::real_time(3)]);
        assert_eq!(meaning(Signal::HUP, true, true), SignalMeaning::Stop);
        assert_eq!(meaning(Signal::WINCH, true, true), SignalMeaning::PassOn);
    }

    #[test]
    fn without_a_command_those_that_images_stop_with_stop() {
        for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::PWR] {
            assert_eq!(meaning(signal, false, false), SignalMeaning::Stop, "{signal}");
        }
        assert_eq!(meaning(Signal::USR1, false, false), SignalMeaning::Unknown);
        assert_eq!(meaning(Signal::WINCH, false, false), SignalMeaning::Unknown);
        assert_eq!(meaning(Signal::WINCH, true, false), SignalMeaning::Nothing);
    }
}
