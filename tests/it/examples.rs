//! Every request in `examples/tasks/` is carried out, and does what its page says.

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Elsewhere, Gateway, GitServer, Receiver, eventually, repository, words_of};
use serde_json::{Value, json};
use tokio::process::Command;

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
        ("12-reports", "failures=\"0\""),
        ("13-prompts", "It is for trying out gates."),
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
            "12-reports" => {
                let kept = &report["uploadedFiles"][0]["gcsPath"];
                let kept = kept.as_str().unwrap();
                assert!(kept.ends_with("/ci/reports/unit.xml"), "{report:#}");
                assert_eq!(
                    report["metadata"]["pipeline"]["url"],
                    "https://ci.example.com/4711"
                );
            }
            "13-prompts" => {
                let told = words_of(&sent[0].body);
                assert!(
                    told.contains("You explain workspaces") && told.contains("in one sentence")
                );
                assert!(!result.contains("reports"), "the tool ran: {result}");
            }
            _ => {}
        }
    }
}

/// The report of this example on a repository of the server's, with a forge beside it.
async fn pushed(
    name: &str,
    server: &GitServer,
    there: &Repository<'_>,
    forge: &Elsewhere,
) -> (Value, Gateway) {
    let place = there.https();
    let host = place.split('/').nth(2).unwrap();
    let manifest = Manifest::shipped()
        .git("")
        .pull_request(host, "github", &forge.url);
    let builder = Gateway::with().git_server(server).plugins(&manifest);
    let gateway = builder.scenario(name).start().await;
    let file = repository().join(format!("examples/tasks/{name}.json"));
    let mut request: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    request["anthropicApiKey"] = json!(gateway.canaries.api_key);
    request["gitRepo"] = json!(place);
    request["gitToken"] = json!(server.token);
    let (report, _) = gateway.ends(&request).await;
    gateway.has_leaked_nothing();
    (report, gateway)
}

/// The same of an example that adds to the changelog.
async fn on_a_repository(name: &str, server: &GitServer, forge: &Elsewhere) -> (Value, Gateway) {
    let there = server.repository("acme/app", &[("README", "Hello\n")]);
    let (report, gateway) = pushed(name, server, &there, forge).await;

    let branch = format!("changelog/{}", report["taskId"].as_str().unwrap());
    assert_eq!(report["gitCommit"]["branch"], branch.as_str(), "{report:#}");
    let changelog = there.file(&branch, "CHANGELOG.md").unwrap();
    assert!(changelog.contains("The gates open at nine."));
    (report, gateway)
}

#[tokio::test]
async fn the_example_of_large_files_puts_its_picture_into_lfs() {
    let server = GitServer::start().await;
    let attributes = "*.svg filter=lfs diff=lfs merge=lfs -text\n";
    let there = server.repository("site", &[(".gitattributes", attributes)]);
    let forge = Elsewhere::start([]).await;

    let (report, _gateway) = pushed("14-large-files", &server, &there, &forge).await;

    let branch = format!("logo/{}", report["taskId"].as_str().unwrap());
    assert_eq!(report["gitCommit"]["branch"], branch.as_str(), "{report:#}");
    let pointer = there.file(&branch, "logo.svg").unwrap();
    assert!(pointer.contains("oid sha256:"), "{pointer}");
    let file = there.file_of_a_clone(&branch, "logo.svg");
    assert!(file.starts_with("<svg"));
}

#[tokio::test]
async fn the_examples_of_a_repository_bring_their_work_to_a_branch_and_a_pull_request() {
    let server = GitServer::start().await;
    let forge = Elsewhere::start([]).await;
    on_a_repository("10-repository", &server, &forge).await;
    assert!(forge.received().is_empty());

    let server = GitServer::start().await;
    let opened = json!({"html_url": "https://github.com/acme/app/pull/7", "number": 7});
    let forge = Elsewhere::start([(201, opened)]).await;
    let (report, _) = on_a_repository("11-pull-request", &server, &forge).await;
    let opened = &report["actions"]["pullRequest"]["result"];
    assert_eq!(
        opened["url"], "https://github.com/acme/app/pull/7",
        "{report:#}"
    );
    let asked: Value = serde_json::from_slice(&forge.received()[0].body).unwrap();
    assert_eq!(
        (&asked["draft"], &asked["base"]),
        (&json!(true), &json!("trunk"))
    );
}

#[tokio::test]
async fn the_examples_by_curl_start_find_fetch_and_deliver() {
    let receiver = Receiver::start([500]).await;
    let gateway = Gateway::with()
        .scenario("12-reports")
        .env("GATEHOUSE__WEBHOOK__RETRY", "0s")
        .start()
        .await;
    let run = async |script: &str, arguments: &[&str]| {
        let ran = Command::new("bash")
            .arg(repository().join("examples/curl").join(script))
            .args(arguments)
            .env("GATEHOUSE_URL", &gateway.url)
            .env("ANTHROPIC_API_KEY", &gateway.canaries.api_key)
            .env("CALLBACK_URL", &receiver.url)
            .env("LIMIT", "1")
            .output();
        let ran = ran.await.unwrap();
        let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{script}: {complaint}");
        String::from_utf8(ran.stdout).unwrap().trim().to_owned()
    };
    let file = repository().join("examples/tasks/12-reports.json");
    let file = file.to_str().unwrap();

    let mut ids = Vec::new();
    for key in ["one", "one", "two"] {
        ids.push(run("start-once.sh", &[file, key]).await);
    }
    assert_eq!(ids[0], ids[1]);
    for id in &ids[1..] {
        assert_eq!(gateway.ended(id).await["status"], "completed");
    }

    let listed = run("tasks.sh", &["team:platform", "build:4711"]).await;
    let listed: Vec<&str> = listed
        .lines()
        .map(|line| line.split_once("\tcompleted\t").expect(line).0)
        .collect();
    assert_eq!(listed, [ids[2].as_str(), ids[0].as_str()]);
    assert_eq!(run("tasks.sh", &["team:nobody"]).await, "");

    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let checked = run("artifacts.sh", &[&ids[0], place]).await;
    assert_eq!(checked, "ci/reports/unit.xml: OK");
    let fetched = std::fs::read_to_string(directory.path().join("ci/reports/unit.xml")).unwrap();
    assert!(fetched.contains("failures=\"0\""));

    // The receiver refused the first of the two reports.
    let mut dead = Vec::new();
    for id in [&ids[0], &ids[2]] {
        let told = eventually("a report has been tried", async || {
            let told = run("deliveries.sh", &[id]).await;
            (told.starts_with("dead") || told.starts_with("delivered")).then_some(told)
        });
        if told.await.starts_with("dead") {
            dead.push(id);
        }
    }
    assert_eq!(dead.len(), 1);
    run("deliveries.sh", &[dead[0], "replay"]).await;
    eventually("the report is delivered", async || {
        let told = run("deliveries.sh", &[dead[0]]).await;
        told.starts_with("delivered").then_some(())
    })
    .await;
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}
