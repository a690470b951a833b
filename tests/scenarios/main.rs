//! Every clause of the behaviour, tried on our programs and on the original's.

mod deaths;
mod harness;
