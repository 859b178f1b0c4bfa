//! What a plugin's answer means: texts are parsed, freed of the task's secrets and bounded, and everything that is no answer is a
//! [`Fault`].

use serde_json::Value;

use super::Decision;
use super::verdict::{Rejection, Validation};
use crate::redact::Redactor;
use crate::wasm::{Answer, Call, CallOutcome, Opinion, Refusal};

/// Bytes of a plugin's words that go further than the plugin.
pub(super) const WORDS: usize = 4096;
/// Bytes of a field's name.
const FIELD: usize = 256;

/// A plugin that did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// As in [`Decision::fault`].
    pub(super) kind: &'static str,
    /// For the log of decisions.
    pub(super) words: String,
}

impl Fault {
    /// Members of a group judge the same thing, in no order: what one changes would hold for some of them only.
    pub(super) fn changing_in_a_group() -> Self {
        Self::new("error", "a member of a group judges and changes nothing")
    }

    fn new(kind: &'static str, words: &str) -> Self {
        Self {
            kind,
            words: bounded(words, WORDS),
        }
    }

    pub(super) fn record(&self, decision: &mut Decision) {
        decision.fault = Some(self.kind.to_owned());
        decision.reason = Some(self.words.clone());
    }

    /// Says what the caller may know: that it failed and how, not where.
    pub(super) fn for_callers(&self, plugin: &str) -> String {
        let how = match self.kind {
            "timed-out" => "took too long",
            "out-of-memory" => "needed too much memory",
            "too-big" => "answered with too much",
            _ => "failed",
        };
        format!("The plugin `{plugin}` {how}.")
    }
}

/// A call's answer, with `err` of the guest as a fault.
pub(super) fn settle<T>(call: Call<Result<T, String>>, redactor: &Redactor) -> Result<T, Fault> {
    told(call, redactor)?.map_err(|words| Fault::new("error", &words))
}

/// A call's answer, with `err` of the guest as its words.
pub(super) fn told<T>(
    call: Call<Result<T, String>>,
    redactor: &Redactor,
) -> Result<Result<T, String>, Fault> {
    match call.outcome {
        CallOutcome::Done(answer) => Ok(answer.map_err(|words| redactor.words(&words, WORDS))),
        CallOutcome::Trapped(message) => Err(Fault::new("trapped", &message)),
        CallOutcome::TimedOut => Err(Fault::new(
            "timed-out",
            "took longer than limits.time, or than was left for the decision",
        )),
        CallOutcome::OutOfMemory => Err(Fault::new(
            "out-of-memory",
            "needed more than limits.memory",
        )),
        CallOutcome::TooBig => Err(Fault::new("too-big", "handed over more than limits.output")),
    }
}

pub(super) fn validation(answer: Answer, redactor: &Redactor) -> Result<Validation, Fault> {
    Ok(match answer {
        Answer::Accept => Validation::Accept,
        // A patch that is no object would replace the whole request.
        Answer::Amend(patch) => Validation::Amend(object(&patch, "the amendment")?),
        Answer::Reject(refusal) => Validation::Reject(rejection(refusal, redactor)),
    })
}

/// A refusal stands even where its frills are wrong. Whether its code may reach a caller is for
/// `admission` to say.
fn rejection(refusal: Refusal, redactor: &Redactor) -> Rejection {
    Rejection {
        code: redactor.words(&refusal.code, WORDS),
        message: redactor.words(&refusal.message, WORDS),
        field: refusal.field.map(|field| redactor.words(&field, FIELD)),
        details: refusal
            .details
            .and_then(|details| object(&details, "details").ok())
            .map(|details| redactor.json(&details)),
    }
}

/// What a tool-permission plugin says, checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judgement {
    Abstain,
    Allow,
    Rewrite(Value),
    Deny(String),
    Ask(String),
}

impl Judgement {
    /// As in [`Decision::verdict`].
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Abstain => "abstain",
            Self::Allow => "allow",
            Self::Rewrite(_) => "rewrite",
            Self::Deny(_) => "deny",
            Self::Ask(_) => "ask",
        }
    }
}

