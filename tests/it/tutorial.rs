//! The tutorial of policies, carried out as it stands: every command of the page, in one shell.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use gatehouse_tests::gateway::cli;
use gatehouse_tests::{binary, repository};

/// What the page says in its blocks of this language, one after another.
fn commands(page: &str) -> String {
    let page = std::fs::read_to_string(repository().join(page)).unwrap();
    let blocks = page.split("```sh\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() > 5, "{}", blocks.len());
    blocks.concat()
}

/// A port that nobody listens at.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

#[test]
fn the_tutorial_of_policies_leads_to_two_denied_calls() {
    let home = tempfile::Builder::new()
        .prefix("gatehouse-")
        .tempdir()
        .unwrap();
    // The agent has a user of its own and must reach its workspace.
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let script = commands("docs/tutorial/first-policy.md")
        .replace(":9000", &format!(":{}", free_port()))
        .replace(":8080", &format!(":{}", free_port()));
    let script = format!(
        "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n{script}"
    );
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let tools = |name: &str, folder: &str| match variable(name) {
        place if place.is_empty() => format!("{}/{folder}", variable("HOME")),
        place => place,
    };
    let target = repository().join("target");
    let bin = binary().parent().unwrap().display().to_string();
    let uid = 200_000 + (std::process::id() % 10_000) * 1_000 + 990;
    let output = Command::new("timeout")
        .args(["--kill-after=10", "900", "bash", "-c", &script])
        .current_dir(repository())
        .env_clear()
        .env("PATH", format!("{bin}:{}", variable("PATH")))
        .env("HOME", home.path())
        .env("RUSTUP_HOME", tools("RUSTUP_HOME", ".rustup"))
        .env("CARGO_HOME", tools("CARGO_HOME", ".cargo"))
        .env(
            "npm_config_userconfig",
            format!("{}/.npmrc", variable("HOME")),
        )
        .env("XDG_CACHE_HOME", target.join("plugin-cache"))
        .env("CARGO_TARGET_DIR", target.join("plugin-projects"))
        .env("PLUGIN_TOOLS", repository().join("tools/plugins"))
        .env("GATEHOUSE_CLAUDE_BIN", cli())
        .env("GATEHOUSE_DATA_DIR", home.path().join("data"))
        .env("GATEHOUSE__JOB__WORK_DIR", home.path().join("work"))
        .env("GATEHOUSE__ISOLATION__UID_BASE", uid.to_string())
        .env("GATEHOUSE__ISOLATION__UID_COUNT", "8")
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{out}\n{error}");
    for expected in [
        "as expected: not written yet",
        "3 passed, 0 failed",
        "verdict   deny",
        "1 passed, 0 failed",
    ] {
        assert!(out.contains(expected), "{expected}: {out}\n{error}");
    }
    let (_, task) = out.rsplit_once("tool-permission").unwrap();
    for reason in [
        "Nothing is pushed by force here",
        "Nobody becomes root here",
    ] {
        assert!(task.contains(reason), "{reason}: {task}\n{error}");
    }
}
