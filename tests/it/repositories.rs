//! Repositories are cloned over real SSH and HTTPS, as their callers believe.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Event, Gateway, GitServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A gateway that trusts the server and looks for its secrets in the end.
async fn gateway(server: &GitServer) -> Gateway {
    gateway_with(server, &[]).await
}

async fn gateway_with(server: &GitServer, settings: &[(&str, &str)]) -> Gateway {
    let manifest = Manifest::shipped().git("");
    let mut builder = Gateway::with().git_server(server).plugins(&manifest);
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    builder.start().await
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
            json!({"gitRepo": repository.https().replace("/app", "/moved/app"), "gitToken": server.token}),
            "redirect",
        ),
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

#[tokio::test]
async fn a_tag_a_commit_and_more_history_are_had_where_they_are_asked_for() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    repository.git(&["tag", "-a", "-m", "first", "v1", "trunk"]);
    let second = repository.commit("trunk", "Second", &[("a", "2\n")]);
    repository.commit("trunk", "Third", &[("a", "3\n")]);
    repository.commit("side", "Aside", &[("a", "4\n")]);
    let gateway = gateway(&server).await;
    let fields = |more: Value| {
        let mut fields = json!({"gitRepo": repository.ssh(), "sshKey": server.key});
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };

    for (more, content, commits) in [
        (json!({}), "3", 1),
        (json!({"gitDepth": 2}), "3", 2),
        (json!({"gitDepth": 50}), "3", 3),
        (json!({"gitBranch": "side"}), "4", 1),
        (json!({"gitBranch": "v1"}), "1", 1),
        (json!({"gitBranch": second}), "2", 1),
    ] {
        let commands = ["cat a", "git rev-list --count HEAD"];
        let (report, printed) = look(&gateway, fields(more.clone()), &commands).await;
        assert_eq!(report["status"], "completed", "{more}: {report:#}");
        assert_eq!(printed, format!("{content}\n{commits}"), "{more}");
    }
}

#[tokio::test]
async fn submodules_are_cloned_where_they_are_asked_for_and_hooks_of_theirs_are_not_run() {
    let server = GitServer::start().await;
    let library = server.repository("library", &[("code", "library\n")]);
    let repository = server.repository("app", &[("a", "1\n")]);
    let modules = "[submodule \"x\"]\n\tpath = lib/x\n\turl = ../library.git\n";
    repository.commit_submodule("trunk", modules, "lib/x", &library.tip("trunk").unwrap());
    let gateway = gateway(&server).await;
    for (asked, printed_by_then) in [(false, "0"), (true, "library\n0")] {
        let fields =
            json!({"gitRepo": repository.ssh(), "sshKey": server.key, "gitSubmodules": asked});
        let commands = [
            "cat lib/x/code 2>/dev/null; true",
            "git status --porcelain | wc -l",
        ];
        let (report, printed) = look(&gateway, fields, &commands).await;
        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(printed, printed_by_then);
    }
    let wrong =
        "[submodule \"x\"]\n\tpath = lib/x\n\turl = ext::sh -c 'touch /tmp/gatehouse-tests-ran'\n";
    repository.commit_submodule("trunk", wrong, "lib/x", &library.tip("trunk").unwrap());
    let fields = json!({"gitRepo": repository.ssh(), "sshKey": server.key, "gitSubmodules": true});
    let (report, _) = look(&gateway, fields, &[]).await;
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("submodule at `lib/x`"),
        "{report:#}"
    );
    gateway.is_clean().await;
}

