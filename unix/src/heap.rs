//! Memory: of a program after its start, and for copies of a process (see [`crate::fork`]), which get
//! their small pieces close together.
//!
//! A copy shares each page with the original until one of them writes to it. The C library hands out
//! the pieces that were given back last, wherever they are, so that the two kilobytes that a runsv
//! needs would lie on many pages, each of which would have to be duplicated. Here a copy has a place
//! for them that nobody has written to before. What does not fit goes the usual way.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr::null_mut;

/// The allocator of a program that makes copies of itself. As long as it is not a copy it is the
/// system's.
pub struct Heap;

/// How much room there is for small pieces: four pages, with what is known of them.
const ROOM: usize = (16 << 10) - 128;

/// Pieces have the sizes 16, 32, 64, ... bytes, up to this many.
const LARGEST: usize = 2048;
const SMALLEST: usize = 16;
const SIZES: usize = (LARGEST.ilog2() - SMALLEST.ilog2() + 1) as usize;

/// The room, and which parts of it are free. Begins a page, so that it takes no more than it must.
#[repr(C, align(4096))]
struct Place {
    is_open: Cell<bool>,
    /// So much of the room was handed out at some time.
    used: Cell<usize>,
    /// For each size the first of the pieces that were given back; each of them begins with the
    /// address of the next.
    free: [Cell<*mut u8>; SIZES],
    room: UnsafeCell<Room>,
}

#[repr(C, align(16))]
struct Room([u8; ROOM]);

/// The place of a program, which only one thread ever uses: see [`open`].
struct Own(Place);

// SAFETY: it is changed by `open`, whose caller vouches for the process having one thread for good,
// and by what follows that. Until then only `is_open` is read, which nobody writes.
unsafe impl Sync for Own {}

static PLACE: Own = Own(Place::new());

/// From now on small pieces come from the place for them.
///
/// # Safety
///
/// The process has one thread, and never starts another.
pub(crate) unsafe fn open() {
    PLACE.0.is_open.set(true);
}

/// The place, once it is open.
fn place() -> Option<&'static Place> {
    PLACE.0.is_open.get().then_some(&PLACE.0)
}

impl Place {
    const fn new() -> Self {
        Self {
            is_open: Cell::new(false),
            used: Cell::new(0),
            free: [const { Cell::new(null_mut()) }; SIZES],
            room: UnsafeCell::new(Room([0; ROOM])),
        }
    }

    /// Which of the sizes a piece has; `None` if it is none of ours.
    fn size_of(layout: Layout) -> Option<usize> {
        let is_ours = layout.size() <= LARGEST && layout.align() <= SMALLEST;
        let size = layout.size().max(SMALLEST).next_power_of_two();
        is_ours.then(|| (size.ilog2() - SMALLEST.ilog2()) as usize)
    }

    /// Whether a piece, wherever it is from, is in the room.
    fn has(&self, piece: *mut u8) -> bool {
        piece.addr().wrapping_sub(self.room.get().addr()) < ROOM
    }

    /// A piece that nobody else has; `None` if there is no room, or it is none of ours.
    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let number = Self::size_of(layout)?;
        let first = self.free.get(number)?;
        let piece = first.get();
        if !piece.is_null() {
            // SAFETY: a piece that was given back begins with the address of the next.
            first.set(unsafe { piece.cast::<*mut u8>().read_unaligned() });
            return Some(piece);
        }
        let start = self.used.get();
        let end = start + (SMALLEST << number);
        if end > ROOM {
            return None;
        }
        self.used.set(end);
        // SAFETY: the room is that long.
        Some(unsafe { self.room.get().cast::<u8>().add(start) })
    }

    /// Takes a piece back.
    ///
    /// # Safety
    ///
    /// It was taken from here with this layout, and nobody uses it any more.
    unsafe fn give_back(&self, piece: *mut u8, layout: Layout) {
        let Some(first) = Self::size_of(layout).and_then(|number| self.free.get(number)) else { return };
        // SAFETY: every piece is large enough for that.
        unsafe { piece.cast::<*mut u8>().write_unaligned(first.get()) }
        first.set(piece);
    }
}

