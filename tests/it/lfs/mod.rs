//! Files of Git LFS come with a clone, checked, and go with a push, before the commits that name them.
//!
//! The agent's part is played by commands before it. Somebody else looks with the real `git-lfs`.

mod refusals;

use gatehouse_tests::git_server::Repository;
use gatehouse_tests::git_server::lfs::{Manner, pointer_to};
use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Event, Gateway, GitServer, eventually};
use serde_json::{Value, json};

const ATTRIBUTES: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
/// A file of the repository may say where its files of LFS are. Nobody asks it.
const LFSCONFIG: &str = "[lfs]\n\turl = https://169.254.169.254/\n\tfetchexclude = left*\n";
const COMMIT: &str =
    "git config user.name A && git config user.email a@b && git add -A && git commit -qm Own";

async fn gateway(server: &GitServer, settings: &[(&str, &str)]) -> Gateway {
    let mut builder = Gateway::with().plugins(&Manifest::shipped().git(""));
    for (name, value) in server.settings() {
        builder = builder.env(name, &value);
    }
    for (name, value) in settings {
        builder = builder.env(name, value);
    }
    let mut gateway = builder.start().await;
    for secret in [&server.key, &server.token, &server.ticket] {
        gateway.canaries.add(secret);
    }
    gateway
}

/// A repository with these files in LFS.
fn repository<'a>(server: &'a GitServer, name: &str, files: &[(&str, &str)]) -> Repository<'a> {
    let pointers: Vec<(&str, String)> = files
        .iter()
        .map(|(path, content)| (*path, server.lfs.put(name, content.as_bytes())))
        .collect();
    let mut all = vec![(".gitattributes", ATTRIBUTES), (".lfsconfig", LFSCONFIG)];
    all.extend(pointers.iter().map(|(path, text)| (*path, text.as_str())));
    server.repository(name, &all)
}

fn by_ssh(repository: &Repository<'_>) -> Value {
    json!({"gitRepo": repository.ssh(), "sshKey": repository.server().key, "gitLfs": true})
}

fn by_https(repository: &Repository<'_>) -> Value {
    json!({"gitRepo": repository.https(), "gitToken": repository.token(), "gitLfs": true})
}

fn request(gateway: &Gateway, fields: Value, commands: &[&str], git: Value) -> Value {
    let mut request = gateway.request_with("work", fields);
    request["preExecutionCommands"] = json!(commands);
    if git.is_object() {
        request["postExecutionActions"] = json!({"git": git});
    }
    request
}

/// Runs it; the report, what its commands printed, and our lines about the clone.
async fn run(gateway: &Gateway, request: &Value) -> (Value, String, Vec<Value>) {
    let events = gateway.run(request).await.rest().await;
    let report = events.last().expect("a report").json();
    let lines: Vec<Value> = events
        .iter()
        .filter(|event| event.id.is_some())
        .map(Event::json)
        .collect();
    let printed = lines
        .iter()
        .filter(|line| line["phase"] == "preExecution" && line["stream"] == "stdout")
        .map(|line| line["text"].as_str().unwrap_or_default().to_owned());
    let printed = printed.collect::<Vec<_>>().join("\n");
    let clone = lines.into_iter().filter(|line| line["phase"] == "clone");
    (report, printed, clone.collect())
}

fn both() -> Value {
    json!({"commit": true, "push": true, "commitMessage": "Change it"})
}

