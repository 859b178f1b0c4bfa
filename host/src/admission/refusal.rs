//! Why a request is not taken.

use serde_json::Value;

/// Every code that admission itself gives; a validator that rejects brings its own.
pub const CODES: &[&str] = &[
    "invalid-json",
    "body-not-an-object",
    "unknown-field",
    "required",
    "credential-required",
    "wrong-type",
    "out-of-range",
    "invalid-value",
    "rejected-by-policy",
    "validator-amendment-invalid",
    "plugin-unavailable",
    "system-prompt-unavailable",
    "internal",
];

/// Why a request is not taken. Nothing was stored or started.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// 400 for what the caller wrote, 403 for what policy forbids, 503 where we cannot tell.
    pub status: u16,
    /// Stable, e.g. `unknown-field`; a validator's own code where one rejected.
    pub code: String,
    /// The field at fault by its API name, e.g. `postExecutionActions.git.branch`.
    pub field: Option<String>,
    /// Tells the caller what was expected; holds no value of the request.
    pub message: String,
    /// A validator's further details.
    pub details: Option<Value>,
    /// For the log only.
    pub detail: Option<String>,
}

impl Refusal {
    /// A refusal without a field.
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            field: None,
            message: message.into(),
            details: None,
            detail: None,
        }
    }

    /// The caller wrote something wrong at `field`; the message reads `{field} {sentence}`.
    pub(super) fn at(code: &str, field: &str, sentence: impl AsRef<str>) -> Self {
        Self::new(400, code, format!("{field} {}", sentence.as_ref())).field(field)
    }

    pub(super) fn wrong_type(field: &str, expected: &str) -> Self {
        Self::at("wrong-type", field, format!("must be {expected}"))
    }

    pub(super) fn out_of_range(field: &str, sentence: impl AsRef<str>) -> Self {
        Self::at("out-of-range", field, sentence)
    }

    pub(super) fn invalid(field: &str, sentence: impl AsRef<str>) -> Self {
        Self::at("invalid-value", field, sentence)
    }

    pub(super) fn field(mut self, field: &str) -> Self {
        self.field = Some(field.to_owned());
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}
