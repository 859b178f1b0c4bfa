//! What the agent made reaches its branch, and nobody else's work is lost on the way.
//!
//! The agent's part is played by commands before it, which run as the agent, where it will work.

use std::time::Duration;

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, GitServer};
use serde_json::{Value, json};

async fn gateway(server: &GitServer) -> Gateway {
    gateway_within(server, "60s").await
}

async fn gateway_within(server: &GitServer, push_timeout: &str) -> Gateway {
    Gateway::with()
        .git_server(server)
        .plugins(&Manifest::shipped().git(""))
        .env("GATEHOUSE__GIT__PUSH_TIMEOUT", push_timeout)
        .start()
        .await
}

/// A task on this repository by SSH.
fn request(gateway: &Gateway, repository: &Repository<'_>, commands: &[&str], git: Value) -> Value {
    gateway.request_with(
        "work",
        json!({
            "gitRepo": repository.ssh(), "sshKey": repository.server().key,
            "preExecutionCommands": commands, "postExecutionActions": {"git": git},
        }),
    )
}

/// Runs it; the report.
async fn run(gateway: &Gateway, request: &Value) -> Value {
    let events = gateway.run(request).await.rest().await;
    events.last().expect("a report").json()
}

/// The action went well and the remote's tip is what was reported.
fn pushed<'a>(report: &'a Value, repository: &Repository<'_>, branch: &str) -> &'a Value {
    let action = &report["actions"]["git"];
    assert_eq!(action["status"], "ok", "{report:#}");
    let commit = &report["gitCommit"];
    assert_eq!(commit["pushed"], true, "{report:#}");
    assert_eq!(commit["branch"], branch, "{report:#}");
    assert_eq!(
        commit["sha"].as_str(),
        repository.tip(branch).as_deref(),
        "{report:#}"
    );
    commit
}

const BOTH: fn() -> Value = || json!({"commit": true, "push": true, "commitMessage": "Change it"});

#[tokio::test]
async fn changes_are_committed_and_pushed_to_the_branch_that_was_cloned() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n"), ("gone", "x\n")]);
    let gateway = gateway(&server).await;

    let commands = ["echo 2 >> a && echo new > b && rm gone"];
    let report = run(&gateway, &request(&gateway, &repository, &commands, BOTH())).await;

    let commit = pushed(&report, &repository, "trunk");
    assert!(
        commit["message"]
            .as_str()
            .unwrap()
            .starts_with("Change it\n\nTask-Id: "),
        "{commit:#}"
    );
    assert_eq!(repository.file("trunk", "a").unwrap(), "1\n2\n");
    assert_eq!(repository.file("trunk", "b").unwrap(), "new\n");
    assert_eq!(repository.file("trunk", "gone"), None);
    assert_eq!(repository.log("trunk"), ["Change it", "Begin"]);
    let author = repository.git(&["log", "-1", "--format=%an <%ae>", "trunk"]);
    assert_eq!(author.trim(), "Claude Code <noreply@anthropic.com>");
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_branch_that_is_not_there_is_made_also_over_https() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let begin = repository.tip("trunk");
    let gateway = gateway(&server).await;
    let mut request = request(
        &gateway,
        &repository,
        &["echo 2 > a"],
        json!({"commit": true, "push": true, "branch": "tasks/{taskId}"}),
    );
    request["gitRepo"] = json!(repository.https());
    request["gitToken"] = json!(server.token);
    request.as_object_mut().unwrap().remove("sshKey");

    let report = run(&gateway, &request).await;

    let branch = format!("tasks/{}", report["taskId"].as_str().unwrap());
    pushed(&report, &repository, &branch);
    assert_eq!(repository.tip("trunk"), begin);
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn commits_of_the_agents_own_are_pushed_and_nothing_is_no_failure() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    let own = "git config user.name Agent && git config user.email agent@example.com && \
               echo 2 > a && git commit -qam One && echo 3 > a && git commit -qam Two";

    let push_only = json!({"push": true});
    let report = run(
        &gateway,
        &request(&gateway, &repository, &[own], push_only.clone()),
    )
    .await;
    pushed(&report, &repository, "trunk");
    assert_eq!(repository.log("trunk"), ["Two", "One", "Begin"]);

    let report = run(
        &gateway,
        &request(&gateway, &repository, &["true"], push_only),
    )
    .await;
    assert_eq!(report["status"], "completed");
    assert_eq!(
        report["actions"]["git"]["result"]["pushed"], false,
        "{report:#}"
    );
    assert_eq!(report.get("gitCommit"), None);
}

