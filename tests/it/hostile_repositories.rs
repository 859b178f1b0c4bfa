//! A repository that an agent has turned against us runs nothing but as the agent, moves no file of
//! ours, and is pushed nowhere but where it came from.

use std::os::unix::fs::PermissionsExt as _;

use gatehouse_tests::manifest::Manifest;
use gatehouse_tests::{Gateway, GitServer};
use serde_json::{Value, json};

/// Open to everybody, so that whoever runs a trick can leave its mark: its user id and the trick's name.
const OPEN: &str = "/tmp/gatehouse-tests";

/// What an agent may do to its repository; `MARK` is a program that leaves a mark.
const TRICKS: [(&str, &str); 20] = [
    (
        "hooks",
        "for h in pre-commit prepare-commit-msg commit-msg post-commit post-checkout post-index-change reference-transaction pre-push post-rewrite pre-rebase; do printf '#!/bin/sh\\nMARK '$h'\\nexit 0\\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done 2>/dev/null || { mkdir .git/hooks && for h in pre-commit post-commit post-index-change reference-transaction pre-push; do printf '#!/bin/sh\\nMARK '$h'\\n' > .git/hooks/$h; chmod +x .git/hooks/$h; done; }",
    ),
    (
        "hooksPath",
        "mkdir -p $TMPDIR/h && printf '#!/bin/sh\\nMARK hooksPath\\n' > $TMPDIR/h/pre-push && cp $TMPDIR/h/pre-push $TMPDIR/h/reference-transaction && chmod +x $TMPDIR/h/* && git config core.hooksPath $TMPDIR/h",
    ),
    ("fsmonitor", "git config core.fsmonitor 'MARK fsmonitor'"),
    ("sshCommand", "git config core.sshCommand 'MARK sshCommand'"),
    ("gitProxy", "git config core.gitProxy 'MARK gitProxy'"),
    (
        "filter",
        "git config filter.x.clean 'MARK clean; cat' && git config filter.x.smudge 'MARK smudge; cat' && echo '* filter=x' > .gitattributes",
    ),
    (
        "process",
        "git config filter.x.process 'MARK process' && echo '* filter=x' > .gitattributes",
    ),
    (
        "diff",
        "git config diff.x.command 'MARK diff' && git config diff.x.textconv 'MARK textconv' && echo '* diff=x' > .gitattributes",
    ),
    (
        "merge",
        "git config merge.x.driver 'MARK merge' && echo '* merge=x' > .gitattributes",
    ),
    (
        "gpg",
        "git config gpg.program 'MARK' && git config commit.gpgsign true",
    ),
    (
        "include",
        "printf '[core]\\n\\tfsmonitor = MARK include\\n\\tsshCommand = MARK include\\n' > $TMPDIR/inc && git config include.path $TMPDIR/inc",
    ),
    (
        "insteadOf",
        "git config url.ext::MARK.insteadOf ssh:// && git config protocol.ext.allow always",
    ),
    (
        "pushurl",
        "git config remote.origin.pushurl 'ext::MARK pushurl' && git config remote.origin.receivepack 'MARK receivepack' && git config remote.origin.vcs ext && git config protocol.allow always",
    ),
    (
        "credential",
        "git config credential.helper '!MARK credential'",
    ),
    ("worktree", "git config core.worktree /etc"),
    (
        "gitfile",
        "mv .git $TMPDIR/elsewhere && echo gitdir: $TMPDIR/elsewhere > .git",
    ),
    (
        "alternates",
        "mkdir -p .git/objects/info && echo /etc > .git/objects/info/alternates",
    ),
    (
        "attributesFile",
        "echo '* filter=x' > $TMPDIR/attributes && git config core.attributesFile $TMPDIR/attributes && git config filter.x.clean 'MARK attributes; cat'",
    ),
    (
        "startup",
        "mkdir -p $HOME/.config/git $HOME/.ssh $HOME/.claude .claude && for f in $HOME/.bashrc $HOME/.profile $HOME/.bash_profile $HOME/.zshenv $HOME/.bash_env; do echo 'MARK startup' > $f; done && printf '[core]\n\tfsmonitor = MARK xdg\n\tsshCommand = MARK xdg\n' > $HOME/.config/git/config && printf 'Match exec \"MARK ssh\"\nProxyCommand MARK ssh\n' > $HOME/.ssh/config && echo '{\"hooks\": {\"SessionStart\": [{\"hooks\": [{\"type\": \"command\", \"command\": \"MARK settings\"}]}]}}' | tee $HOME/.claude/settings.json > .claude/settings.json && echo '{\"mcpServers\": {\"x\": {\"command\": \"MARK\", \"args\": [\"mcp\"]}}}' > .mcp.json",
    ),
    (
        "home",
        "printf '[core]\\n\\tfsmonitor = MARK home\\n\\thooksPath = /nonexistent\\n\\tsshCommand = MARK home\\n' > $HOME/.gitconfig",
    ),
];

