//! Which writes made an object what it is: `id` of the last one, then `id:generation` of those before.
//!
//! A writer whose answer was lost finds itself there, also where others have written since.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Generation;

/// Earlier writes that an object remembers: of 35 bytes each, where Cloud Storage allows 8 KiB of metadata and
/// one write a second.
const REMEMBERED: usize = 32;
/// Objects whose writes are known here.
const KNOWN: usize = 1024;

/// What this process knows of the objects that it has read or written.
#[derive(Debug, Default)]
pub(super) struct Writes(Mutex<HashMap<String, (Generation, String)>>);

impl Writes {
    fn known(&self) -> MutexGuard<'_, HashMap<String, (Generation, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object was seen with these writes.
    pub(super) fn saw(&self, name: &str, generation: Generation, writes: String) {
        let mut known = self.known();
        if known.len() >= KNOWN && !known.contains_key(name) {
            // Forgotten is only what a rare loss would be told by.
            known.clear();
        }
        // A read that comes late must not hide a later one.
        if known
            .get(name)
            .is_none_or(|(newest, _)| *newest < generation)
        {
            known.insert(name.to_owned(), (generation, writes));
        }
    }

    /// What a new write that replaces `generation` says of itself.
    pub(super) fn line(&self, name: &str, replaces: Generation, id: &str) -> String {
        let known = self.known();
        let before = known
            .get(name)
            .filter(|(generation, writes)| *generation == replaces && !writes.is_empty());
        let Some((generation, writes)) = before else {
            return id.to_owned();
        };
        let (last, earlier) = writes.split_once(' ').unwrap_or((writes, ""));
        let mut line = format!("{id} {last}:{}", generation.0);
        for write in earlier.split_ascii_whitespace().take(REMEMBERED - 1) {
            line.push(' ');
            line.push_str(write);
        }
        line
    }
}

/// The generation that the write with this id made, by what the object of `generation` says.
pub(super) fn made_by(id: &str, generation: Generation, writes: &str) -> Option<Generation> {
    let mut writes = writes.split_ascii_whitespace();
    if writes.next()? == id {
        return Some(generation);
    }
    writes.find_map(|write| {
        let (known, generation) = write.split_once(':')?;
        (known == id)
            .then(|| generation.parse().ok())?
            .map(Generation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_found_among_those_that_came_after_it() {
        let writes = Writes::default();
        let mut line = writes.line("a", Generation(0), "w0");
        assert_eq!(made_by("w0", Generation(10), &line), Some(Generation(10)));
        for number in 1..=50_i64 {
            writes.saw("a", Generation(number * 10), line);
            line = writes.line("a", Generation(number * 10), &format!("w{number}"));
        }
        let found = |id| made_by(id, Generation(999), &line);
        assert_eq!(found("w50"), Some(Generation(999)));
        assert_eq!(found("w49"), Some(Generation(500)));
        assert_eq!(found("w18"), Some(Generation(190)));
        assert_eq!(found("w17"), None, "no line grows without bound");
        assert_eq!(
            writes.line("a", Generation(1), "x"),
            "x",
            "another generation"
        );
    }
}
