//! runit's own phrases for the system's errors (GEN-3); libc's are never shown.

use std::error::Error;
use std::io;

use nix::errno::Errno;

/// What runit says for an error.
pub fn phrase(why: Errno) -> &'static str {
    match why {
        Errno::ENOENT => "file does not exist",
        Errno::EACCES => "access denied",
        Errno::EPERM => "permission denied",
        Errno::EAGAIN => "temporary failure",
        Errno::EEXIST => "file already exists",
        Errno::EISDIR => "is a directory",
        Errno::ENOTDIR => "not a directory",
        Errno::ELOOP => "symbolic link loop",
        Errno::ENAMETOOLONG => "file name too long",
        Errno::ENOSPC => "out of disk space",
        Errno::EROFS => "read-only file system",
        Errno::ENXIO => "device not configured",
        Errno::ENODEV => "device does not support operation",
        Errno::EBADF => "file descriptor not open",
        Errno::ENOEXEC => "exec format error",
        Errno::ETXTBSY => "text busy",
        Errno::ENOMEM => "out of memory",
        Errno::EINTR => "interrupted system call",
        Errno::EIO => "input/output error",
        Errno::EPIPE => "broken pipe",
        Errno::EINVAL => "invalid argument",
        Errno::ENFILE => "system cannot open more files",
        Errno::EMFILE => "process cannot open more files",
        Errno::E2BIG => "argument list too long",
        Errno::ESRCH => "no such process",
        Errno::ECHILD => "no child processes",
        Errno::EFAULT => "bad address",
        Errno::EBUSY => "device busy",
        Errno::EXDEV => "cross-device link",
        Errno::EMLINK => "too many links",
        Errno::EFBIG => "file too big",
        Errno::ESPIPE => "unseekable descriptor",
        Errno::ENOTTY => "not a tty",
        Errno::ENOTBLK => "not a block device",
        Errno::EDEADLK => "operation would cause deadlock",
        Errno::EDOM => "input out of range",
        Errno::ERANGE => "output out of range",
        Errno::ENOLCK => "no locks available",
        Errno::ENOSYS => "system call not available",
        Errno::ENOTEMPTY => "directory not empty",
        Errno::EUSERS => "too many users",
        Errno::EDQUOT => "disk quota exceeded",
        Errno::ESTALE => "stale NFS file handle",
        Errno::EREMOTE => "too many levels of remote in path",
        Errno::ETIMEDOUT => "timed out",
        Errno::EINPROGRESS => "operation in progress",
        Errno::EALREADY => "operation already in progress",
        Errno::EPROTO => "protocol error",
        Errno::ECONNREFUSED => "connection refused",
        Errno::ECONNABORTED => "connection aborted",
        Errno::ECONNRESET => "connection reset",
        Errno::ENOTSOCK => "not a socket",
        Errno::EDESTADDRREQ => "destination address required",
        Errno::EMSGSIZE => "message too long",
        Errno::EPROTOTYPE => "incorrect protocol type",
        Errno::ENOPROTOOPT => "protocol not available",
        Errno::EPROTONOSUPPORT => "protocol not supported",
        Errno::ESOCKTNOSUPPORT => "socket type not supported",
        Errno::EOPNOTSUPP => "operation not supported",
        Errno::EPFNOSUPPORT => "protocol family not supported",
        Errno::EAFNOSUPPORT => "address family not supported",
        Errno::EADDRINUSE => "address already used",
        Errno::EADDRNOTAVAIL => "address not available",
        Errno::ENETDOWN => "network down",
        Errno::ENETUNREACH => "network unreachable",
        Errno::ENETRESET => "network reset",
        Errno::ENOBUFS => "out of buffer space",
        Errno::EISCONN => "already connected",
        Errno::ENOTCONN => "not connected",
        Errno::ESHUTDOWN => "socket shut down",
        Errno::ETOOMANYREFS => "too many references",
        Errno::EHOSTDOWN => "host down",
        Errno::EHOSTUNREACH => "host unreachable",
        Errno::ENOSTR => "not a stream device",
        Errno::ETIME => "timer expired",
        Errno::ENOSR => "out of stream resources",
        Errno::ENOMSG => "no message of desired type",
        Errno::EBADMSG => "bad message type",
        Errno::EIDRM => "identifier removed",
        Errno::ENONET => "machine not on network",
        Errno::ENOLINK => "link severed",
        Errno::EADV => "advertise error",
        Errno::ESRMNT => "srmount error",
        Errno::ECOMM => "communication error",
        Errno::EMULTIHOP => "multihop attempted",
        Errno::EREMCHG => "remote address changed",
        Errno::UnknownErrno if why as i32 == 0 => "no error",
        _ => "unknown error",
    }
}

/// The system's error inside an error of input and output, however often it was wrapped.
pub fn errno_of(error: &io::Error) -> Errno {
    if let Some(number) = error.raw_os_error() {
        return Errno::from_raw(number);
    }
    let mut inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    while let Some(error) = inner {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Errno::from_raw(number);
        }
        inner = error.source();
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Errno::EPROTO,
        io::ErrorKind::InvalidInput => Errno::EINVAL,
        _ => Errno::UnknownErrno,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_is_found_inside_a_wrapped_error() {
        let error = fs_err::File::open("/no/such/file").expect_err("no such file");
        assert_eq!(errno_of(&error), Errno::ENOENT);
        assert_eq!(phrase(errno_of(&error)), "file does not exist");
    }

    #[test]
    fn an_error_without_a_phrase_is_unknown() {
        assert_eq!(phrase(Errno::EL2NSYNC), "unknown error");
        assert_eq!(phrase(Errno::from_raw(0)), "no error");
    }
}