#[tokio::test]
async fn the_agents_own_git_signs_with_the_key_and_never_has_it() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    repository.commit("side", "Aside", &[("b", "2\n")]);
    let gateway = gateway(&server).await;
    let everything = "env; cat $HOME/.known_hosts; ls -laR $HOME $TMPDIR; git config --list --show-origin; cat .git/config";
    let fetch = "git fetch -q origin side && git show FETCH_HEAD:b && echo fetched";
    let identities = "ssh-add -l | cut -d' ' -f1,3 ; ssh-add -D 2>&1; ssh-add -l | wc -l";
    for (access, can) in [("agent", true), ("none", false)] {
        let fields =
            json!({"gitRepo": repository.ssh(), "sshKey": server.key, "gitAccess": access});
        let commands = [everything, identities, &format!("{fetch} || echo refused")];
        let (report, printed) = look(&gateway, fields, &commands).await;

        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(printed.contains("fetched"), can, "{access}: {printed}");
        assert_eq!(printed.contains("refused"), !can, "{access}: {printed}");
        assert!(
            gateway.canaries.found_in(printed.as_bytes()).is_empty(),
            "{printed}"
        );
        if can {
            assert!(printed.contains("256 "), "the key is offered: {printed}");
            assert!(
                printed.contains("Failed to remove all identities"),
                "{printed}"
            );
        }
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_server_whose_key_is_not_known_or_another_is_not_spoken_to() {
    let server = GitServer::start().await;
    let stranger = GitServer::start().await;
    let repository = stranger.repository("app", &[("a", "1\n")]);
    // It knows only the other server.
    let gateway = gateway(&server).await;
    let fields = json!({"gitRepo": repository.ssh(), "sshKey": stranger.key});

    let (report, _) = look(&gateway, fields.clone(), &[]).await;
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("git.known_hosts"),
        "{report:#}"
    );
    let https = json!({"gitRepo": repository.https(), "gitToken": stranger.token});
    let (report, _) = look(&gateway, https, &[]).await;
    assert!(
        report["error"].as_str().unwrap().contains("git.ca_file"),
        "{report:#}"
    );

    // Unless the operator says so; a key that has changed is refused all the same.
    let trusting = gateway_with(&server, &[("GATEHOUSE__GIT__ACCEPT_UNKNOWN_HOSTS", "true")]).await;
    let (report, _) = look(&trusting, fields.clone(), &[]).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    stranger.pretend_another_key(&server);
    let wary = gateway_with(
        &stranger,
        &[("GATEHOUSE__GIT__ACCEPT_UNKNOWN_HOSTS", "true")],
    )
    .await;
    let (report, _) = look(&wary, fields, &[]).await;
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("host key verification failed"),
        "{report:#}"
    );
}

#[tokio::test]
async fn addresses_that_must_not_be_dialled_are_refused_before_anything_is_stored() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__OUTBOUND__PRIVATE_ADDRESSES", "deny")
        .start()
        .await;
    for repository in [
        "https://169.254.169.254/a/b.git",
        "https://127.0.0.1/a.git",
        "https://[::1]/a.git",
        "https://0x7f000001/a.git",
        "git@10.0.0.1:a/b.git",
        "ssh://git@192.168.1.1:2222/a",
        "https://localhost:8443/a.git",
        "https://example.com:6379/a.git",
    ] {
        let request = gateway.request_with(
            "x",
            json!({"gitRepo": repository, "gitToken": "t0ken-value"}),
        );
        let response = gateway.post("/run", &request).await;
        let status = response.status();
        let body: Value = response.json().await.unwrap();
        assert_eq!(
            (status.as_u16(), body["code"].as_str()),
            (400, Some("repository-forbidden")),
            "{repository}: {body}"
        );
    }
    assert_eq!(gateway.get("/tasks").await["tasks"], json!([]));
}