#[tokio::test]
async fn what_somebody_else_pushed_meanwhile_is_kept_and_the_agents_changes_win() {
    let server = GitServer::start().await;
    let many = (1..=40).map(|line| format!("{line}\n")).collect::<String>();
    let repository = server.repository(
        "app",
        &[("both", &many), ("theirs", "1\n"), ("ours", "1\n")],
    );
    // Shallow, and diverged in several commits.
    repository.commit("trunk", "Second", &[("theirs", "2\n")]);
    let gateway = gateway(&server).await;
    let wait =
        "until [ -e /tmp/gatehouse-tests-moved-$(basename $(dirname $PWD)) ]; do sleep 0.1; done";
    let change = "sed -i 's/^20$/agent/' both && echo 2 > ours && git rev-parse HEAD";
    let mut request = request(&gateway, &repository, &[change, wait], BOTH());
    request["callbackUrl"] = json!("http://127.0.0.1:59998/");
    let id = gateway.run_async(&request).await;
    cloned(&gateway, &id).await;

    let others = many
        .replace("\n20\n", "\nsomebody\n")
        .replace("\n1\n", "\n");
    repository.commit("trunk", "Third", &[("both", &others), ("theirs", "3\n")]);
    let fourth = repository.commit("trunk", "Fourth", &[("new", "4\n")]);
    std::fs::write(format!("/tmp/gatehouse-tests-moved-{id}"), "").unwrap();

    let report = gateway.ended(&id).await;
    let commit = pushed(&report, &repository, "trunk");
    assert_eq!(commit["recovery"]["method"], "rebase", "{report:#}");
    assert_eq!(commit["recovery"]["remoteSha"], fourth.as_str());
    assert_eq!(commit["recovery"]["conflictFiles"], json!(["both"]));
    assert_eq!(
        repository.log("trunk"),
        ["Change it", "Fourth", "Third", "Second", "Begin"]
    );
    let both = repository.file("trunk", "both").unwrap();
    assert!(
        both.contains("\nagent\n") && !both.contains("somebody"),
        "{both}"
    );
    assert_eq!(repository.file("trunk", "theirs").unwrap(), "3\n");
    assert_eq!(repository.file("trunk", "new").unwrap(), "4\n");
    assert_eq!(repository.file("trunk", "ours").unwrap(), "2\n");
    let _ = std::fs::remove_file(format!("/tmp/gatehouse-tests-moved-{id}"));
    gateway.is_clean().await;
}

/// Waits until the task has its repository.
async fn cloned(gateway: &Gateway, id: &str) {
    gatehouse_tests::eventually("the repository is cloned", || async {
        let record = gateway.get(&format!("/tasks/{id}")).await;
        assert_ne!(record["status"], "failed", "{record:#}");
        record["repository"].is_object().then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_rebased_goes_to_a_new_branch_and_fail_fails() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("image", "\0one\n"), ("a", "1\n")]);
    let gateway = gateway(&server).await;
    for (strategy, is_pushed) in [("auto", true), ("fail", false)] {
        let before = repository.tip("trunk").unwrap();
        let git = json!({"commit": true, "push": true, "conflictStrategy": strategy});
        // The agent removes what the other side changes meanwhile.
        let commands = [
            "git rm -q image",
            "until [ -e /tmp/gatehouse-tests-moved-$(basename $(dirname $PWD)) ]; do sleep 0.1; done",
        ];
        let mut request = request(&gateway, &repository, &commands, git);
        request["callbackUrl"] = json!("http://127.0.0.1:59998/");
        let id = gateway.run_async(&request).await;
        cloned(&gateway, &id).await;
        let moved = repository.commit("trunk", "Theirs", &[("image", &format!("\0{strategy}\n"))]);
        std::fs::write(format!("/tmp/gatehouse-tests-moved-{id}"), "").unwrap();

        let report = gateway.ended(&id).await;

        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(
            repository.tip("trunk"),
            Some(moved.clone()),
            "nobody else's commit is overwritten"
        );
        if is_pushed {
            let branch = format!("trunk-{id}");
            let commit = pushed(&report, &repository, &branch);
            assert_eq!(commit["recovery"]["method"], "new-branch");
            assert_eq!(commit["recovery"]["remoteSha"], moved.as_str());
            assert_eq!(
                repository.git(&["rev-parse", &format!("{branch}^")]).trim(),
                before
            );
        } else {
            let action = &report["actions"]["git"];
            assert_eq!(action["status"], "error", "{report:#}");
            assert!(
                action["error"]
                    .as_str()
                    .unwrap()
                    .contains("conflictStrategy"),
                "{report:#}"
            );
            let kept = gateway.get(&format!("/tasks/{id}/artifacts")).await;
            assert_eq!(kept["artifacts"][0]["path"], "unpushed.bundle", "{kept:#}");
        }
        let _ = std::fs::remove_file(format!("/tmp/gatehouse-tests-moved-{id}"));
    }
}

