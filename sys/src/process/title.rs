//! The arguments of this process as other processes see them (in `ps`): memory that may be written over.

use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The arguments of `main`.
static COUNT: AtomicI32 = AtomicI32::new(0);
static VECTOR: AtomicPtr<*const c_char> = AtomicPtr::new(std::ptr::null_mut());

/// Takes note of the arguments of `main`.
pub(crate) fn note(count: c_int, vector: *const *const c_char) {
    COUNT.store(count, Ordering::Relaxed);
    VECTOR.store(vector.cast_mut(), Ordering::Relaxed);
}

/// One argument of this process, where the kernel shows it to other processes.
pub struct ShownArgument {
    start: *mut u8,
    length: usize,
}

impl ShownArgument {
    /// The argument with this index, if there is one.
    pub fn find(index: usize) -> Option<Self> {
        let count = usize::try_from(COUNT.load(Ordering::Relaxed)).ok()?;
        let vector = VECTOR.load(Ordering::Relaxed);
        if vector.is_null() || index >= count {
            return None;
        }
        // SAFETY: the vector has `count` entries, each a NUL-terminated string in writable memory
        // that lives as long as the process.
        let (start, length) = unsafe {
            let start = *vector.add(index);
            (start, CStr::from_ptr(start).count_bytes())
        };
        Some(Self { start: start.cast_mut().cast(), length })
    }

    /// The argument as it is shown now.
    pub fn text(&self) -> Vec<u8> {
        // SAFETY: `length` bytes from `start` are initialised and live as long as the process; no
        // other thread writes them, as this type cannot be sent to one.
        unsafe { std::slice::from_raw_parts(self.start, self.length).to_vec() }
    }

    /// Shows `text` from now on, cut to the argument's length. A NUL byte ends what is seen.
    pub fn show(&mut self, text: &[u8]) {
        let length = text.len().min(self.length);
        // SAFETY: at most `length` bytes from `start` are written, which belong to this argument;
        // nothing holds a reference to them, as the standard library copies arguments when asked.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.start, length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_written_over_where_it_is() {
        let name = c"name".to_owned().into_raw();
        let vector = [name.cast_const()];
        note(1, vector.as_ptr());
        let mut shown = ShownArgument::find(0).expect("a name");
        assert_eq!(shown.text(), b"name");
        shown.show(b"else, and too long");
        assert_eq!(shown.text(), b"else");
        assert!(ShownArgument::find(1).is_none());
    }
}
