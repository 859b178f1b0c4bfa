//! What cannot be put on top of the remote's branch goes beside it, and nothing that is said on the way
//! tells a secret.

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, GitServer, eventually};
use serde_json::{Value, json};

const IDENTITY: &str = "git config user.name A && git config user.email a@b";

async fn gateway(server: &GitServer) -> Gateway {
    let mut builder = Gateway::with().plugins(&Manifest::shipped().git(""));
    for (name, value) in server.settings() {
        builder = builder.env(name, &value);
    }
    builder.start().await
}

fn request(gateway: &Gateway, repository: &Repository<'_>, commands: &[&str], git: Value) -> Value {
    let mut request = gateway.request_with(
        "work",
        json!({
            "gitRepo": repository.ssh(), "sshKey": repository.server().key,
            "preExecutionCommands": commands, "postExecutionActions": {"git": git},
        }),
    );
    request["environmentSecrets"] = json!({"TOKEN": gateway.canaries.environment_secret});
    request
}

#[tokio::test]
async fn what_git_says_of_a_rebase_that_failed_is_redacted_before_it_is_logged() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("theirs", "1\n")]);
    let gateway = gateway(&server).await;
    // A filter that fails says so with its command, which holds a secret of the task.
    let filter = "git config filter.f.smudge \"echo $TOKEN; false\" && \
                  git config filter.f.clean cat && git config filter.f.required true && mkdir -p .git/info && \
                  echo 'theirs filter=f' > .git/info/attributes";
    let wait =
        "until [ -e /tmp/gatehouse-tests-moved-$(basename $(dirname $PWD)) ]; do sleep 0.1; done";
    let git = json!({"commit": true, "push": true});
    let mut request = request(&gateway, &repository, &["echo 1 > ours", filter, wait], git);
    request["callbackUrl"] = json!("http://127.0.0.1:59998/");
    let id = gateway.run_async(&request).await;
    eventually("the repository is cloned", || async {
        let record = gateway.get(&format!("/tasks/{id}")).await;
        assert_ne!(record["status"], "failed", "{record:#}");
        record["repository"].is_object().then_some(())
    })
    .await;
    repository.commit("trunk", "Theirs", &[("theirs", "2\n")]);
    let moved = format!("/tmp/gatehouse-tests-moved-{id}");
    std::fs::write(&moved, "").unwrap();

    let report = gateway.ended(&id).await;

    let _ = std::fs::remove_file(moved);
    let commit = &report["gitCommit"];
    assert_eq!(commit["recovery"]["method"], "new-branch", "{report:#}");
    let log = std::io::read_to_string(gateway.open_job_log(&id)).unwrap();
    let said = log
        .lines()
        .find(|line| line.contains("cannot be rebased"))
        .unwrap_or_else(|| panic!("{log}"));
    // The very command is told, without its secret.
    let redacted = "external filter 'echo [REDACTED]; false' failed";
    assert!(said.contains(redacted), "{said}");
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn commits_that_leave_the_cloned_history_behind_go_beside_it_or_nowhere() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let before = repository.tip("trunk");
    let gateway = gateway(&server).await;
    let orphan = format!(
        "{IDENTITY} && git checkout -q --orphan fresh && git rm -rqf . && echo 1 > new && \
         git add new && git commit -qm Anew"
    );
    for strategy in ["auto", "fail"] {
        let git = json!({"push": true, "conflictStrategy": strategy});
        let request = request(&gateway, &repository, &[&orphan], git);

        let events = gateway.run(&request).await.rest().await;

        let report = events.last().unwrap().json();
        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(
            repository.tip("trunk"),
            before,
            "nobody's history is replaced"
        );
        let branch = format!("trunk-{}", report["taskId"].as_str().unwrap());
        if strategy == "auto" {
            let commit = &report["gitCommit"];
            assert_eq!(commit["recovery"]["method"], "new-branch", "{report:#}");
            assert_eq!(commit["branch"], branch.as_str());
            assert_eq!(commit["sha"].as_str(), repository.tip(&branch).as_deref());
            assert_eq!(repository.log(&branch), ["Anew"]);
            assert_eq!(repository.file(&branch, "a"), None);
        } else {
            let error = report["actions"]["git"]["error"].as_str().unwrap();
            assert!(error.contains("conflictStrategy"), "{error}");
            assert_eq!(repository.tip(&branch), None);
        }
    }
}