#[tokio::test]
async fn two_tasks_that_race_for_one_branch_both_arrive() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    let one = request(&gateway, &repository, &["echo x > one"], BOTH());
    let two = request(&gateway, &repository, &["echo x > two"], BOTH());

    let (one, two) = tokio::join!(run(&gateway, &one), run(&gateway, &two));

    for report in [&one, &two] {
        assert_eq!(report["gitCommit"]["pushed"], true, "{report:#}");
    }
    assert_eq!(repository.log("trunk").len(), 3);
    assert!(repository.file("trunk", "one").is_some() && repository.file("trunk", "two").is_some());
}

#[tokio::test]
async fn a_branch_that_is_protected_refuses_and_the_commits_are_kept() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let before = repository.tip("trunk");
    repository.hook("pre-receive", "echo 'this branch is protected' >&2; exit 1");
    let gateway = gateway(&server).await;

    let report = run(
        &gateway,
        &request(&gateway, &repository, &["echo 2 > a"], BOTH()),
    )
    .await;

    let error = report["actions"]["git"]["error"].as_str().unwrap();
    assert!(
        error.contains("this branch is protected") && error.contains("unpushed.bundle"),
        "{error}"
    );
    assert_eq!(repository.tip("trunk"), before);
    let id = report["taskId"].as_str().unwrap();
    let response = gateway
        .try_get(&format!("/tasks/{id}/artifacts/unpushed.bundle"))
        .await
        .unwrap();
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), response.bytes().await.unwrap()).unwrap();
    let heads = repository.git(&["bundle", "list-heads", &bundle.path().display().to_string()]);
    assert!(heads.contains("HEAD"), "{heads}");
}

#[tokio::test]
async fn a_server_that_hangs_ends_the_push_and_leaves_nothing_running() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    repository.hook("pre-receive", "sleep 600");
    let gateway = gateway_within(&server, "5s").await;

    let started = std::time::Instant::now();
    let report = run(
        &gateway,
        &request(&gateway, &repository, &["echo 2 > a"], BOTH()),
    )
    .await;

    let error = report["actions"]["git"]["error"].as_str().unwrap();
    assert!(error.contains("git.push_timeout"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(90));
    gateway.is_clean().await;
}