async fn gateway(server: &GitServer) -> Gateway {
    let manifest = Manifest::shipped().git("");
    let builder = Gateway::with().git_server(server).plugins(&manifest);
    builder.start().await
}

#[tokio::test]
async fn no_trick_of_a_repository_runs_outside_the_agents_isolation() {
    let server = GitServer::start().await;
    let gateway = gateway(&server).await;
    let marks = format!("{OPEN}/marks-{}", std::process::id());
    std::fs::create_dir_all(OPEN).unwrap();
    let _ = std::fs::set_permissions(OPEN, std::fs::Permissions::from_mode(0o777));
    std::fs::write(&marks, "").unwrap();
    std::fs::set_permissions(&marks, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mark = format!("{OPEN}/mark-{}", std::process::id());
    std::fs::write(
        &mark,
        format!("#!/bin/sh\necho \"$(id -u) $1\" >> {marks}\n"),
    )
    .unwrap();
    std::fs::set_permissions(&mark, std::fs::Permissions::from_mode(0o755)).unwrap();
    let passwd = std::fs::read("/etc/passwd").unwrap();

    let tasks = TRICKS.map(|(name, trick)| {
        let (server, gateway, mark) = (&server, &gateway, &mark);
        async move {
            let repository = server.repository(name, &[("a", "1\n")]);
            let request = gateway.request_with(
                "work",
                json!({
                    "gitRepo": repository.ssh(), "sshKey": server.key,
                    "preExecutionCommands": ["id -u", trick.replace("MARK", mark), "echo 2 > a; true"],
                    "postExecutionActions": {
                        "git": {"commit": true, "push": true}, "uploadFiles": {"globPatterns": ["*"]},
                    },
                }),
            );
            let events = gateway.run(&request).await.rest().await;
            let uid = events
                .iter()
                .filter(|event| event.id.is_some())
                .map(gatehouse_tests::Event::json)
                .find(|line| line["stream"] == "stdout")
                .and_then(|line| line["text"].as_str().map(str::to_owned));
            let report = events.last().unwrap().json();
            assert_eq!(report["status"], "completed", "{name}: {report:#}");
            let action = &report["actions"]["git"];
            if action["status"] == "ok" && action["result"]["pushed"] == json!(true) {
                let tip = repository.tip("trunk");
                assert_eq!(action["result"]["sha"].as_str(), tip.as_deref(), "{name}");
            }
            uid.unwrap_or_else(|| panic!("{name}: {report:#}"))
        }
    });
    let mut uids = Vec::new();
    // A few at a time: each takes places of the pool of users.
    let mut tasks = Vec::from(tasks);
    while !tasks.is_empty() {
        let some: Vec<_> = tasks.drain(..tasks.len().min(3)).collect();
        uids.extend(futures::future::join_all(some).await);
    }

    let left = std::fs::read_to_string(&marks).unwrap();
    for line in left.lines() {
        let (uid, trick) = line.split_once(' ').unwrap();
        assert!(
            uids.iter().any(|agents| agents == uid),
            "{trick} ran as {uid}, agents were {uids:?}"
        );
    }
    // The marks work: what runs as the agent, which is its right, left some.
    assert!(
        left.contains("pre-commit") && left.contains("clean"),
        "{left}"
    );
    for never in [
        "pre-push",
        "credential",
        "pushurl",
        "receivepack",
        "startup",
        "ssh",
        "mcp",
    ] {
        assert!(!left.contains(never), "{left}");
    }
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), passwd);
    gateway.is_clean().await;
    let _ = std::fs::remove_file(&marks);
    let _ = std::fs::remove_file(&mark);
}

