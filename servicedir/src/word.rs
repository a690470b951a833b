//! The files that say in one word how a service is stopped: `down-signal`, `timeout-kill`, `timeout-finish`.

use std::io;
use std::path::Path;

/// What has so many bytes is not one short line.
const TOO_MUCH: usize = 64;

/// The word in a file, without the white space around it; `None` if there is something else in it.
/// Nothing that stands in the place of such a file is waited for.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    sys::read_start(path, TOO_MUCH).map(parse)
}

fn parse(text: Vec<u8>) -> Option<String> {
    let is_short = text.len() < TOO_MUCH;
    String::from_utf8(text).ok().filter(|_| is_short).map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn any_bytes_are_a_short_word_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..TOO_MUCH + 2)) {
            if let Some(word) = parse(bytes) {
                prop_assert!(word.len() < TOO_MUCH && word.trim() == word);
            }
        }

        #[test]
        fn a_word_is_read_with_any_white_space_around_it(word in "[!-~]{1,16}", space in "[ \t\n]{0,8}") {
            prop_assert_eq!(parse(format!("{space}{word}{space}\n").into_bytes()), Some(word));
        }
    }
}
