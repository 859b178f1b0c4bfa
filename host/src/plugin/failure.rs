//! A host function's refusal, as the guest gets it.

use std::borrow::Cow;

/// A stable code and a sentence. The guest decides what to make of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable, e.g. `not-found`.
    pub code: &'static str,
    /// For the plugin's author and whoever reads its report.
    pub message: String,
}

impl Failure {
    pub(crate) fn new<'a>(code: &'static str, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            code,
            message: message.into().into_owned(),
        }
    }
}
