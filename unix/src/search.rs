//! Looking for bytes among bytes, as fast as the C library does it.

/// Whether `text` has `part` somewhere in it.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    // SAFETY: memmem reads so many bytes from both places, which are that long.
    let found = unsafe { libc::memmem(text.as_ptr().cast(), text.len(), part.as_ptr().cast(), part.len()) };
    !found.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

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
