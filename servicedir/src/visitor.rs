//! The other end of the contract (sv, init): is runsv there, what is the status, send a command.
