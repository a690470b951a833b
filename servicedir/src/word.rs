//! The files that say in one word how a service is stopped: `down-signal`, `timeout-kill`, `timeout-finish`.

use std::io;
use std::path::Path;

/// What has so many bytes is not one short line.
const TOO_MUCH: usize = 64;

/// The word in a file, without the white space around it; `None` if there is something else in it.
/// Nothing that stands in the place of such a file is waited for.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let text = sys::read_start(path, TOO_MUCH)?;
    let is_short = text.len() < TOO_MUCH;
    Ok(String::from_utf8(text).ok().filter(|_| is_short).map(|text| text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_short_and_text() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("word");
        let read_back = |content: &[u8]| {
            fs_err::write(&file, content).expect("a file");
            read(&file).expect("a file")
        };
        assert_eq!(read_back(b" QUIT\n").as_deref(), Some("QUIT"));
        assert_eq!(read_back(b"").as_deref(), Some(""));
        assert_eq!(read_back(b"\xff\n"), None);
        assert_eq!(read_back(&[b'1'; TOO_MUCH]), None);
        fs_err::remove_file(&file).expect("no file");
        assert_eq!(read(&file).expect_err("no file").kind(), io::ErrorKind::NotFound);
        assert_eq!(read(Path::new("/dev/zero")).expect("zeros"), None);
    }
}
