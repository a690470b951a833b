//! Looking for bytes among bytes, as fast as the C library does it.

use std::io::{self, ErrorKind, Read};

/// So much of a file is looked through at a time: memory for all of it would take longer to be had than
/// the file to be read.
const PART_OF_FILE: usize = 32 << 10;

/// Whether what can be read has `part` somewhere in it.
pub fn is_in(mut file: impl Read, part: &[u8]) -> io::Result<bool> {
    // What has been read may end within the part: its last bytes are looked at again.
    let overlap = part.len().saturating_sub(1);
    let mut text = vec![0; PART_OF_FILE.max(2 * part.len())];
    let mut length = 0;
    loop {
        let Some(rest) = text.get_mut(length..) else { return Ok(false) };
        match file.read(rest) {
            Ok(0) => return Ok(text.get(..length).is_some_and(|text| contains(text, part))),
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length == text.len() {
            if contains(&text, part) {
                return Ok(true);
            }
            text.copy_within(length - overlap.., 0);
            length = overlap;
        }
    }
}

/// Whether `text` has `part` somewhere in it.
fn contains(text: &[u8], part: &[u8]) -> bool {
    // SAFETY: memmem reads so many bytes from both places, which are that long.
    let found = unsafe { libc::memmem(text.as_ptr().cast(), text.len(), part.as_ptr().cast(), part.len()) };
    !found.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that comes in pieces of this size.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(to.len()).min(self.0.len());
            let (piece, rest) = self.0.split_at(length);
            to[..length].copy_from_slice(piece);
            self.0 = rest;
            Ok(length)
        }
    }

    #[test]
    fn a_part_of_a_file_is_found_wherever_it_is() {
        let part = b"needle";
        let places = [0, 1, PART_OF_FILE - 6, PART_OF_FILE - 5, PART_OF_FILE - 1, PART_OF_FILE, 70_000];
        for place in places {
            for size in [7, 4096, usize::MAX] {
                let mut file = vec![b'n'; place];
                file.extend_from_slice(part);
                assert!(is_in(Pieces(&file, size), part).expect("a file"), "{place} {size}");
                file.resize(file.len() + 40_000, b'e');
                assert!(is_in(Pieces(&file, size), part).expect("a file"), "{place} {size}");
                file[place] = b'x';
                assert!(!is_in(Pieces(&file, size), part).expect("a file"), "{place} {size}");
            }
        }
        assert!(!is_in(Pieces(b"", 1), part).expect("a file"));
    }

    #[test]
    fn a_part_is_found_wherever_it_is() {
        for text in ["needle", "a needle", "needles", "nneedleneedle"] {
            assert!(contains(text.as_bytes(), b"needle"), "{text}");
        }
        for text in ["", "needl", "nee dle"] {
            assert!(!contains(text.as_bytes(), b"needle"), "{text}");
        }
    }
}
