//! Arguments and environment of the CLI.
//!
//! Every value is `--flag=value`, so that one that begins with `-` cannot become a flag. Prompts and
//! subagents are not here: they go over the control protocol, because arguments are public.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use super::AgentTask;

/// Stream JSON both ways; permissions asked of us; no MCP servers from files but ours.
const ALWAYS: [&str; 6] = [
    "-p",
    "--input-format=stream-json",
    "--output-format=stream-json",
    "--verbose",
    "--permission-prompt-tool=stdio",
    "--strict-mcp-config",
];

/// No settings, commands, agents or memory from files, and no tool `Skill`: through it the CLI's own
/// commands run `git` without asking about it, and git runs what the repository's configuration names.
const NOTHING_OF_THE_WORKSPACE: [&str; 2] = ["--setting-sources=", "--disable-slash-commands"];

/// Never the source `user`: what the agent writes into its home is read again while it runs, and a
/// variable set there turns the hooks off. Commands of the workspace run no shell of their own.
const ALL_OF_THE_WORKSPACE: &str = "--setting-sources=project,local";

/// Where programs are found.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the CLI must and must not do.
const SWITCHES: [(&str, &str); 8] = [
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_AUTOUPDATER", "1"),
    // A subagent in the background would go on after the first result.
    ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS", "1"),
    // The tool asks api.anthropic.com about every domain, past the broker.
    ("CLAUDE_CODE_DISABLE_WEB_FETCH", "1"),
    // They run shell commands of their own, about which nobody is asked.
    ("CLAUDE_CODE_DISABLE_BUNDLED_SKILLS", "1"),
    ("LANG", "C.UTF-8"),
];

/// Variables of the CLI's own that may come with a task. Others of its families could turn the hooks
/// off (`CLAUDE_CODE_SIMPLE`) or send the traffic elsewhere.
const OF_THE_CLI: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS",
    "CLAUDE_CODE_MAX_RETRIES",
];

/// The CLI's arguments. `mcp_config` is the file that holds it.
pub(super) fn arguments(
    task: &AgentTask,
    workspace: &Path,
    mcp_config: Option<&Path>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ALWAYS.iter().map(OsString::from).collect();
    if task.trusts_workspace {
        arguments.push(ALL_OF_THE_WORKSPACE.into());
        arguments.push(format!("--settings={}", settings(workspace)).into());
    } else {
        arguments.extend(NOTHING_OF_THE_WORKSPACE.map(OsString::from));
    }
    let mut flag = |name: &str, value: &str| arguments.push(format!("--{name}={value}").into());
    flag("permission-mode", task.permission_mode.as_str());
    flag("max-turns", &task.max_turns.to_string());
    for rule in &task.allowed_tools {
        flag("allowedTools", rule);
    }
    for rule in &task.disallowed_tools {
        flag("disallowedTools", rule);
    }
    if let Some(budget) = task.max_budget_usd {
        flag("max-budget-usd", &budget.to_string());
    }
    if let Some(model) = &task.model {
        flag("model", model);
    }
    if let Some(model) = &task.fallback_model {
        flag("fallback-model", model);
    }
    if let Some(file) = mcp_config {
        let mut argument = OsString::from("--mcp-config=");
        argument.push(file);
        arguments.push(argument);
    }
    arguments
}

/// Settings that go over those of the workspace. The memory of directories above it is somebody else's.
fn settings(workspace: &Path) -> serde_json::Value {
    let above = workspace.ancestors().skip(1);
    let excluded = above.flat_map(|path| {
        ["CLAUDE.md", "CLAUDE.local.md", ".claude/**"]
            .map(|name| path.join(name).display().to_string())
    });
    serde_json::json!({
        "disableSkillShellExecution": true,
        "claudeMdExcludes": excluded.collect::<Vec<_>>(),
    })
}

