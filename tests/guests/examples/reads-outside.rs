//! Tries to leave the workspace and reports what it got.
//!
//! Its value is `{"find": {pattern: [path, …]}, "read": {path: "text"}, "upload": {path: "uri"},
//! "write": {name: "uri"}, "prefix": {prefix: "uri"}}`, where what was refused is
//! `{"refused": "code"}` instead. Options add to its own list: `{"paths": ["/secret/of/the/test"]}`
//! is tried as pattern, path, name and prefix alike. Needs the grants `workspace` and `artifacts`.
#![cfg(target_arch = "wasm32")]

use exports::gatehouse::plugin::post_action::{Guest, Outcome, Task};
use gatehouse::plugin::failures::Failure;
use gatehouse::plugin::{artifacts, workspace};
use serde_json::{Map, Value, json};

guests::guest!(
    "post-execution",
    ReadsOutside,
    "reads-outside",
    "Tries to leave the workspace."
);

struct ReadsOutside;

const HOSTILE: [&str; 15] = [
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "../../../../../../../../etc/passwd",
    "../**/*",
    "..",
    "/",
    "",
    "a/../../b",
    "./../outside.txt",
    "**/../../*",
    "{/etc,x}/passwd",
    "..\\..\\etc\\passwd",
    "link-out/passwd",
    "file:///etc/passwd",
];

impl Guest for ReadsOutside {
    fn check_options(_options: String) -> Result<(), String> {
        Ok(())
    }

    fn run(_task: Task, _outcome: Outcome, options: String) -> Result<String, String> {
        let options: Value = serde_json::from_str(&options).map_err(|error| error.to_string())?;
        let more = options
            .get("paths")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let tried: Vec<&str> = HOSTILE
            .into_iter()
            .chain(more.iter().filter_map(Value::as_str))
            .collect();

        let each = |attempt: &dyn Fn(&str) -> Result<Value, Failure>| -> Value {
            let got = tried.iter().map(|path| {
                let value =
                    attempt(path).unwrap_or_else(|failure| json!({ "refused": failure.code }));
                ((*path).to_owned(), value)
            });
            Value::Object(got.collect::<Map<_, _>>())
        };
        Ok(json!({
            "find": each(&|path| {
                let found = workspace::find(&[path.to_owned()])?;
                Ok(found.into_iter().map(|entry| entry.path).collect())
            }),
            "read": each(&|path| {
                let bytes = workspace::read(path, 0, 4096)?;
                Ok(String::from_utf8_lossy(&bytes).into())
            }),
            "upload": each(&|path| Ok(artifacts::upload(path, None)?.uri.into())),
            "write": each(&|path| Ok(artifacts::write(path, b"written by a guest")?.uri.into())),
            "prefix": each(&|path| Ok(artifacts::upload("inside.txt", Some(path))?.uri.into())),
        })
        .to_string())
    }
}
