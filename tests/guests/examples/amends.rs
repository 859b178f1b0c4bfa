//! Amends every request with its settings, taken as a JSON Merge Patch as they are: also with one
//! that the request must not survive, such as `{"maxTurns": -1}` or `{"noSuchField": 1}`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::validation::{Guest, Task, Verdict};
use gatehouse::plugin::host;

guests::guest!(
    "validator",
    Amends,
    "amends",
    "Amends every request with its settings."
);

struct Amends;

impl Guest for Amends {
    fn validate(_task: Task) -> Result<Verdict, String> {
        Ok(Verdict::Amend(host::settings()))
    }
}