#[tokio::test]
async fn what_a_repository_brings_along_runs_as_the_agent_or_not_at_all() {
    let server = GitServer::start().await;
    let repository = server.repository(
        "app",
        &[
            ("a", "1\n"),
            (".gitattributes", "* filter=lfs diff=lfs merge=lfs -text\n"),
            (
                ".gitconfig",
                "[user]\n\tname = Mallory\n[core]\n\tfsmonitor = touch /tmp/gatehouse-tests/ran\n",
            ),
            (".lfsconfig", "[lfs]\n\turl = https://169.254.169.254/\n"),
            (
                "hooks/post-checkout",
                "#!/bin/sh\ntouch /tmp/gatehouse-tests/ran\n",
            ),
        ],
    );
    let gateway = gateway(&server).await;
    let request = gateway.request_with(
        "work",
        json!({
            "gitRepo": repository.ssh(), "sshKey": server.key, "preExecutionCommands": ["echo 2 > a"],
            "postExecutionActions": {"git": {"commit": true, "push": true}},
        }),
    );

    let report: Value = gateway
        .run(&request)
        .await
        .rest()
        .await
        .last()
        .unwrap()
        .json();

    assert_eq!(report["gitCommit"]["pushed"], true, "{report:#}");
    assert_eq!(repository.file("trunk", "a").unwrap(), "2\n");
    let author = repository.git(&["log", "-1", "--format=%an", "trunk"]);
    assert_eq!(
        author.trim(),
        "Claude Code",
        "a file of the repository is no configuration"
    );
    assert!(!std::path::Path::new("/tmp/gatehouse-tests/ran").exists());
}

#[tokio::test]
async fn objects_that_git_calls_dangerous_do_not_leave_and_odd_heads_are_no_trouble() {
    let server = GitServer::start().await;
    let gateway = gateway(&server).await;
    let commit =
        "git config user.name A && git config user.email a@b && echo 2 > a && git commit -qam Two";
    for (name, commands, is_pushed) in [
        (
            "dotgit",
            "git config user.name A && git config user.email a@b && b=$(echo x | git hash-object -w --stdin) && \
             t=$(printf '100644 blob %s\\t.git\\n' $b | git mktree) && \
             git update-ref HEAD $(git commit-tree $t -p HEAD -m Evil)"
                .to_owned(),
            false,
        ),
        ("detached", format!("git checkout -q --detach && {commit}"), true),
        ("elsewhere", format!("git checkout -q -b other && {commit}"), true),
        ("unborn", "git checkout -q --orphan none && git rm -rqf .".to_owned(), false),
        ("gone", "rm -rf .git".to_owned(), false),
    ] {
        let repository = server.repository(name, &[("a", "1\n")]);
        let before = repository.tip("trunk");
        let request = gateway.request_with(
            "work",
            json!({
                "gitRepo": repository.ssh(), "sshKey": server.key, "preExecutionCommands": [commands],
                "postExecutionActions": {"git": {"push": true}},
            }),
        );

        let report: Value = gateway.run(&request).await.rest().await.last().unwrap().json();

        assert_eq!(report["status"], "completed", "{name}: {report:#}");
        let pushed = report["actions"]["git"]["result"]["pushed"] == json!(true);
        assert_eq!(pushed, is_pushed, "{name}: {report:#}");
        if is_pushed {
            assert_eq!(repository.file("trunk", "a").unwrap(), "2\n");
        } else {
            assert_eq!(repository.tip("trunk"), before, "{name}");
        }
    }
    gateway.is_clean().await;
}
