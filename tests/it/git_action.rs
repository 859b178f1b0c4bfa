//! The actions `git` and `pullRequest`, through the whole service, on real repositories.

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Elsewhere, Gateway, GitServer};
use serde_json::{Value, json};

async fn gateway(server: &GitServer, manifest: &Manifest) -> Gateway {
    let builder = Gateway::with().git_server(server).plugins(manifest);
    builder.start().await
}

/// A task on the repository whose agent is these commands.
fn task(gateway: &Gateway, repository: &Repository<'_>, commands: &[&str], more: Value) -> Value {
    let mut request = gateway.request_with("work", more);
    request["gitRepo"] = json!(repository.https());
    request["gitToken"] = json!(repository.token());
    request["preExecutionCommands"] = json!(commands);
    request
}

async fn report(gateway: &Gateway, request: &Value) -> Value {
    let events = gateway.run(request).await.rest().await;
    events.last().expect("an end").json()
}

#[tokio::test]
async fn what_the_agent_changed_and_committed_is_pushed_and_told_as_it_stands_at_the_remote() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let gateway = gateway(&server, &Manifest::empty().git("")).await;
    let git = json!({"commit": true, "commitMessage": "Say {taskId}", "push": true});
    let commands = [
        "echo one > one && git add one && git -c user.name=A -c user.email=a@b commit -qm 'The agent s own'",
        "echo two > two",
    ];

    let request = task(
        &gateway,
        &repository,
        &commands,
        json!({"postExecutionActions": {"git": git}}),
    );
    let told = report(&gateway, &request).await;

    let id = told["taskId"].as_str().unwrap();
    let commit = &told["gitCommit"];
    assert_eq!(told["actions"]["git"]["status"], "ok", "{told:#}");
    assert_eq!(
        *commit,
        json!({
            "sha": repository.tip("trunk").unwrap(), "pushed": true, "branch": "trunk",
            "message": format!("Say {id}\n\nTask-Id: {id}\n"),
        })
    );
    let result = &told["actions"]["git"]["result"];
    assert_eq!(
        (&result["commits"], &result["files"], &result["base"]),
        (&json!(2), &json!(1), &json!("trunk"))
    );
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn branches_are_made_kept_and_refused_as_options_and_settings_say() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let before = repository.tip("trunk").unwrap();
    let gateway = gateway(&server, &Manifest::empty().git(r#"protected = ["trunk"]"#)).await;
    let with = |git: Value| json!({"postExecutionActions": {"git": git}});
    let run = async |commands: &[&str], more: Value| {
        report(&gateway, &task(&gateway, &repository, commands, more)).await
    };
    let change = ["echo new > new"];

    let named = run(
        &change,
        with(json!({"commit": true, "push": true, "branch": "work/{taskId}"})),
    )
    .await;
    let branch = format!("work/{}", named["taskId"].as_str().unwrap());
    assert_eq!(named["gitCommit"]["branch"], branch, "{named:#}");
    assert_eq!(named["gitCommit"]["sha"], repository.tip(&branch).unwrap());

    let protected = run(&change, with(json!({"commit": true, "push": true}))).await;
    let branch = format!("gatehouse/{}", protected["taskId"].as_str().unwrap());
    assert_eq!(
        protected["gitCommit"]["sha"],
        repository.tip(&branch).unwrap(),
        "{protected:#}"
    );

    let mut tagged = with(json!({"commit": true, "push": true}));
    tagged["gitBranch"] = json!(before);
    let tagged = run(&change, tagged).await;
    assert_eq!(tagged["actions"]["git"]["status"], "error", "{tagged:#}");
    assert!(
        tagged["actions"]["git"]["error"]
            .as_str()
            .unwrap()
            .starts_with("branch: ")
    );

    let nothing = run(&["true"], with(json!({"commit": true, "push": true}))).await;
    assert_eq!(
        nothing["actions"]["git"]["result"]["pushed"], false,
        "{nothing:#}"
    );
    assert_eq!(nothing.get("gitCommit"), None);

    let request = task(
        &gateway,
        &repository,
        &[],
        with(json!({"push": true, "branch": "trunk"})),
    );
    let refused = gateway.post("/run", &request).await;
    assert_eq!(refused.status(), 400);
    let refused: Value = refused.json().await.unwrap();
    assert!(
        refused["error"].as_str().unwrap().contains("protected"),
        "{refused}"
    );
    assert_eq!(repository.tip("trunk").unwrap(), before);
}

#[tokio::test]
async fn a_git_plugin_of_any_name_is_told_as_callers_know_it_and_other_names_are_refused() {
    let server = GitServer::start().await;
    let repository = server.repository("app", &[("README", "Hello\n")]);
    let own = "git -c user.name=A -c user.email=a@b commit -q --allow-empty -m \"The agent's own\"";
    for (name, key) in [("git", "Git"), ("keep-work", "keepWork")] {
        let manifest = Manifest::empty().git_named(name, "").pull_request(
            "x.example",
            "github",
            "http://127.0.0.1:9999",
        );
        let gateway = gateway(&server, &manifest).await;
        let actions = |key: &str| json!({"postExecutionActions": {key: {"push": true}}});

        let request = task(&gateway, &repository, &[own], actions(key));
        let told = report(&gateway, &request).await;
        let expected = json!({
            "sha": repository.tip("trunk").unwrap(), "pushed": true, "branch": "trunk",
            "message": "The agent's own\n",
        });
        assert_eq!(told["gitCommit"], expected, "{told:#}");
        assert_eq!(told["actions"][key]["status"], "ok", "{told:#}");

        let near = task(&gateway, &repository, &[], actions("gitCommit"));
        let refused = gateway.refused(&near).await;
        assert_eq!(
            (&refused["status"], &refused["code"], &refused["field"]),
            (
                &json!(400),
                &json!("unknown-field"),
                &json!("postExecutionActions.gitCommit")
            ),
            "{refused:#}"
        );
        let known = format!("there are: {}, pullRequest", name.replace("-w", "W"));
        let words = refused["error"].as_str().unwrap();
        assert!(words.contains(&known), "{words}");

        // Without a repository there is nothing to push and nothing to open a pull request for.
        for key in [key, "pullRequest"] {
            let request = json!({"postExecutionActions": {key: {}}});
            let refused = gateway
                .refused(&gateway.request_with("work", request))
                .await;
            let field = format!("postExecutionActions.{key}");
            assert_eq!(
                (&refused["status"], &refused["code"], &refused["field"]),
                (&json!(400), &json!("required"), &json!(field)),
                "{refused:#}"
            );
            assert_eq!(refused["error"], json!(format!("{field} needs gitRepo")));
        }
        assert_eq!(
            gateway.get("/tasks").await["tasks"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test]
async fn a_pull_request_is_opened_for_what_was_pushed_by_a_token_that_no_plugin_sees() {
    let server = GitServer::start().await;
    let repository = server.repository("acme/app", &[("README", "Hello\n")]);
    let place = repository.https();
    let host = place
        .trim_start_matches("https://")
        .split('/')
        .next()
        .unwrap();
    let opened = json!({"html_url": "https://forge.example/acme/app/pull/7", "number": 7});
    let exists = json!({"message": "Validation Failed", "errors": [
        {"message": "A pull request already exists for acme:work."},
    ]});
    let forge = Elsewhere::start([
        (201, opened.clone()),
        (422, exists),
        (200, json!([opened])),
        (200, opened.clone()),
    ])
    .await;
    let manifest = Manifest::empty()
        .git("")
        .pull_request(host, "github", &forge.url);
    let gateway = gateway(&server, &manifest).await;
    let actions = |title: &str| {
        json!({"postExecutionActions": {
            "pullRequest": {"title": title, "body": "As {taskId} says", "draft": true},
            "git": {"commit": true, "push": true, "branch": "work"},
        }})
    };

    let request = task(&gateway, &repository, &["echo 1 > a"], actions("First"));
    let told = report(&gateway, &request).await;
    let expected = |created: bool| {
        json!({
            "status": "ok",
            "result": {"url": opened["html_url"], "number": 7, "created": created},
        })
    };
    assert_eq!(told["actions"]["pullRequest"], expected(true), "{told:#}");

    let id = told["taskId"].as_str().unwrap();
    let received = forge.received();
    let golden = format!(
        r#"{{"base":"trunk","body":"As {id} says","draft":true,"head":"work","title":"First"}}"#
    );
    assert_eq!(received.len(), 1);
    assert_eq!(
        (received[0].method.as_str(), received[0].path.as_str()),
        ("POST", "/repos/acme/app/pulls")
    );
    assert_eq!(received[0].body, golden);
    for (name, value) in [
        ("authorization", format!("Bearer {}", server.token).as_str()),
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
        ("user-agent", "gatehouse-pull-request"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(received[0].header(name), value);
    }

    let mut request = task(&gateway, &repository, &["echo 2 > b"], actions("Second"));
    request["gitBranch"] = json!("trunk");
    let told = report(&gateway, &request).await;
    assert_eq!(told["actions"]["pullRequest"], expected(false), "{told:#}");
    let asked: Vec<String> = forge.received()[1..]
        .iter()
        .map(|one| format!("{} {}", one.method, one.path))
        .collect();
    assert_eq!(
        asked,
        [
            "POST /repos/acme/app/pulls",
            "GET /repos/acme/app/pulls?state=open&head=acme%3Awork&base=trunk&per_page=1",
            "PATCH /repos/acme/app/pulls/7",
        ]
    );
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_merge_request_is_opened_and_changed_at_a_gitlab_of_ones_own() {
    let server = GitServer::start().await;
    let repository = server.repository("acme/tools/app", &[("README", "Hello\n")]);
    let place = repository.https();
    let host = place
        .trim_start_matches("https://")
        .split('/')
        .next()
        .unwrap();
    let opened = json!({"web_url": "https://forge.example/acme/tools/app/-/merge_requests/7", "iid": 7, "id": 4711});
    let exists = json!({"message": [
        "Another open merge request already exists for this source branch: !7",
    ]});
    let no_right = json!({"message": "403 Forbidden"});
    let forge = Elsewhere::start([
        (201, opened.clone()),
        (409, exists),
        (200, json!([opened])),
        (200, opened.clone()),
        (403, no_right),
    ])
    .await;
    let api = format!("{}/api/v4", forge.url);
    let grant = format!("http:{}", forge.url);
    let manifest = Manifest::empty()
        .git("")
        .pull_request_granted(&grant, host, "gitlab", &api);
    let gateway = gateway(&server, &manifest).await;
    let actions = |title: &str| {
        json!({"postExecutionActions": {
            "pullRequest": {"title": title, "body": "As {taskId} says", "draft": true},
            "git": {"commit": true, "push": true, "branch": "work/one"},
        }})
    };
    let run = async |command: &str, title: &str| {
        let mut request = task(&gateway, &repository, &[command], actions(title));
        request["gitBranch"] = json!("trunk");
        report(&gateway, &request).await
    };
    let expected = |created: bool| {
        json!({
            "status": "ok",
            "result": {"url": opened["web_url"], "number": 7, "created": created},
        })
    };

    let told = run("echo 1 > a", "First").await;
    assert_eq!(told["actions"]["pullRequest"], expected(true), "{told:#}");
    let first = told["taskId"].as_str().unwrap().to_owned();
    let told = run("echo 2 > b", "Second").await;
    assert_eq!(told["actions"]["pullRequest"], expected(false), "{told:#}");
    let second = told["taskId"].as_str().unwrap().to_owned();
    let told = run("echo 3 > c", "Third").await;
    let refused = &told["actions"]["pullRequest"];
    assert_eq!(refused["status"], "error", "{told:#}");
    let words = refused["error"].as_str().unwrap();
    assert!(
        words.contains("may not open pull requests") && words.contains("403 Forbidden"),
        "{words}"
    );
    assert_eq!(told["gitCommit"]["pushed"], true, "the push stands");

    let place = "/api/v4/projects/acme%2Ftools%2Fapp/merge_requests";
    let opens = |id: &str, title: &str| {
        format!(
            r#"{{"description":"As {id} says","source_branch":"work/one","target_branch":"trunk","title":"Draft: {title}"}}"#
        )
    };
    let third = told["taskId"].as_str().unwrap();
    let search =
        format!("{place}?state=opened&source_branch=work%2Fone&target_branch=trunk&per_page=1");
    let pinned = [
        ("POST", place.to_owned(), opens(&first, "First")),
        ("POST", place.to_owned(), opens(&second, "Second")),
        ("GET", search, String::new()),
        (
            "PUT",
            format!("{place}/7"),
            format!(r#"{{"description":"As {second} says","title":"Draft: Second"}}"#),
        ),
        ("POST", place.to_owned(), opens(third, "Third")),
    ];
    let received = forge.received();
    assert_eq!(received.len(), pinned.len());
    for (one, (method, path, body)) in received.iter().zip(&pinned) {
        assert_eq!((one.method.as_str(), &one.path), (*method, path));
        assert_eq!(one.body, body.as_str());
        let bearer = format!("Bearer {}", server.token);
        assert_eq!(one.header("authorization"), bearer);
        assert_eq!(one.header("user-agent"), "gatehouse-pull-request");
        let json = if body.is_empty() {
            ""
        } else {
            "application/json"
        };
        assert_eq!(one.header("content-type"), json);
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}
