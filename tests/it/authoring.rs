//! What an author of plugins does by `gatehouse plugin`, without a gateway.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gatehouse_tests::manifest::{guest, shipped};
use gatehouse_tests::{binary, repository};
use serde_json::{Value, json};

/// Runs `gatehouse plugin` as an author would whose toolchains are kept in `tools/plugins`.
pub(crate) fn plugin(arguments: &[&str]) -> Output {
    let target = repository().join("target");
    Command::new(binary())
        .arg("plugin")
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", std::env::var_os("HOME").unwrap_or_default())
        .env("XDG_CACHE_HOME", target.join("plugin-cache"))
        .env("CARGO_TARGET_DIR", target.join("plugin-projects"))
        .env("PLUGIN_TOOLS", repository().join("tools/plugins"))
        .output()
        .unwrap()
}

/// What it printed, if it ended well.
fn told(arguments: &[&str]) -> String {
    let output = plugin(arguments);
    let (out, error) = words(&output);
    assert!(output.status.success(), "{arguments:?}: {out}{error}");
    out
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

fn json_of(arguments: &[&str]) -> Value {
    serde_json::from_str(&told(arguments)).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn write(path: &Path, value: Value) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

/// A case that puts one command line to a policy.
fn case(folder: &Path, name: &str, command: &str, expected: Value) -> PathBuf {
    let case = folder.join(name);
    let call = json!({"tool": "Bash", "input": {"command": command}});
    write(&case.join("call.json"), call);
    write(&case.join("expected.json"), expected);
    case
}

#[test]
fn the_shipped_plugins_pass_their_cases_as_components() {
    for (name, at_least) in [
        ("request-rules", 30),
        ("tool-rules", 100),
        ("git", 40),
        ("pull-request", 35),
    ] {
        let cases = repository().join("plugins").join(name).join("cases");
        let component = shipped(name);
        let mut arguments = vec!["test", text(&component), "--cases", text(&cases), "--json"];
        if name == "pull-request" {
            for grant in [
                "http:https://api.github.com",
                "http:https://gitlab.com",
                "http:https://git.example.com",
                "http:http://127.0.0.1:9",
                "secret:FORGE_TOKEN",
                "secret:gitToken",
            ] {
                arguments.extend(["--grant", grant]);
            }
        }
        let reports = json_of(&arguments);
        let reports = reports.as_array().unwrap();
        assert!(reports.len() >= at_least, "{name}: {}", reports.len());
        assert!(reports.iter().all(|report| report["passed"] == true));
    }
}

#[test]
fn a_new_project_in_each_language_builds_and_passes_its_cases() {
    let home = tempfile::tempdir().unwrap();
    for (language, worlds) in [
        (
            "rust",
            &["validator", "tool-permission", "post-execution"][..],
        ),
        (
            "javascript",
            &["validator", "tool-permission", "post-execution"],
        ),
        ("c", &["validator", "tool-permission", "post-execution"]),
        // CPython takes half a minute to compile, and the example below is another world.
        ("python", &["post-execution"]),
    ] {
        for world in worlds {
            let project = home.path().join(format!("{language}-{world}"));
            let project = text(&project);
            told(&["new", project, "--world", world, "--lang", language]);
            let built = told(&["build", project]);
            assert!(
                built.contains(&format!("{language}-{world} 0.1.0, {world}")),
                "{built}"
            );
            let tested = told(&["test", project]);
            assert!(tested.ends_with(" passed, 0 failed\n"), "{tested}");
        }
    }
}

#[test]
fn the_example_in_four_languages_passes_the_same_cases() {
    let examples = repository().join("examples/plugins");
    let cases = examples.join("cases");
    for language in ["rust", "javascript", "python", "c"] {
        let project = examples.join(language);
        let reports = json_of(&["test", text(&project), "--cases", text(&cases), "--json"]);
        assert!(reports.as_array().unwrap().len() >= 20, "{language}");
    }
}

#[test]
fn an_example_is_what_a_new_project_is_but_for_its_source() {
    let home = tempfile::tempdir().unwrap();
    for language in ["rust", "javascript", "python", "c"] {
        let project = home.path().join(language);
        told(&[
            "new",
            text(&project),
            "--world",
            "tool-permission",
            "--lang",
            language,
        ]);
        for file in ["build.sh", "wit/gatehouse.wit", ".gitignore"] {
            let example = repository()
                .join("examples/plugins")
                .join(language)
                .join(file);
            let (ours, theirs) = (std::fs::read(example), std::fs::read(project.join(file)));
            assert!(
                ours.unwrap() == theirs.unwrap(),
                "{language}/{file} differs"
            );
        }
    }
}

#[test]
fn a_project_is_never_written_over_what_is_there() {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("mine"), "kept").unwrap();
    let new = |directory: &Path| {
        let (world, lang) = (["--world", "validator"], ["--lang", "c"]);
        plugin(&[&["new", text(directory)][..], &world, &lang].concat())
    };
    let (_, error) = words(&new(home.path()));
    assert!(error.contains("is not empty"), "{error}");
    let (_, error) = words(&new(&home.path().join("A_B")));
    assert!(error.contains("--name"), "{error}");
}

#[test]
fn a_case_that_comes_out_otherwise_is_shown_reported_and_fails_the_run() {
    let home = tempfile::tempdir().unwrap();
    let cases = home.path().join("cases");
    let denied = json!({"decision": "deny"});
    case(&cases, "as-expected", "sudo ls", denied.clone());
    case(&cases, "otherwise <&>", "ls", denied);
    for name in ["as-expected", "otherwise <&>"] {
        let settings = json!({"deny": ["Bash(sudo *)"]});
        write(&cases.join(name).join("settings.json"), settings);
    }
    let report = home.path().join("report.xml");
    let (component, junit) = (shipped("tool-rules"), text(&report));
    let arguments = [
        "test",
        text(&component),
        "--cases",
        text(&cases),
        "--junit",
        junit,
    ];
    let output = plugin(&arguments);
    let (out, _) = words(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(out.contains("ok      as-expected"), "{out}");
    assert!(
        out.contains("FAILED  otherwise <&>") && out.contains("1 passed, 1 failed"),
        "{out}"
    );
    assert!(out.contains("expected decision \"deny\", got"), "{out}");
    let xml = std::fs::read_to_string(report).unwrap();
    assert!(xml.contains("tests=\"2\" failures=\"1\""), "{xml}");
    assert!(xml.contains("name=\"otherwise &lt;&amp;&gt;\""), "{xml}");

    let none = plugin(&[
        "test",
        text(&component),
        "--cases",
        text(home.path()),
        "--only",
        "absent",
    ]);
    assert!(words(&none).1.contains("there is no case"));
}

#[test]
fn a_mistake_in_a_case_is_named() {
    let home = tempfile::tempdir().unwrap();
    let case = case(home.path(), "one", "ls", json!({"decision": "abstain"}));
    write(&case.join("tasks.json"), json!({}));
    let (_, error) = words(&plugin(&["run", text(&shipped("tool-rules")), text(&case)]));
    assert!(error.contains("`tasks` is no part of a case"), "{error}");

    let file = home.path().join("input.json");
    write(&file, json!({"call": {"tool": "Bash", "inputs": {}}}));
    let (_, error) = words(&plugin(&["run", text(&shipped("tool-rules")), text(&file)]));
    assert!(error.contains("call: unknown field `inputs`"), "{error}");
}

#[test]
fn one_question_is_answered_with_verdict_reason_rule_and_time() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("input.json");
    write(
        &file,
        json!({"call": {"tool": "Bash", "input": {"command": "sudo ls"}}}),
    );
    let component = shipped("tool-rules");
    let settings = r#"{"deny": ["Bash(sudo *)"]}"#;
    let arguments = ["run", text(&component), text(&file), "--settings", settings];
    let out = told(&arguments);
    for line in [
        "verdict   deny\n",
        "rule      deny[0] Bash(sudo *)\n",
        "reason    ",
        "time      ",
    ] {
        assert!(out.contains(line), "{out}");
    }
    let answer = json_of(&[&arguments[..], &["--json"]].concat());
    assert_eq!(answer["decision"], "deny");
    assert!(answer["micros"].as_u64().unwrap() > 0);
}

#[test]
fn a_plugin_that_traps_or_loops_gives_no_verdict_and_the_command_fails() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("input.json");
    write(
        &file,
        json!({"call": {"tool": "Bash", "input": {"command": "ls"}}}),
    );
    for (name, fault) in [("traps", "trapped"), ("loops", "timed-out")] {
        let component = guest(name);
        let output = plugin(&[
            "run",
            text(&component),
            text(&file),
            "--limit",
            "time=100ms",
        ]);
        let (out, error) = words(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {out}{error}");
        assert!(
            out.contains(&format!("verdict   {fault}")),
            "{name}: {out}{error}"
        );
    }
}

#[test]
fn a_component_is_told_apart_from_what_is_none_and_says_what_it_needs() {
    let about = json_of(&["inspect", text(&shipped("pull-request")), "--json"]);
    assert_eq!(about["world"], "post-execution");
    assert_eq!(about["grants"], json!(["http:https://HOST"]));
    assert_eq!(about["settingsSchema"]["type"], "object");
    let out = told(&["inspect", text(&shipped("tool-rules"))]);
    assert!(out.contains("world     tool-permission"), "{out}");
    assert!(out.contains("grants    none needed"), "{out}");

    let home = tempfile::tempdir().unwrap();
    let module = home.path().join("plugin.wasm");
    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let (_, error) = words(&plugin(&["inspect", text(home.path())]));
    assert!(error.contains("(plugin-core-module)"), "{error}");
    std::fs::write(&module, b"\0asm\x0d\0\x01\0").unwrap();
    let (_, error) = words(&plugin(&["inspect", text(&module)]));
    assert!(error.contains("targets no world"), "{error}");
    std::fs::remove_file(&module).unwrap();
    let (_, error) = words(&plugin(&["inspect", text(home.path())]));
    assert!(error.contains("build it first"), "{error}");
}

#[test]
fn a_benchmark_calls_as_often_as_it_was_told() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("input.json");
    write(
        &file,
        json!({"call": {"tool": "Bash", "input": {"command": "ls"}}}),
    );
    let component = shipped("tool-rules");
    let arguments = ["bench", text(&component), text(&file), "-n", "50", "--json"];
    let measured = json_of(&arguments);
    assert_eq!(
        (&measured["instances"], &measured["verdict"]),
        (&json!(50), &json!("abstain"))
    );
    assert!(measured["minMicros"].as_u64() <= measured["p99Micros"].as_u64());
    assert!(measured["memoryBytes"].as_u64().unwrap() >= 1 << 16);
}
