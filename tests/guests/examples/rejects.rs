//! Rejects every request, with every part of a rejection filled in.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::validation::{Guest, Rejection, Task, Verdict};

guests::guest!("validator", Rejects, "rejects", "Rejects every request.");

struct Rejects;

impl Guest for Rejects {
    fn validate(task: Task) -> Result<Verdict, String> {
        Ok(Verdict::Reject(Rejection {
            code: "rejected-by-guest".into(),
            message: "this guest accepts no request".into(),
            field: Some("prompt".into()),
            details: Some(format!(r#"{{"promptBytes":{}}}"#, task.prompt().len())),
        }))
    }
}