#[tokio::test]
async fn what_is_larger_than_the_operator_takes_is_neither_cloned_nor_pushed() {
    let server = GitServer::start().await;
    let noise: String = (0..60_000)
        .map(|_| uuid::Uuid::new_v4().to_string())
        .collect();
    let large = server.repository("large", &[("noise", &noise)]);
    let small = server.repository("small", &[("a", "1\n")]);
    let gateway = gateway_with(
        &server,
        &[
            ("GATEHOUSE__GIT__MAX_CLONE_SIZE", "1MiB"),
            ("GATEHOUSE__GIT__MAX_PUSH_SIZE", "1MiB"),
        ],
    )
    .await;

    let fields = json!({"gitRepo": large.ssh(), "sshKey": server.key});
    let (report, _) = look(&gateway, fields, &[]).await;
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("larger than the 1 MiB"),
        "{report:#}"
    );

    let fields = json!({
        "gitRepo": small.ssh(), "sshKey": server.key,
        "postExecutionActions": {"git": {"commit": true, "push": true}},
    });
    let before = small.tip("trunk");
    let (report, _) = look(&gateway, fields, &["head -c 3000000 /dev/urandom > noise"]).await;
    let error = report["actions"]["git"]["error"].as_str().unwrap();
    assert!(error.contains("larger than the 1 MiB"), "{report:#}");
    assert_eq!(small.tip("trunk"), before);
    gateway.is_clean().await;
}

#[tokio::test]
async fn more_submodules_and_deeper_ones_than_are_documented_are_refused() {
    let server = GitServer::start().await;
    let gateway = gateway(&server).await;
    let clone = async |repository: &Repository<'_>, command: &str| {
        let fields =
            json!({"gitRepo": repository.ssh(), "sshKey": server.key, "gitSubmodules": true});
        look(&gateway, fields, &[command]).await
    };

    // Each holds the one before: five levels below `level-5`, four below `level-4`.
    let mut below = server.repository("level-0", &[("code", "deep\n")]);
    for level in 1..=5 {
        let repository = server.repository(&format!("level-{level}"), &[("a", "1\n")]);
        let url = format!("../level-{}.git", level - 1);
        let modules = format!("[submodule \"x\"]\n\tpath = x\n\turl = {url}\n");
        repository.commit_submodule("trunk", &modules, "x", &below.tip("trunk").unwrap());
        below = repository;
        if level < 4 {
            continue;
        }
        let (report, printed) = clone(&below, "cat x/x/x/x/code").await;
        if level == 4 {
            assert_eq!(
                (&report["status"], printed.as_str()),
                (&json!("completed"), "deep")
            );
        } else {
            let error = report["error"].as_str().unwrap();
            assert!(error.contains("nested more than 4 levels deep"), "{error}");
        }
    }

    let library = server.repository("library", &[("code", "library\n")]);
    let crowd = server.repository("crowd", &[("a", "1\n")]);
    let paths: Vec<String> = (0..65).map(|number| format!("lib/{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let module =
        |path: &&str| format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = ../library.git\n");
    let modules: String = paths.iter().map(module).collect();
    let tip = library.tip("trunk").unwrap();
    crowd.commit_submodules("trunk", &modules, &paths, &tip);
    let (report, _) = clone(&crowd, "true").await;
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("there are more than 64 submodules"),
        "{error}"
    );
    gateway.is_clean().await;
}

/// Passes a connection on, after so many bytes of the server's only so many in a second; where it
/// listens, and how much has come by.
async fn slow_way(to: u16, quick: usize, a_second: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let passed = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let server = tokio::net::TcpStream::connect(("127.0.0.1", to))
                    .await
                    .unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_client, &mut to_server).await },
                );
                let (mut sent, mut piece) = (0, vec![0; (a_second / 10).clamp(1, 64 << 10)]);
                while let Ok(read @ 1..) = from_server.read(&mut piece).await {
                    if to_client.write_all(&piece[..read]).await.is_err() {
                        break;
                    }
                    sent += read;
                    counted.fetch_add(read, Ordering::Relaxed);
                    if sent > quick {
                        let wait = read as f64 / a_second as f64;
                        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
                    }
                }
            });
        }
    });
    (port, passed)
}

