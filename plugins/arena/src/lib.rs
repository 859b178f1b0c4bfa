//! The allocator of the shipped components.
//!
//! An instance lives for one call, and most calls need a few kilobytes. The ordinary allocator begins
//! by asking for a page of memory, which the host has to make accessible and, for the next call,
//! inaccessible again: that was the dearest part of a small call. Here what is asked for first comes
//! out of memory that the component has from the start, in order of asking; only the last piece can
//! be given back. What does not fit comes from the ordinary allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

/// Hands out `SIZE` bytes of its own before it asks for more.
pub struct Arena<const SIZE: usize> {
    space: UnsafeCell<[u8; SIZE]>,
    used: Cell<usize>,
}

// SAFETY: a component has one thread.
#[cfg(target_arch = "wasm32")]
unsafe impl<const SIZE: usize> Sync for Arena<SIZE> {}

impl<const SIZE: usize> Arena<SIZE> {
    /// Nothing of it is in use.
    pub const fn new() -> Self {
        Self {
            space: UnsafeCell::new([0; SIZE]),
            used: Cell::new(0),
        }
    }

    fn start(&self) -> *mut u8 {
        self.space.get().cast()
    }

    /// How far `pointer` lies in the space; none where it does not.
    fn offset(&self, pointer: *mut u8) -> Option<usize> {
        let offset = pointer.addr().checked_sub(self.start().addr())?;
        (offset < SIZE).then_some(offset)
    }

    /// Whether a piece of `size` bytes at `offset` is the last one that was handed out.
    fn is_last(&self, offset: usize, size: usize) -> bool {
        offset + size == self.used.get()
    }

    fn take(&self, layout: Layout) -> Option<*mut u8> {
        let next = self.start().addr().checked_add(self.used.get())?;
        let offset = next.checked_next_multiple_of(layout.align())? - self.start().addr();
        let end = offset.checked_add(layout.size())?;
        if end > SIZE {
            return None;
        }
        self.used.set(end);
        // SAFETY: `offset` is within the space, or at its end for nothing.
        Some(unsafe { self.start().add(offset) })
    }
}

impl<const SIZE: usize> Default for Arena<SIZE> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: pieces of the space lie one behind the other, so they do not overlap; a piece is only taken
// back, or grown in place, where none was handed out behind it. Everything else is `System`'s.
unsafe impl<const SIZE: usize> GlobalAlloc for Arena<SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match self.take(layout) {
            Some(piece) => piece,
            // SAFETY: as the caller promised.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        match self.offset(pointer) {
            Some(offset) if self.is_last(offset, layout.size()) => self.used.set(offset),
            Some(_) => {}
            // SAFETY: as the caller promised.
            None => unsafe { System.dealloc(pointer, layout) },
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(pointer) else {
            // SAFETY: as the caller promised.
            return unsafe { System.realloc(pointer, layout, size) };
        };
        let fits = offset.checked_add(size).is_some_and(|end| end <= SIZE);
        if self.is_last(offset, layout.size()) && fits {
            self.used.set(offset + size);
            return pointer;
        }
        if size <= layout.size() {
            return pointer;
        }
        // SAFETY: the caller promised that the alignment is one and that `size` can be aligned to it;
        // the pieces do not overlap, and both hold what is copied.
        unsafe {
            let moved = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !moved.is_null() {
                ptr::copy_nonoverlapping(pointer, moved, layout.size());
            }
            moved
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    #[test]
    fn pieces_are_aligned_apart_and_in_the_space_while_they_fit() {
        let arena = Arena::<1024>::new();
        let mut end = 0;
        for (size, align) in [(1, 1), (8, 8), (3, 1), (64, 32), (0, 1), (100, 16)] {
            // SAFETY: the pieces are small and never given back.
            let piece = unsafe { arena.alloc(layout(size, align)) };
            assert_eq!(piece.addr() % align, 0);
            let offset = arena.offset(piece).unwrap();
            assert!(offset >= end, "{size}");
            end = offset + size;
        }
        // SAFETY: it is given back with the same layout.
        unsafe {
            let large = arena.alloc(layout(1024, 1));
            assert_eq!(arena.offset(large), None);
            arena.dealloc(large, layout(1024, 1));
        }
        assert_eq!(arena.used.get(), end);
    }

    #[test]
    fn the_last_piece_grows_and_goes_in_place_and_others_move() {
        let arena = Arena::<64>::new();
        // SAFETY: each piece is used with the layout that it has.
        unsafe {
            let first = arena.alloc(layout(4, 1));
            first.copy_from(b"abcd".as_ptr(), 4);
            assert_eq!(arena.realloc(first, layout(4, 1), 8), first);
            let second = arena.alloc(layout(8, 1));
            let moved = arena.realloc(first, layout(8, 1), 16);
            assert_ne!(moved, first);
            assert_eq!(std::slice::from_raw_parts(moved, 4), b"abcd");
            assert_eq!(arena.realloc(second, layout(8, 1), 2), second);

            // Beyond the space, with what was in it.
            let outside = arena.realloc(moved, layout(16, 1), 200);
            assert_eq!(arena.offset(outside), None);
            assert_eq!(std::slice::from_raw_parts(outside, 4), b"abcd");
            arena.dealloc(outside, layout(200, 1));

            let last = arena.alloc(layout(1, 1));
            let used = arena.used.get();
            arena.dealloc(last, layout(1, 1));
            assert_eq!(arena.used.get(), used - 1);
        }
    }
}
