//! runsv's end of the contract: makes `supervise/`, holds the lock and the FIFOs, writes the status.