fn port_of(url: &str) -> u16 {
    let place = url.split_once("://").unwrap().1.split('/').next().unwrap();
    place.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_server_that_sends_a_byte_in_a_second_is_left_in_time_with_all_that_was_started() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let settings = [
        ("GATEHOUSE__GIT__CLONE_TIMEOUT", "6s"),
        ("GATEHOUSE__GIT__ACCEPT_UNKNOWN_HOSTS", "true"),
    ];
    let gateway = gateway_with(&server, &settings).await;
    for (url, credential, secret) in [
        (repository.ssh(), "sshKey", &server.key),
        (repository.https(), "gitToken", &server.token),
    ] {
        // It answers quickly at first, so that both have begun to speak.
        let port = port_of(&url);
        let (slow, _) = slow_way(port, 1000, 1).await;
        let url = url.replace(&format!(":{port}"), &format!(":{slow}"));
        let started = std::time::Instant::now();
        let (report, _) = look(&gateway, json!({"gitRepo": url, credential: secret}), &[]).await;
        assert_eq!(report["status"], "failed", "{report:#}");
        let error = report["error"].as_str().unwrap();
        assert!(error.contains("git.clone_timeout"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(60));
        gateway.is_clean().await;
    }
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_pack_that_grows_beyond_the_limit_is_broken_off_while_it_comes() {
    let server = GitServer::start().await;
    let noise: String = (0..120_000)
        .map(|_| uuid::Uuid::new_v4().to_string())
        .collect();
    let large = server.repository("large", &[("noise", &noise)]);
    let gateway = gateway_with(&server, &[("GATEHOUSE__GIT__MAX_CLONE_SIZE", "1MiB")]).await;
    let url = large.https();
    let port = port_of(&url);
    let (slow, passed) = slow_way(port, 1 << 20, 100 << 10).await;
    let url = url.replace(&format!(":{port}"), &format!(":{slow}"));
    let fields = json!({"gitRepo": url, "gitToken": server.token});

    let (report, _) = look(&gateway, fields, &[]).await;

    let error = report["error"].as_str().unwrap();
    assert!(error.contains("larger than the 1 MiB"), "{report:#}");
    gateway.is_clean().await;
    let passed = passed.load(Ordering::Relaxed);
    assert!(
        ((1 << 20)..(2 << 20)).contains(&passed),
        "{passed} bytes had come when nobody listened any more"
    );
}

#[tokio::test]
async fn a_token_stands_nowhere_where_the_agent_could_find_it() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let gateway = gateway(&server).await;
    let fields = json!({"gitRepo": repository.https(), "gitToken": server.token});
    // What is secret is taken out of the output, so it would show as such.
    let everything = "git config --list --show-origin; git remote -v; env; cat .git/config; \
                      find .git $HOME $TMPDIR -type f -exec cat {} +; cat /proc/self/environ; \
                      git credential fill < /dev/null; echo looked";

    let (report, printed) = look(&gateway, fields, &[everything]).await;

    assert_eq!(report["status"], "completed", "{report:#}");
    assert!(
        printed.contains("remote.origin.url") && printed.ends_with("looked"),
        "{printed}"
    );
    assert!(!printed.contains("[REDACTED]"), "{printed}");
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_job_that_is_killed_over_a_repository_leaves_no_credential_behind() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("a", "1\n")]);
    let mut gateway = gateway(&server).await;
    for together in [false, true] {
        let request = gateway.request_with(
            "wait",
            json!({
                "gitRepo": repository.ssh(), "sshKey": server.key, "gitToken": server.token,
                "environmentSecrets": {"TOKEN": gateway.canaries.environment_secret},
                "envFile": "workspace", "callbackUrl": "http://127.0.0.1:59998/",
                "preExecutionCommands": ["cat .env > copy; sleep 600"],
            }),
        );
        let id = gateway.run_async(&request).await;
        gateway.process_named("sleep 600").await;
        let job = gateway.process_named("run-job").await;
        if together {
            gateway.kill().await;
        }
        job.kill();
        if together {
            gateway.start_again().await;
        }

        let record = gateway.ended(&id).await;
        assert_eq!(record["reason"], "lost", "{record:#}");
        gateway.is_clean().await;
        gateway.has_leaked_nothing();
    }
}