#[tokio::test]
async fn files_are_filled_in_and_changes_of_them_are_sent_by_ssh_and_by_https() {
    let server = GitServer::start().await;
    let gateway = gateway(&server, &[]).await;
    for (name, way) in [
        ("by-ssh", by_ssh as fn(&Repository<'_>) -> Value),
        ("acme/by-https", by_https),
    ] {
        let files = [
            ("a.bin", "one\n"),
            ("data/b c.bin", "two\n"),
            ("copy.bin", "one\n"),
            ("left.bin", "three\n"),
        ];
        let repository = repository(&server, name, &files);
        let commands = [
            "cat a.bin 'data/b c.bin' copy.bin; head -c 7 left.bin; echo; git status --porcelain",
            "printf changed > a.bin && printf new > new.bin && git status --porcelain",
        ];

        let request = request(&gateway, way(&repository), &commands, both());
        let (report, printed, clone) = run(&gateway, &request).await;

        assert_eq!(
            report["gitCommit"]["pushed"],
            true,
            "{report:#}\n{}",
            gateway.log()
        );
        assert_eq!(printed, "one\ntwo\none\nversion\n M a.bin\n?? new.bin");
        let told = json!({"phase": "clone", "state": "lfs", "objects": 3, "bytes": 14});
        let fetched = clone.iter().find(|line| line["state"] == "lfs").unwrap();
        for field in ["objects", "bytes"] {
            assert_eq!(fetched[field], told[field], "{fetched:#}");
        }
        assert_eq!(
            repository.file("trunk", "a.bin").unwrap(),
            pointer_to(b"changed").1
        );
        for (path, content) in [
            ("a.bin", "changed"),
            ("new.bin", "new"),
            ("data/b c.bin", "two\n"),
        ] {
            assert_eq!(repository.file_of_a_clone("trunk", path), content);
        }
    }
    // What opens the API is shown to the API alone.
    let asked = server.lfs.asked();
    let stored = asked.iter().filter(|one| one.what.contains("/storage/"));
    assert!(stored.clone().count() > 8);
    assert!(
        stored.clone().all(|one| one.authorization.is_empty()),
        "{asked:#?}"
    );
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn pointers_stay_what_they_are_where_nobody_asked_for_more() {
    let server = GitServer::start().await;
    let repository = repository(&server, "app", &[("a.bin", "one\n")]);
    let gateway = gateway(&server, &[]).await;
    let mut fields = by_https(&repository);
    fields.as_object_mut().unwrap().remove("gitLfs");

    // As a machine has it whose package of git-lfs sets its filters up for everybody.
    let for_all = "git config --global filter.lfs.process 'git-lfs filter-process' && \
                   git config --global filter.lfs.required true";
    let own = format!("printf plain > b.bin && {COMMIT}");
    let commands = ["cat a.bin", for_all, &own, "echo x > other"];
    let (report, printed, clone) =
        run(&gateway, &request(&gateway, fields, &commands, both())).await;

    assert_eq!(report["gitCommit"]["pushed"], true, "{report:#}");
    assert_eq!(printed, pointer_to(b"one\n").1.trim_end());
    assert!(
        clone.iter().all(|line| line["state"] != "lfs"),
        "{clone:#?}"
    );
    assert_eq!(
        repository.file("trunk", "a.bin").unwrap(),
        pointer_to(b"one\n").1
    );
    assert_eq!(repository.file("trunk", "b.bin").unwrap(), "plain");
    assert!(server.lfs.asked().is_empty());
}

#[tokio::test]
async fn objects_of_the_agents_own_commits_are_sent_also_where_it_pushed_them_itself() {
    let server = GitServer::start().await;
    let repository = repository(&server, "app", &[("a.bin", "one\n")]);
    let gateway = gateway(&server, &[]).await;
    let own = format!("printf two > a.bin && {COMMIT} && printf three > a.bin && {COMMIT}");

    let push = json!({"push": true});
    let (report, ..) = run(
        &gateway,
        &request(&gateway, by_https(&repository), &[&own], push.clone()),
    )
    .await;
    assert_eq!(report["gitCommit"]["pushed"], true, "{report:#}");
    assert!(server.lfs.has("app", b"two"), "the history needs it");
    assert_eq!(repository.file_of_a_clone("trunk", "a.bin"), "three");

    let own =
        format!("printf four > a.bin && {COMMIT} && git push -q --no-verify origin HEAD:trunk");
    let (report, ..) = run(
        &gateway,
        &request(&gateway, by_ssh(&repository), &[&own], push),
    )
    .await;
    assert_eq!(report["actions"]["git"]["status"], "ok", "{report:#}");
    assert_eq!(
        repository.file("trunk", "a.bin").unwrap(),
        pointer_to(b"four").1
    );
    assert_eq!(repository.file_of_a_clone("trunk", "a.bin"), "four");
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn what_somebody_else_pushed_meanwhile_is_kept_with_its_files() {
    let server = GitServer::start().await;
    let files = [("both.bin", "one\n"), ("theirs.bin", "one\n")];
    let repository = repository(&server, "app", &files);
    let gateway = gateway(&server, &[]).await;
    let wait =
        "until [ -e /tmp/gatehouse-tests-moved-$(basename $(dirname $PWD)) ]; do sleep 0.1; done";
    let commands = ["printf agents > both.bin && printf new > ours.bin", wait];
    let mut request = request(&gateway, by_https(&repository), &commands, both());
    request["callbackUrl"] = json!("http://127.0.0.1:59998/");
    let id = gateway.run_async(&request).await;
    eventually("the repository is cloned", || async {
        let record = gateway.get(&format!("/tasks/{id}")).await;
        assert_ne!(record["status"], "failed", "{record:#}");
        record["repository"].is_object().then_some(())
    })
    .await;
    let (both, theirs) = (
        server.lfs.put("app", b"somebodys"),
        server.lfs.put("app", b"two"),
    );
    repository.commit(
        "trunk",
        "Theirs",
        &[("both.bin", &both), ("theirs.bin", &theirs)],
    );
    let moved = format!("/tmp/gatehouse-tests-moved-{id}");
    std::fs::write(&moved, "").unwrap();

    let report = gateway.ended(&id).await;

    let _ = std::fs::remove_file(moved);
    assert_eq!(
        report["gitCommit"]["recovery"]["method"], "rebase",
        "{report:#}"
    );
    assert_eq!(
        report["gitCommit"]["recovery"]["conflictFiles"],
        json!(["both.bin"])
    );
    for (path, content) in [
        ("both.bin", "agents"),
        ("ours.bin", "new"),
        ("theirs.bin", "two"),
    ] {
        assert_eq!(repository.file_of_a_clone("trunk", path), content, "{path}");
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn files_of_submodules_are_filled_in_too() {
    let server = GitServer::start().await;
    let library = repository(&server, "library", &[("l.bin", "of the library")]);
    let app = repository(&server, "app", &[("a.bin", "of the app")]);
    let modules = "[submodule \"x\"]\n\tpath = lib/x\n\turl = ../library.git\n";
    app.commit_submodule("trunk", modules, "lib/x", &library.tip("trunk").unwrap());
    let gateway = gateway(&server, &[]).await;
    for mut fields in [by_ssh(&app), by_https(&app)] {
        fields["gitSubmodules"] = json!(true);
        let commands = ["cat a.bin; echo; cat lib/x/l.bin; echo; git status --porcelain | wc -l"];
        let (report, printed, _) =
            run(&gateway, &request(&gateway, fields, &commands, Value::Null)).await;
        assert_eq!(report["status"], "completed", "{report:#}");
        assert_eq!(printed, "of the app\nof the library\n0");
    }
}

#[tokio::test]
async fn any_number_of_files_is_fetched_and_sent_in_batches() {
    let server = GitServer::start().await;
    let files: Vec<(String, String)> = (0..230)
        .map(|number| {
            (
                format!("d{}/{number}.bin", number % 7),
                format!("content {number}"),
            )
        })
        .collect();
    let named: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (path.as_str(), text.as_str()))
        .collect();
    let repository = repository(&server, "app", &named);
    let gateway = gateway(&server, &[]).await;

    let commands = [
        "cat d*/*.bin | wc -c; grep -l 'oid sha256' d*/*.bin | wc -l",
        "for f in d*/*.bin; do printf ' more' >> $f; done",
    ];
    let (report, printed, _) = run(
        &gateway,
        &request(&gateway, by_https(&repository), &commands, both()),
    )
    .await;

    assert_eq!(report["gitCommit"]["pushed"], true, "{report:#}");
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    assert_eq!(printed, format!("{bytes}\n0"));
    assert!(
        files
            .iter()
            .all(|(_, text)| server.lfs.has("app", format!("{text} more").as_bytes()))
    );
    let asked = server.lfs.asked();
    let batches = asked
        .iter()
        .filter(|one| one.what.ends_with("/objects/batch"));
    assert_eq!(batches.count(), 3 + 3);
    gateway.is_clean().await;
}

#[tokio::test]
async fn an_object_may_be_somewhere_else_where_the_server_sends_us_by_a_redirect() {
    let server = GitServer::start().await;
    let repository = repository(&server, "app", &[("a.bin", "one\n")]);
    let gateway = gateway(&server, &[]).await;
    // Another host by name, and one that opens without a header: a signed address.
    let signed = server.lfs.signed("app", b"one\n");
    server.lfs.behave(Manner::Redirect(signed));

    let (report, printed, _) = run(
        &gateway,
        &request(&gateway, by_https(&repository), &["cat a.bin"], Value::Null),
    )
    .await;

    assert_eq!(report["status"], "completed", "{report:#}");
    assert_eq!(printed, "one");
    let asked = server.lfs.asked();
    let [.., sent, signed] = asked.as_slice() else {
        panic!("{asked:#?}")
    };
    assert_eq!(sent.storage, server.ticket);
    assert!(signed.what.contains("/storage/signed/"), "{asked:#?}");
    assert!(signed.storage.is_empty(), "it is for where it was sent to");
    gateway.has_leaked_nothing();
}