#[tokio::test]
async fn no_secret_leaves_by_a_push() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let before = repository.tip("trunk");
    let gateway = gateway(&server).await;
    let aws = "AKIAIOSFODNN7EXAMPLE";
    for (command, place) in [
        ("printf %s \"$TOKEN\" > config".to_owned(), "config"),
        (format!("echo 'key = {aws}' > settings.ini"), "settings.ini"),
        (
            "git config user.email a@b && git config user.name A && git commit -q --allow-empty -m \"with $TOKEN\"".to_owned(),
            "message",
        ),
        // Taken out again, it is in the history still.
        (
            "git config user.email a@b && git config user.name A && echo \"$TOKEN\" > x && git add x && git commit -qm add && git rm -q x && git commit -qm remove".to_owned(),
            "`x`",
        ),
    ] {
        let mut request = request(&gateway, &repository, &[&command], BOTH());
        request["environmentSecrets"] = json!({"TOKEN": gateway.canaries.environment_secret});

        let report = run(&gateway, &request).await;

        let error = report["actions"]["git"]["error"].as_str().unwrap_or_else(|| panic!("{report:#}"));
        assert!(error.contains("Nothing was pushed") && error.contains(place), "{error}");
        assert!(!error.contains(aws));
        assert_eq!(repository.tip("trunk"), before);
        let id = report["taskId"].as_str().unwrap();
        let kept = gateway.get(&format!("/tasks/{id}/artifacts")).await;
        assert_eq!(kept["artifacts"], json!([]), "{kept:#}");
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn an_empty_repository_gets_its_first_commit() {
    let server = GitServer::start().await;
    let repository = server.empty_repository("app");
    let gateway = gateway(&server).await;

    let mut request = request(&gateway, &repository, &["echo 1 > a"], BOTH());
    request["gitBranch"] = json!("trunk");

    let report = run(&gateway, &request).await;

    pushed(&report, &repository, "trunk");
    assert_eq!(repository.log("trunk"), ["Change it"]);
}

#[tokio::test]
async fn only_the_files_that_were_named_are_committed() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    let git = json!({"commit": true, "push": true, "files": ["docs", "a"]});

    let commands = ["mkdir docs && echo 1 > docs/x && echo 2 > a && echo 3 > other"];
    let report = run(&gateway, &request(&gateway, &repository, &commands, git)).await;

    pushed(&report, &repository, "trunk");
    assert_eq!(repository.file("trunk", "docs/x").unwrap(), "1\n");
    assert_eq!(repository.file("trunk", "other"), None);
}

#[tokio::test]
async fn a_file_of_secrets_is_not_committed_even_where_it_is_named() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    for files in [json!([".env", "a"]), json!(["."]), json!([":(top).env"])] {
        let git = json!({"commit": true, "push": true, "files": files});
        let commands = ["echo more >> a; rm .git/info/exclude"];
        let mut request = request(&gateway, &repository, &commands, git);
        request["environmentSecrets"] = json!({"PORT": "8081"});
        request["envFile"] = json!("workspace");

        let report = run(&gateway, &request).await;

        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(
            repository.file("trunk", ".env"),
            None,
            "{files}: {report:#}"
        );
    }
    assert!(repository.file("trunk", "a").unwrap().contains("more"));
}

#[tokio::test]
async fn a_task_full_of_secrets_leaves_none_of_them_anywhere() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    // The agent has them all printed, and git told to forget its exceptions.
    let commands = [
        "env; cat .env; cat .git/config; ls -la . $HOME $TMPDIR",
        "rm -f .git/info/exclude; echo 2 > a",
    ];
    let mut request = request(&gateway, &repository, &commands, BOTH());
    request["environmentSecrets"] = json!({"TOKEN": gateway.canaries.environment_secret});
    request["gitToken"] = json!(server.token);
    request["envFile"] = json!("workspace");
    request["postExecutionActions"]["uploadFiles"] = json!({"globPatterns": ["**", ".git/**"]});

    let report = run(&gateway, &request).await;

    pushed(&report, &repository, "trunk");
    assert_eq!(repository.file("trunk", "a").unwrap(), "2\n");
    assert_eq!(repository.file("trunk", ".env"), None);
    let history = repository.git(&["log", "--all", "--patch", "--text"]);
    assert!(gateway.canaries.found_in(history.as_bytes()).is_empty());
    gateway.is_clean().await;
    let skipped = &report["actions"]["uploadFiles"]["result"]["skipped"];
    let reason = |path: &str| {
        let mut skipped = skipped.as_array().unwrap().iter();
        let found = skipped.find(|file| file["path"] == path);
        found.map(|file| file["reason"].as_str().unwrap().to_owned())
    };
    assert!(
        reason(".env").unwrap().contains("holds a secret"),
        "{report:#}"
    );
    gateway.has_leaked_nothing();
    let report = report.to_string();
    assert!(gateway.canaries.found_in(report.as_bytes()).is_empty());
}
