//! Never comes back from `validate`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::validation::{Guest, Task, Verdict};

guests::guest!(
    "validator",
    LoopsValidator,
    "loops-validator",
    "Loops for ever in validate."
);

struct LoopsValidator;

impl Guest for LoopsValidator {
    fn validate(_task: Task) -> Result<Verdict, String> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}
