//! `environmentSecrets` and where the agent works.

use std::process::Command;

use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, GitServer};
use serde_json::{Value, json};

async fn gateway(command: &str) -> Gateway {
    Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": command}}]},
            {"text": "seen: {{last_tool_result}}"},
        ]))
        .start()
        .await
}

fn request(gateway: &Gateway, more: Value) -> Value {
    let mut request = gateway.request_with("go", json!({"permissionMode": "bypassPermissions"}));
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

/// Short values, so that they are not redacted.
const SECRETS: &str = r#"{"A": "it's", "B": "x\nE=1", "C": "$A"}"#;

fn secrets() -> Value {
    serde_json::from_str(SECRETS).unwrap()
}

#[tokio::test]
async fn the_file_lies_in_the_home_unless_the_request_says_otherwise() {
    let look = "stat -c '%a %U %n' .env \"$HOME/.env\" 2>&1; set -a; . \"$HOME/.env\"; echo \"A=$A B=$B C=$C E=$E\"; id -un";
    let gateway = gateway(look).await;
    let (report, _) = gateway
        .ends(&request(&gateway, json!({"environmentSecrets": secrets()})))
        .await;
    let result = report["result"].as_str().unwrap();
    assert!(
        result.contains("cannot statx '.env'") || result.contains("cannot stat '.env'"),
        "{result}"
    );
    assert!(
        result.contains("600 ") && result.contains("/home/.env"),
        "{result}"
    );
    assert!(result.contains("A=it's B=x\nE=1 C=$A E=\n"), "{result}");
}

#[tokio::test]
async fn the_file_lies_in_the_workspace_where_asked() {
    let gateway = gateway("stat -c '%a %n' .env; ls \"$HOME/.env\"").await;
    let more = json!({"environmentSecrets": secrets(), "envFile": "workspace"});
    let (report, _) = gateway.ends(&request(&gateway, more)).await;
    let result = report["result"].as_str().unwrap();
    assert!(
        result.contains("600 .env") && result.contains("No such file"),
        "{result}"
    );
}

async fn gateway_at(server: &GitServer, command: &str) -> Gateway {
    Gateway::with()
        .git_server(server)
        .plugins(&Manifest::empty().git(""))
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": command}}]},
            {"text": "seen: {{last_tool_result}}"},
        ]))
        .start()
        .await
}

/// Not by the agent's git, and not by ours, whatever the agent made of the list of exceptions.
#[tokio::test]
async fn the_file_in_the_workspace_is_in_no_commit() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let look =
        "git status --short -uall > status; cat .git/info/exclude > list; : > .git/info/exclude";
    let gateway = gateway_at(&server, look).await;
    let more = json!({
        "environmentSecrets": {"TOKEN": gateway.canaries.environment_secret}, "envFile": "workspace",
        "gitRepo": repository.https(), "gitToken": repository.token(),
        "postExecutionActions": {"git": {"commit": true, "push": true}},
    });
    let (report, _) = gateway.ends(&request(&gateway, more)).await;
    assert_eq!(report["actions"]["git"]["status"], "ok", "{report:#}");
    assert_eq!(repository.file("trunk", ".env"), None);
    let status = repository.file("trunk", "status").unwrap();
    assert!(!status.contains(".env"), "{status}");
    let list = repository.file("trunk", "list").unwrap();
    assert!(list.lines().any(|line| line == "/.env"), "{list}");
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_file_of_the_repository_s_own_is_not_overwritten() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[(".env", "THEIRS=1\n")]);
    let gateway = gateway_at(&server, "cat .env").await;
    for (env_file, ends) in [("workspace", "setup"), ("outside", "")] {
        let more = json!({
            "environmentSecrets": secrets(), "envFile": env_file,
            "gitRepo": repository.https(), "gitToken": repository.token(),
        });
        let (report, _) = gateway.ends(&request(&gateway, more)).await;
        assert_eq!(
            report["reason"].as_str().unwrap_or_default(),
            ends,
            "{report:#}"
        );
        let told = if ends.is_empty() {
            &report["result"]
        } else {
            &report["error"]
        };
        let expected = if ends.is_empty() {
            "THEIRS=1"
        } else {
            "a .env of its own"
        };
        assert!(told.as_str().unwrap().contains(expected), "{report:#}");
    }
}

#[tokio::test]
async fn a_link_or_a_file_of_the_repository_is_no_working_directory() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let script = "cd \"$(mktemp -d)\" && git clone -q -b trunk \"$0\" . && ln -s /tmp out && ln -s README here && \
                  git add . && git -c user.name=x -c user.email=x@y commit -qm links && git push -q";
    let linked = Command::new("sh")
        .args(["-c", script])
        .arg(repository.path())
        .output()
        .unwrap();
    assert!(linked.status.success(), "{linked:?}");
    let gateway = gateway_at(&server, "pwd").await;
    for wrong in ["out", "out/below", "README", "README/below", "here"] {
        let more = json!({
            "cwdRelative": wrong, "gitRepo": repository.https(), "gitToken": repository.token(),
        });
        let (report, _) = gateway.ends(&request(&gateway, more)).await;
        assert_eq!(report["reason"], "setup", "{wrong} {report:#}");
        assert!(
            report["error"].as_str().unwrap().contains("cwdRelative"),
            "{report:#}"
        );
    }
    assert!(!std::path::Path::new("/tmp/below").exists());
    assert!(gateway.model_requests().is_empty());
}

