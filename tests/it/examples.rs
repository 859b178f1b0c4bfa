//! Every request in `examples/tasks/` is carried out, and does what its page says.

use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, GitServer, repository, words_of};
use serde_json::{Value, json};

/// The report of `examples/tasks/{name}.json` against `examples/scenarios/{name}.json`, and the gateway.
async fn carried_out(name: &str) -> (Value, Gateway) {
    let gateway = Gateway::with().scenario(name).start().await;
    let file = repository().join(format!("examples/tasks/{name}.json"));
    let mut request: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    request["anthropicApiKey"] = json!(gateway.canaries.api_key);
    let (report, _) = gateway.ends(&request).await;
    assert_eq!(report["status"], "completed", "{name}: {report:#}");
    gateway.has_leaked_nothing();
    (report, gateway)
}

#[tokio::test]
async fn the_examples_of_the_agents_configuration_do_what_they_say() {
    for (name, expected) in [
        ("02-command", "def login(): return None"),
        ("03-subagent", "The reviewer says: "),
        ("04-mcp-server", "open from 9 to 18"),
        ("05-environment", "PORT=8081"),
        ("06-trusted-repository", "The hook has prepared"),
        ("07-prepare", "left-pad==1.3.0"),
        ("08-structured-answer", "\"gates\":4"),
        ("09-limits", "It is empty."),
    ] {
        let (report, gateway) = carried_out(name).await;
        let result = report["result"].as_str().unwrap();
        assert!(result.contains(expected), "{name}: {result}");
        let sent = gateway.model_requests();
        match name {
            "02-command" => assert_eq!(sent[0].body["model"], "claude-haiku-4-5"),
            "06-trusted-repository" => {
                assert!(words_of(&sent[0].body).contains("Say WELCOME first."))
            }
            "08-structured-answer" => {
                assert_eq!(
                    report["structuredOutput"],
                    json!({"gates": 4, "open": true})
                );
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn the_example_of_a_repository_brings_its_work_to_a_branch() {
    let server = GitServer::start().await;
    let repository_there = server.repository("app", &[("README", "Hello\n")]);
    let name = "10-repository";
    let manifest = Manifest::shipped().git("");
    let builder = Gateway::with().git_server(&server).plugins(&manifest);
    let gateway = builder.scenario(name).start().await;
    let file = repository().join(format!("examples/tasks/{name}.json"));
    let mut request: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    request["anthropicApiKey"] = json!(gateway.canaries.api_key);
    request["gitRepo"] = json!(repository_there.https());
    request["gitToken"] = json!(server.token);

    let (report, _) = gateway.ends(&request).await;

    let branch = format!("changelog/{}", report["taskId"].as_str().unwrap());
    assert_eq!(report["gitCommit"]["branch"], branch.as_str(), "{report:#}");
    let changelog = repository_there.file(&branch, "CHANGELOG.md").unwrap();
    assert!(changelog.contains("The gates open at nine."));
}
