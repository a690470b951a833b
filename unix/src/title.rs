//! The arguments of this process as others see them (in `ps`): memory that may be written over.

use std::ffi::{CStr, c_char, c_int};
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// The argument vector the C runtime was entered with.
static COUNT: AtomicI32 = AtomicI32::new(0);
static VECTOR: AtomicPtr<*mut c_char> = AtomicPtr::new(std::ptr::null_mut());

#[cfg(target_env = "gnu")]
extern "C" fn note_arguments(count: c_int, vector: *mut *mut c_char, _environment: *mut *mut c_char) {
    COUNT.store(count, Ordering::Relaxed);
    VECTOR.store(vector, Ordering::Relaxed);
}

// SAFETY: `.init_array` holds pointers to functions that glibc calls once before `main` with the
// arguments of main; this one touches only two atomics.
#[cfg(target_env = "gnu")]
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_ARGUMENTS: extern "C" fn(c_int, *mut *mut c_char, *mut *mut c_char) = note_arguments;

/// One argument of this process, where the kernel shows it to others.
pub struct ShownArgument {
    start: *mut u8,
    length: usize,
}

impl ShownArgument {
    /// The argument with this index; `None` if there is none, or if the C library does not tell
    /// where it is (only glibc does).
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
        Some(Self { start: start.cast(), length })
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

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_what_others_see() {
        let mut name = ShownArgument::find(0).expect("a name");
        let before = name.text();
        let mut after = before.clone();
        after.fill(b'x');
        name.show(&[after.as_slice(), b"too long"].concat());
        let seen = fs_err::read("/proc/self/cmdline").expect("own command line");
        name.show(&before);
        assert!(seen.starts_with(&after));
        assert_ne!(seen.get(after.len()), Some(&b't'));
        assert!(ShownArgument::find(usize::MAX).is_none());
    }
}
