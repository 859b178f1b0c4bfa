//! Repositories are cloned over real SSH and HTTPS, as their callers believe.

use std::time::Duration;

use gatehouse_tests::{Event, Gateway, GitServer};
use serde_json::{Value, json};

/// A gateway that trusts the server and looks for its secrets in the end.
async fn gateway(server: &GitServer) -> Gateway {
    gateway_with(server, &[]).await
}

async fn gateway_with(server: &GitServer, settings: &[(&str, &str)]) -> Gateway {
    let mut builder = Gateway::with();
    for (name, value) in server.settings() {
        builder = builder.env(name, &value);
    }
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    let mut gateway = builder.start().await;
    gateway.canaries.add(&server.key);
    gateway.canaries.add(&server.token);
    gateway
}

/// Runs a task whose commands look at the workspace; its report and what they printed.
async fn look(gateway: &Gateway, fields: Value, commands: &[&str]) -> (Value, String) {
    let mut request = gateway.request_with("look around", fields);
    request["preExecutionCommands"] = json!(commands);
    let events = gateway.run(&request).await.rest().await;
    let report = events.last().expect("a report").json();
    (report, printed(&events))
}

fn printed(events: &[Event]) -> String {
    let lines = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(Event::json);
    let texts = lines
        .filter(|line| line["phase"] == "preExecution" && line["stream"] == "stdout")
        .map(|line| line["text"].as_str().unwrap_or_default().to_owned());
    texts.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_private_repository_is_cloned_by_ssh_and_by_https() {
    let server = GitServer::start().await;
    let repository = server.repository(
        "app",
        &[("README", "Hello\n"), ("src/main.rs", "fn main() {}\n")],
    );
    let tip = repository.tip("trunk").unwrap();
    let gateway = gateway(&server).await;

    for fields in [
        json!({"gitRepo": repository.ssh(), "sshKey": server.key}),
        json!({"gitRepo": repository.https(), "gitToken": server.token}),
    ] {
        let commands = [
            "cat README src/main.rs",
            "git rev-parse HEAD",
            "git status --porcelain --branch",
            "git remote -v",
        ];
        let (report, printed) = look(&gateway, fields, &commands).await;

        assert_eq!(
            report["status"],
            "completed",
            "{report:#}\n{}",
            gateway.log()
        );
        let url = report["taskId"].as_str().unwrap();
        let record = gateway.get(&format!("/tasks/{url}")).await;
        assert_eq!(record["repository"]["commit"], tip.as_str());
        assert_eq!(record["repository"]["branch"], "trunk");
        assert!(
            printed.starts_with(&format!(
                "Hello\nfn main() {{}}\n{tip}\n## trunk...origin/trunk\norigin\t"
            )),
            "{printed}"
        );
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn what_cannot_be_cloned_is_told_as_what_to_do() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!(
        "ssh://git@127.0.0.1:{}/x",
        silent.local_addr().unwrap().port()
    );
    let gateway = gateway_with(&server, &[("GATEHOUSE__GIT__CLONE_TIMEOUT", "4s")]).await;
    let closed = "ssh://git@127.0.0.1:1025/x";
    let gone = repository.ssh().replace("app.git", "gone.git");
    let key = |repository: &str| json!({"gitRepo": repository, "sshKey": server.key});

    for (fields, words) in [
        (
            json!({"gitRepo": repository.ssh(), "sshKey": server.strangers_key()}),
            "Check that sshKey is a deploy key",
        ),
        (
            json!({"gitRepo": repository.https()}),
            "Authentication failed",
        ),
        (
            json!({"gitRepo": repository.https(), "gitToken": "wrong-token"}),
            "Authentication failed",
        ),
        (key(&gone), "Repository not found"),
        (
            json!({"gitRepo": repository.ssh(), "sshKey": server.key, "gitBranch": "nope"}),
            "gitBranch names no branch",
        ),
        (key(closed), "cannot be reached"),
        (key(&silent), "timed out"),
    ] {
        let started = std::time::Instant::now();
        let (report, _) = look(&gateway, fields, &[]).await;
        let error = report["error"].as_str().unwrap();
        assert_eq!(
            (&report["status"], &report["reason"]),
            (&json!("failed"), &json!("setup")),
            "{report:#}"
        );
        assert!(
            error.starts_with("Failed to clone repository: ") && error.contains(words),
            "{error}"
        );
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}
