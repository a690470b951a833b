//! Reading small files of other users, where any kind of file may stand in their place: without blocking, and
//! no more than is needed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::fs::open::open_to_read;

/// The first `limit` bytes of a file, which may be without end. What a FIFO has not got now is not
/// waited for: it reads as empty, or fails.
pub fn read_start(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    take(open_to_read(path)?, limit)
}

/// The last `limit` bytes of an open file; the next ones, where a file has no end.
pub fn read_end(mut file: File, limit: usize) -> io::Result<Vec<u8>> {
    let about = file.metadata()?;
    if about.is_file() {
        file.seek(SeekFrom::Start(about.len().saturating_sub(bytes(limit))))?;
    }
    take(file, limit)
}

fn take(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(bytes(limit)).read_to_end(&mut text)?;
    Ok(text)
}

fn bytes(limit: usize) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;

    use super::*;

    fn read_end(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        super::read_end(open_to_read(path)?, limit)
    }

    fn in_a_directory(test: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().expect("a new directory");
        test(directory.path());
    }

    #[test]
    fn no_more_is_read_than_is_wanted() {
        in_a_directory(|directory| {
            let file = directory.join("file");
            fs_err::write(&file, "0123456789").expect("a file");
            assert_eq!(read_start(&file, 4).expect("a start"), b"0123");
            assert_eq!(read_end(&file, 4).expect("an end"), b"6789");
            for whole in [read_start(&file, 100), read_end(&file, 100)] {
                assert_eq!(whole.expect("a whole file"), b"0123456789");
            }
            assert_eq!(read_start(Path::new("/dev/zero"), 7).expect("zeros"), [0; 7]);
            assert_eq!(read_end(Path::new("/dev/zero"), 7).expect("zeros"), [0; 7]);
        });
    }

    #[test]
    fn nobody_is_waited_for() {
        in_a_directory(|directory| {
            let fifo = directory.join("fifo");
            nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("a fifo");
            assert_eq!(read_start(&fifo, 4).expect("no writer"), b"");
            let _reader = open_to_read(&fifo).expect("a reader");
            let _writer = fs_err::OpenOptions::new().write(true).open(&fifo).expect("a writer");
            assert_eq!(read_end(&fifo, 4).expect_err("nothing yet").kind(), io::ErrorKind::WouldBlock);
            assert!(read_start(directory, 4).is_err());
        });
    }
}