/// The CLI's whole environment: the task's own, except what would change how the CLI itself works,
/// and over it ours.
pub(super) fn environment(
    task: &AgentTask,
    home: &Path,
    tmp: &Path,
    as_root: bool,
) -> BTreeMap<OsString, OsString> {
    let mut environment = BTreeMap::new();
    for (name, value) in &task.env {
        // The system takes no such names and no such values.
        let possible = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        if possible && may_come_with_a_task(name) {
            environment.insert(name.into(), value.into());
        } else {
            tracing::warn!(name, "a variable of the task is reserved and left out");
        }
    }
    let ours = [("PATH", PATH), ("SHELL", "/bin/bash")];
    environment.extend(
        ours.iter()
            .chain(&SWITCHES)
            .map(|(name, value)| (name.into(), value.into())),
    );
    let patience = task.limits.mcp_start_timeout.as_millis().to_string();
    environment.insert("MCP_TIMEOUT".into(), patience.into());
    environment.insert("HOME".into(), home.into());
    environment.insert("TMPDIR".into(), tmp.into());
    if as_root {
        // Else the CLI refuses `bypassPermissions` as root. Only where no other user can be had.
        environment.insert("IS_SANDBOX".into(), "1".into());
    }
    // The broker is on this machine, whatever proxy the task needs for the rest.
    for name in ["NO_PROXY", "no_proxy"] {
        let others = task
            .env
            .get(name)
            .map(|others| format!(",{others}"))
            .unwrap_or_default();
        environment.insert(name.into(), format!("127.0.0.1,localhost{others}").into());
    }
    environment
}

fn may_come_with_a_task(name: &str) -> bool {
    let of_the_cli = ["CLAUDE", "ANTHROPIC_"]
        .iter()
        .any(|family| name.starts_with(family));
    if of_the_cli {
        let names_a_model = name.starts_with("ANTHROPIC_") && name.ends_with("_MODEL");
        return OF_THE_CLI.contains(&name) || names_a_model;
    }
    // What loads code into the CLI itself.
    let loads_code = ["LD_", "BUN_", "NODE_", "GLIBC_"]
        .iter()
        .any(|family| name.starts_with(family));
    !loads_code && name != "IS_SANDBOX"
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::agent::outcome::tests::task;

    #[test]
    fn no_value_can_become_a_flag() {
        let mut hostile = task();
        hostile.allowed_tools = vec![
            "--dangerously-skip-permissions".into(),
            "Bash(npm run test:*)".into(),
        ];
        hostile.disallowed_tools = vec!["-x\n--bare".into()];
        hostile.model = Some("--bare".into());
        hostile.fallback_model = Some("-p".into());
        hostile.prompt = "--prompt".into();
        hostile.system_prompt = Some("--system".into());
        for trusted in [false, true] {
            hostile.trusts_workspace = trusted;
            check(&hostile);
        }
    }

    fn check(hostile: &AgentTask) {
        let arguments = arguments(
            hostile,
            Path::new("/w/--workspace"),
            Some(Path::new("/x/--mcp.json")),
        );
        let names: Vec<String> = arguments
            .iter()
            .map(|argument| {
                argument
                    .to_str()
                    .unwrap()
                    .split('=')
                    .next()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        assert_eq!(
            names[ALWAYS.len() + 2..],
            [
                "--permission-mode",
                "--max-turns",
                "--allowedTools",
                "--allowedTools",
                "--disallowedTools",
                "--model",
                "--fallback-model",
                "--mcp-config"
            ]
        );
        let text = format!("{arguments:?}");
        assert!(
            !text.contains("--prompt") && !text.contains("--system"),
            "{text}"
        );
    }

    #[test]
    fn a_task_cannot_change_how_the_cli_works_by_its_environment() {
        let hostile = [
            "CLAUDE_CODE_SIMPLE",
            "CLAUDE_CONFIG_DIR",
            "ANTHROPIC_UNIX_SOCKET",
            "BUN_OPTIONS",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "IS_SANDBOX",
            "A=B",
            "",
        ];
        let mut given: BTreeMap<String, String> = hostile
            .iter()
            .map(|name| ((*name).to_owned(), "x".to_owned()))
            .collect();
        given.insert("HOME".into(), "/root".into());
        given.insert("CLAUDE_CODE_DISABLE_WEB_FETCH".into(), "0".into());
        given.insert("TOKEN".into(), "kept".into());
        given.insert("ANTHROPIC_BASE_URL".into(), "http://127.0.0.1:1".into());
        given.insert("NO_PROXY".into(), "example.com".into());
        let mut task = task();
        task.env = given;
        let all = environment(&task, Path::new("/h"), Path::new("/t"), false);
        for name in hostile {
            assert!(!all.contains_key(std::ffi::OsStr::new(name)), "{name}");
        }
        let value = |name: &str| all[std::ffi::OsStr::new(name)].to_str().unwrap();
        assert_eq!(value("HOME"), "/h");
        assert_eq!(value("TMPDIR"), "/t");
        assert_eq!(value("CLAUDE_CODE_DISABLE_WEB_FETCH"), "1");
        assert_eq!(value("TOKEN"), "kept");
        assert_eq!(value("ANTHROPIC_BASE_URL"), "http://127.0.0.1:1");
        assert_eq!(value("NO_PROXY"), "127.0.0.1,localhost,example.com");
    }
}
