//! Traps in `describe`, so that it can never be loaded.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::about;
use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};

wit_bindgen::generate!({ path: "../../wit", world: "post-execution" });

struct DescribeTraps;

impl about::Guest for DescribeTraps {
    fn describe() -> about::Description {
        std::process::abort()
    }

    fn check_settings(_settings: String) -> Result<(), String> {
        Ok(())
    }
}

impl Guest for DescribeTraps {
    fn check_options(_options: String) -> Result<(), String> {
        Ok(())
    }

    fn run(_task: Task, _outcome: Outcome, _options: String) -> Result<String, String> {
        Ok("null".into())
    }
}

export!(DescribeTraps);
