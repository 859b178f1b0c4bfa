//! What one call may use, and the limiter that keeps count of memory.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// The largest memory that any plugin can be given: the pool's slots have this size.
pub const MAX_MEMORY: u64 = 1 << 30;

/// Table elements of one instance. Python's components start with some 10,000; a guest that wants
/// more than this is building something else than a policy.
const TABLE_ELEMENTS: usize = 100_000;

/// Resources that a guest holds at once, its own and the host's. Language runtimes take some ten.
pub(super) const HANDLES: usize = 10_000;

/// Bounds of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, over all memories of the instance; at most [`MAX_MEMORY`].
    pub memory: u64,
    /// From the moment that a place is free to the answer, host functions included.
    pub time: Duration,
    /// Bytes that cross from the guest to the host, for each host call and for the answer.
    pub output: u64,
}

/// Counts memory over all memories and tables of an instance. A refused growth is what the guest's
/// allocator sees, as on a machine without memory; most then abort, and the flag tells why.
#[derive(Debug)]
pub(super) struct Limiter {
    memory: u64,
    memory_left: usize,
    elements_left: usize,
    refused: bool,
}

impl Limiter {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            memory: limits.memory,
            memory_left: usize::try_from(limits.memory).unwrap_or(usize::MAX),
            elements_left: TABLE_ELEMENTS,
            refused: false,
        }
    }

    /// Whether a growth was refused during the call.
    pub(super) fn refused(&self) -> bool {
        self.refused
    }

    /// Bytes that all memories have by now.
    pub(super) fn memory(&self) -> u64 {
        let left = u64::try_from(self.memory_left).unwrap_or(u64::MAX);
        self.memory.saturating_sub(left)
    }

    fn take(left: &mut usize, current: usize, desired: usize) -> bool {
        match left.checked_sub(desired.saturating_sub(current)) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = maximum.is_none_or(|maximum| desired <= maximum)
            && Self::take(&mut self.memory_left, current, desired);
        self.refused |= !fits;
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = maximum.is_none_or(|maximum| desired <= maximum)
            && Self::take(&mut self.elements_left, current, desired);
        self.refused |= !fits;
        Ok(fits)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn memories_of_one_instance_share_one_limit() {
        let limits = Limits {
            memory: 100,
            time: Duration::ZERO,
            output: 0,
        };
        let mut limiter = Limiter::new(&limits);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.refused());
        assert!(!limiter.memory_growing(40, 41, None).unwrap());
        assert!(limiter.refused());
        assert_eq!(limiter.memory(), 100);
    }
}
