//! Counters and notes of one task, by plugin.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Failure;

/// Keys of one plugin.
const KEYS: usize = 256;
/// Bytes of one key.
const KEY: usize = 256;
/// Bytes of one value.
const VALUE: usize = 4096;

/// Counters and notes of one task, by plugin; in the job's memory, bounded.
#[derive(Debug, Default)]
pub struct TaskState {
    plugins: Mutex<HashMap<String, Arc<Notes>>>,
}

impl TaskState {
    /// The notes of one plugin. There are as many as the set has plugins.
    pub(super) fn of(&self, plugin: &str) -> Arc<Notes> {
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        plugins.entry(plugin.to_owned()).or_default().clone()
    }
}

/// What one plugin noted in one task.
#[derive(Debug, Default)]
pub struct Notes {
    values: Mutex<HashMap<String, String>>,
}

impl Notes {
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    pub(crate) fn set(&self, key: String, value: String) -> Result<(), Failure> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        put(&mut values, key, value)
    }

    /// Adds under the lock, so that calls at the same time count each.
    pub(crate) fn add(&self, key: String, delta: i64) -> Result<i64, Failure> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let number = match values.get(&key) {
            None => 0,
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| Failure::new("not-a-number", "the key holds no number"))?,
        };
        let sum = number
            .checked_add(delta)
            .ok_or_else(|| Failure::new("overflow", "the sum does not fit 64 bits"))?;
        put(&mut values, key, sum.to_string())?;
        Ok(sum)
    }
}

fn put(values: &mut HashMap<String, String>, key: String, value: String) -> Result<(), Failure> {
    if key.len() > KEY {
        return Err(Failure::new(
            "too-large",
            format!("a key has at most {KEY} bytes"),
        ));
    }
    if value.len() > VALUE {
        return Err(Failure::new(
            "too-large",
            format!("a value has at most {VALUE} bytes"),
        ));
    }
    if values.len() >= KEYS && !values.contains_key(&key) {
        return Err(Failure::new(
            "too-many",
            format!("a plugin has at most {KEYS} keys in a task"),
        ));
    }
    values.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_counter_starts_at_zero_and_a_text_is_no_counter() {
        let notes = Notes::default();
        assert_eq!(notes.add("n".into(), 2).unwrap(), 2);
        assert_eq!(notes.add("n".into(), -3).unwrap(), -1);
        assert_eq!(notes.get("n").as_deref(), Some("-1"));
        notes.set("t".into(), "text".into()).unwrap();
        assert_eq!(notes.add("t".into(), 1).unwrap_err().code, "not-a-number");
        notes.set("m".into(), i64::MAX.to_string()).unwrap();
        assert_eq!(notes.add("m".into(), 1).unwrap_err().code, "overflow");
    }

    #[test]
    fn keys_and_values_are_bounded() {
        let notes = Notes::default();
        for n in 0..KEYS {
            notes.set(n.to_string(), String::new()).unwrap();
        }
        assert_eq!(
            notes
                .set("one more".into(), String::new())
                .unwrap_err()
                .code,
            "too-many"
        );
        notes.set("0".into(), "x".repeat(VALUE)).unwrap();
        assert_eq!(
            notes
                .set("0".into(), "x".repeat(VALUE + 1))
                .unwrap_err()
                .code,
            "too-large"
        );
        assert_eq!(
            notes
                .set("k".repeat(KEY + 1), String::new())
                .unwrap_err()
                .code,
            "too-large"
        );
    }

    #[test]
    fn plugins_do_not_see_each_others_notes() {
        let state = TaskState::default();
        state.of("a").set("k".into(), "v".into()).unwrap();
        assert_eq!(state.of("a").get("k").as_deref(), Some("v"));
        assert_eq!(state.of("b").get("k"), None);
    }
}