pub(super) fn judgement(opinion: Opinion, redactor: &Redactor) -> Result<Judgement, Fault> {
    Ok(match opinion {
        Opinion::Abstain => Judgement::Abstain,
        Opinion::Allow => Judgement::Allow,
        Opinion::Rewrite(input) => Judgement::Rewrite(object(&input, "the rewritten input")?),
        Opinion::Deny(reason) => Judgement::Deny(redactor.words(&reason, WORDS)),
        Opinion::Ask(reason) => Judgement::Ask(redactor.words(&reason, WORDS)),
    })
}

/// What an action returns is reported, so it must be JSON.
pub(super) fn value(told: Result<String, String>) -> Result<Result<Value, String>, Fault> {
    match told {
        Ok(text) => serde_json::from_str(&text).map(Ok).map_err(|error| {
            Fault::new("error", &format!("the returned value is no JSON: {error}"))
        }),
        Err(words) => Ok(Err(words)),
    }
}

fn object(text: &str, what: &str) -> Result<Value, Fault> {
    serde_json::from_str::<Value>(text)
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Fault::new("error", &format!("{what} is no JSON object")))
}

pub(super) fn bounded(words: &str, limit: usize) -> String {
    words
        .get(..words.floor_char_boundary(limit))
        .unwrap_or(words)
        .to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn call<T>(outcome: CallOutcome<T>) -> Call<T> {
        Call {
            memory: 0,
            outcome,
            cited: None,
            time: Duration::ZERO,
        }
    }

    #[test]
    fn an_amendment_or_rewrite_that_is_no_object_is_a_fault() {
        for text in ["[]", "null", "\"x\"", "{", ""] {
            assert_eq!(
                validation(Answer::Amend(text.into()), &Redactor::default())
                    .unwrap_err()
                    .kind,
                "error"
            );
            assert_eq!(
                judgement(Opinion::Rewrite(text.into()), &Redactor::default())
                    .unwrap_err()
                    .kind,
                "error"
            );
        }
        let amended =
            validation(Answer::Amend(r#"{"a":null}"#.into()), &Redactor::default()).unwrap();
        assert_eq!(amended, Validation::Amend(json!({"a": null})));
    }

    #[test]
    fn a_refusal_stands_and_its_parts_are_bounded() {
        let refusal = Refusal {
            code: "c".repeat(WORDS + 1),
            message: "é".repeat(WORDS),
            field: Some("f".repeat(FIELD + 1)),
            details: Some("[1]".into()),
        };
        let Validation::Reject(rejection) =
            validation(Answer::Reject(refusal), &Redactor::default()).unwrap()
        else {
            unreachable!()
        };
        assert_eq!(rejection.code.len(), WORDS);
        assert_eq!(rejection.message.len(), WORDS);
        assert_eq!(rejection.field.unwrap().len(), FIELD);
        assert_eq!(rejection.details, None);
    }

    #[test]
    fn callers_are_not_told_what_a_trap_said() {
        let trap: CallOutcome<Result<(), String>> = CallOutcome::Trapped("at 0x1f /home/x".into());
        let fault = settle(call(trap), &Redactor::default()).unwrap_err();
        assert_eq!(fault.kind, "trapped");
        assert_eq!(fault.for_callers("p"), "The plugin `p` failed.");
    }

    #[test]
    fn the_guests_err_is_a_fault_of_a_policy_and_the_words_of_an_action() {
        let err = || call(CallOutcome::Done(Err::<String, _>("words".to_owned())));
        let none = Redactor::default();
        assert_eq!(settle(err(), &none).unwrap_err().kind, "error");
        assert_eq!(
            told(err(), &none).and_then(value).unwrap(),
            Err("words".to_owned())
        );
        assert_eq!(value(Ok("{".into())).unwrap_err().kind, "error");
        assert_eq!(value(Ok("{\"n\":1}".into())).unwrap(), Ok(json!({"n": 1})));
    }
}