// SAFETY: pieces are disjoint, as large as their layout says or larger, and aligned to 16 bytes, or
// they are the system's; each goes back to where it came from.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match place().and_then(|place| place.take(layout)) {
            Some(piece) => piece,
            // SAFETY: the caller keeps the contract.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match place().and_then(|place| place.take(layout)) {
            Some(piece) => {
                // SAFETY: the piece is that large.
                unsafe { piece.write_bytes(0, layout.size()) }
                piece
            }
            // SAFETY: the caller keeps the contract.
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        match place().filter(|place| place.has(piece)) {
            // SAFETY: it is of the place, and the caller keeps the contract.
            Some(place) => unsafe { place.give_back(piece, layout) },
            // SAFETY: it is not of the place, so it is the system's.
            None => unsafe { System.dealloc(piece, layout) },
        }
    }

    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !place().is_some_and(|place| place.has(piece)) {
            // SAFETY: it is not of the place, so it is the system's.
            return unsafe { System.realloc(piece, layout, size) };
        }
        // SAFETY: the caller vouches for the size being valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if Place::size_of(wanted) == Place::size_of(layout) {
            return piece;
        }
        // SAFETY: the new piece is as large as wanted and another one; the old one is given back as it
        // was taken.
        unsafe {
            let fresh = self.alloc(wanted);
            if !fresh.is_null() {
                piece.copy_to_nonoverlapping(fresh, layout.size().min(size));
                self.dealloc(piece, layout);
            }
            fresh
        }
    }
}

/// Gives memory that only start-up needed back to the system: every service pays for one runsv.
pub fn release_startup_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only returns free pages of the heap to the system.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 8).expect("a layout")
    }

    #[test]
    fn before_it_is_open_nothing_comes_from_it() {
        assert!(place().is_none());
        // SAFETY: what is allocated is given back with its layout.
        unsafe {
            let piece = Heap.alloc(layout(8));
            assert!(!PLACE.0.has(piece));
            let piece = Heap.realloc(piece, layout(8), 100);
            Heap.dealloc(piece, layout(100));
        }
    }

    #[test]
    fn pieces_do_not_touch_each_other_and_come_from_the_place() {
        let place = Box::new(Place::new());
        let sizes = [0, 1, 16, 17, 100, 500, 2048];
        let pieces: Vec<_> = sizes.iter().map(|size| place.take(layout(*size)).expect("room")).collect();
        for (piece, size) in pieces.iter().zip(sizes) {
            assert!(place.has(*piece) && piece.addr().is_multiple_of(SMALLEST));
            // SAFETY: the piece is this large.
            unsafe { piece.write_bytes(u8::try_from(size % 251).expect("a byte"), size) }
        }
        for (piece, size) in pieces.iter().zip(sizes) {
            // SAFETY: it was written just now.
            let content = unsafe { std::slice::from_raw_parts(*piece, size) };
            assert!(content.iter().all(|byte| usize::from(*byte) == size % 251), "{size}");
        }
    }

    #[test]
    fn what_was_given_back_is_handed_out_again() {
        let place = Box::new(Place::new());
        let [one, other] =
            [place.take(layout(100)), place.take(layout(128))].map(|piece| piece.expect("room"));
        // SAFETY: they were taken just now.
        unsafe {
            place.give_back(one, layout(100));
            place.give_back(other, layout(128));
        }
        let again = [place.take(layout(65)), place.take(layout(128))].map(|piece| piece.expect("room"));
        assert_eq!(HashSet::from(again), HashSet::from([one, other]));
        assert_ne!(place.take(layout(100)), None);
        assert_eq!(place.used.get(), 3 * 128);
    }

    #[test]
    fn what_is_large_or_strangely_aligned_or_too_much_is_left_to_the_system() {
        let place = Box::new(Place::new());
        assert_eq!(place.take(layout(LARGEST + 1)), None);
        assert_eq!(place.take(Layout::from_size_align(8, 64).expect("a layout")), None);
        let taken = std::iter::from_fn(|| place.take(layout(LARGEST))).count();
        let rest = std::iter::from_fn(|| place.take(layout(SMALLEST))).count();
        assert_eq!((taken, rest), (ROOM / LARGEST, ROOM % LARGEST / SMALLEST));
        assert_eq!(place.take(layout(8)), None);
    }
}