#[tokio::test]
async fn commands_run_as_the_agent_s_user_with_its_variables_and_nothing_of_the_job_s() {
    let gateway = gateway("id -u; env").await;
    let more =
        json!({"environmentSecrets": {"GIVEN": "yes"}, "preExecutionCommands": ["id -u; env"]});
    let (report, events) = gateway.ends(&request(&gateway, more)).await;
    let agents = report["result"].as_str().unwrap().to_owned();
    let lines: Vec<String> = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(gatehouse_tests::Event::json)
        .filter(|line| line["phase"] == "preExecution" && line["stream"] == "stdout")
        .map(|line| line["text"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        agents.contains(&format!("seen: {}\n", lines[0])),
        "{agents} {lines:?}"
    );
    assert!(lines.contains(&"GIVEN=yes".to_owned()) && agents.contains("GIVEN=yes"));
    let allowed = [
        "PATH", "LANG", "CI", "HOME", "TMPDIR", "PWD", "OLDPWD", "SHLVL", "_", "GIVEN",
    ];
    for line in &lines[1..] {
        let name = line.split('=').next().unwrap();
        assert!(allowed.contains(&name), "{line}");
    }
}

#[tokio::test]
async fn no_file_is_written_where_none_is_wanted_and_the_variables_are_there_all_the_same() {
    let gateway = gateway("ls -a . \"$HOME\"; echo \"A=$A\"").await;
    let more = json!({
        "environmentSecrets": secrets(), "envFile": "none", "preExecutionCommands": ["test \"$A\" = \"it's\""],
    });
    let (report, _) = gateway.ends(&request(&gateway, more)).await;
    let result = report["result"].as_str().unwrap();
    assert!(
        !result.contains(".env") && result.contains("A=it's"),
        "{report:#}"
    );
}

/// By the reader that most JavaScript uses (the expression is dotenv's own), and by node's.
#[tokio::test]
async fn readers_of_such_files_find_no_variable_that_was_not_given() {
    let gateway = gateway("base64 -w0 \"$HOME/.env\"").await;
    let values = [
        "plain",
        "two words",
        "it's",
        "\"so\"",
        "it's \"both\"",
        "x\nEVIL=1",
        "'\nEVIL=1\n'",
        "\"\nEVIL=1\n\"",
        "it's \"both\"\nEVIL=1",
        "\\",
        "\\'",
        "\nEVIL=1\n",
        "`\nEVIL=1",
        "a #b",
        "\\\\'\"\n",
        "x\r\nEVIL=1",
        "'\\''\nEVIL=1",
        "\"\\\"\nEVIL=1",
    ];
    // In each order, so that one value cannot be completed by the next.
    for shift in 0..values.len() {
        let secrets: serde_json::Map<_, _> = (0..values.len())
            .map(|n| {
                (
                    format!("V{n:02}"),
                    json!(values[(n + shift) % values.len()]),
                )
            })
            .collect();
        if shift % 6 != 0 {
            continue;
        }
        let (report, _) = gateway
            .ends(&request(&gateway, json!({"environmentSecrets": secrets})))
            .await;
        let encoded = report["result"]
            .as_str()
            .unwrap()
            .trim_start_matches("seen: ")
            .trim()
            .to_owned();
        let script = r#"
            const text = Buffer.from(process.argv[1], "base64").toString();
            const LINE = /(?:^|^)\s*(?:export\s+)?([\w.-]+)(?:\s*=\s*?|:\s+?)(\s*'(?:\\'|[^'])*'|\s*"(?:\\"|[^"])*"|\s*`(?:\\`|[^`])*`|[^#\r\n]+)?\s*(?:#.*)?(?:$|$)/mg;
            const found = {};
            let match;
            const lines = text.replace(/\r\n?/mg, "\n");
            while ((match = LINE.exec(lines)) != null) found[match[1]] = match[2];
            const names = [...Object.keys(found), ...Object.keys(require("util").parseEnv?.(text) ?? {})];
            console.log(names.filter((name) => !/^V\d\d$/.test(name)).join(","));
        "#;
        let output = Command::new("node")
            .args(["-e", script, &encoded])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            "",
            "order {shift}"
        );
    }
}

#[tokio::test]
async fn the_agent_and_the_commands_work_where_the_request_says() {
    let gateway = gateway("pwd").await;
    let more = json!({"cwdRelative": "./packages//api", "preExecutionCommands": ["pwd", "test \"$(basename \"$PWD\")\" = api"]});
    let (report, events) = gateway.ends(&request(&gateway, more)).await;
    assert!(
        report["result"]
            .as_str()
            .unwrap()
            .contains("/workspace/packages/api"),
        "{report:#}"
    );
    assert!(
        events
            .iter()
            .any(|event| event.data.contains("preExecution")
                && event.data.contains("/workspace/packages/api\""))
    );
}

#[tokio::test]
async fn a_path_that_leads_elsewhere_is_refused_and_makes_nothing() {
    let gateway = gateway("pwd").await;
    for wrong in ["..", "/etc", "a/../../b", "a\u{0}b", &"x/".repeat(5000)] {
        let refusal = gateway
            .refused(&request(&gateway, json!({"cwdRelative": wrong})))
            .await;
        assert_eq!(
            (&refusal["status"], &refusal["field"]),
            (&json!(400), &json!("cwdRelative")),
            "{wrong}"
        );
    }
    // Of the right form, and no name that a file system takes.
    let (report, _) = gateway
        .ends(&request(&gateway, json!({"cwdRelative": "x".repeat(300)})))
        .await;
    assert_eq!(report["reason"], "setup", "{report:#}");
    assert!(
        report["error"].as_str().unwrap().contains("cwdRelative"),
        "{report:#}"
    );
}
