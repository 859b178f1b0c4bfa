//! The requests that came in, bounded, for tests to look at.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value;

/// Requests that are kept. A CLI's request is about 100 KB.
const KEPT: usize = 500;

/// One request as it came in. Holds the credential it bore: that is what tests look for.
#[derive(Clone, Debug, Serialize)]
pub struct Recorded {
    /// `POST`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case; several values of one name joined by `, `.
    pub headers: BTreeMap<String, String>,
    /// The JSON body; null where there was none or it was no JSON.
    pub body: Value,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Mutex<VecDeque<Recorded>>>);

impl Requests {
    pub(crate) fn add(&self, request: Recorded) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(request);
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}
