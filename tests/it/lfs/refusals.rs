//! What of LFS is not fetched, not sent, and what is said of it.

use gatehouse_tests::GitServer;
use gatehouse_tests::git_server::lfs::{Manner, pointer_to};
use serde_json::{Value, json};

use super::{COMMIT, both, by_https, by_ssh, gateway, repository, request, run};

#[tokio::test]
async fn what_cannot_be_fetched_fails_the_task_and_says_why() {
    let server = GitServer::start().await;
    let app = repository(&server, "app", &[("a.bin", "one\n")]);
    let gone = server.repository("gone", &[("lost.bin", &pointer_to(b"lost").1)]);
    let settings = [("GATEHOUSE__GIT__CLONE_TIMEOUT", "20s")];
    let gateway = gateway(&server, &settings).await;
    let elsewhere = |href: &str| Manner::Elsewhere("download", href.to_owned());
    let mut strangers = by_https(&app);
    strangers["gitToken"] = json!("wrong-token");

    for (manner, fields, words) in [
        (
            Manner::Honest,
            by_https(&gone),
            "does not have the content of `lost.bin`",
        ),
        (
            Manner::Corrupt,
            by_https(&app),
            "sent for `a.bin` is not what",
        ),
        (
            Manner::Endless,
            by_ssh(&app),
            "sent for `a.bin` is not what",
        ),
        (
            Manner::RefuseDownloads(401),
            by_https(&app),
            "denies access",
        ),
        (Manner::RefuseDownloads(403), by_ssh(&app), "denies access"),
        (
            Manner::RefuseDownloads(404),
            by_https(&app),
            "offers no Git LFS",
        ),
        (Manner::RefuseDownloads(302), by_https(&app), "redirect"),
        (
            Manner::RefuseDownloads(509),
            by_https(&app),
            "limit of size, storage or traffic",
        ),
        (Manner::RefuseDownloads(500), by_https(&app), "status 500"),
        (Manner::Babble, by_https(&app), "not one of the batch API"),
        (
            elsewhere("https://10.0.0.1/x"),
            by_https(&app),
            "10.0.0.1 is not a public address",
        ),
        (
            elsewhere("https://169.254.169.254/x"),
            by_ssh(&app),
            "not a public address",
        ),
        (
            elsewhere("http://127.0.0.1:8000/x"),
            by_https(&app),
            "plain http is not allowed",
        ),
        (
            elsewhere("https://127.0.0.1:1025/x"),
            by_https(&app),
            "cannot be reached",
        ),
        (
            Manner::Redirect("https://[fd00::1]/x".to_owned()),
            by_https(&app),
            "not a public address",
        ),
        (
            Manner::Redirect("/storage/app/x".to_owned()),
            by_https(&app),
            "not one of the batch API",
        ),
        (Manner::Silent, by_https(&app), "timed out"),
    ] {
        server.lfs.behave(manner.clone());
        let (report, ..) = run(&gateway, &request(&gateway, fields, &[], Value::Null)).await;
        let error = report["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{manner:?}: {report:#}"));
        assert_eq!(report["reason"], "setup", "{manner:?}: {report:#}");
        assert!(
            error.starts_with("Failed to clone repository: ") && error.contains(words),
            "{manner:?}: {error}"
        );
    }
    server.lfs.behave(Manner::Honest);
    server.forget_lfs();
    let (report, ..) = run(&gateway, &request(&gateway, by_ssh(&app), &[], Value::Null)).await;
    assert!(
        report["error"]
            .as_str()
            .unwrap()
            .contains("git-lfs-authenticate"),
        "{report:#}"
    );
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn no_more_is_fetched_or_sent_than_the_operator_allows() {
    let server = GitServer::start().await;
    let files = [("a.bin", "12345"), ("b.bin", "678901")];
    let (large, small) = (
        repository(&server, "large", &files),
        repository(&server, "small", &files[1..]),
    );
    let gateway = gateway(&server, &[("GATEHOUSE__GIT__MAX_LFS_SIZE", "10B")]).await;

    let (report, ..) = run(
        &gateway,
        &request(&gateway, by_https(&large), &[], Value::Null),
    )
    .await;
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("11 bytes") && error.contains("git.max_lfs_size"),
        "{error}"
    );
    assert!(
        server.lfs.asked().is_empty(),
        "it is known before anything is asked for"
    );

    let before = small.tip("trunk");
    let commands = ["printf 'eleven more' > new.bin"];
    let (report, ..) = run(
        &gateway,
        &request(&gateway, by_https(&small), &commands, both()),
    )
    .await;
    let error = report["actions"]["git"]["error"].as_str().unwrap();
    assert!(
        error.contains("git.max_lfs_size") && error.contains("(too-large)"),
        "{error}"
    );
    assert_eq!(small.tip("trunk"), before);
    assert!(!server.lfs.has("small", b"eleven more"));
}

#[tokio::test]
async fn nothing_is_pushed_whose_files_cannot_or_must_not_go_along() {
    let server = GitServer::start().await;
    let repository = repository(&server, "app", &[("a.bin", "one\n")]);
    let before = repository.tip("trunk");
    let gateway = gateway(&server, &[]).await;
    let push = || json!({"push": true});
    let object = "o=$(git rev-parse --git-path lfs/objects)/$(git show HEAD:new.bin | sed -n 's/^oid sha256:\\(..\\)\\(..\\)/\\1\\/\\2\\/\\1\\2/p')";
    let swap = |how: &str| {
        format!("printf content > new.bin && {COMMIT} && {object} && test -f $o && {how}")
    };
    let pointer = "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%064d\\nsize 7\\n' 7 > new.bin";
    let passwd = "printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:%s\\nsize %s\\n' $(sha256sum < /etc/passwd | cut -c1-64) $(stat -c %s /etc/passwd) > new.bin";
    let secret = "head -c 3000000 /dev/zero > new.bin && printf %s \"$TOKEN\" >> new.bin";
    let first = "printf first > first.bin";

    for (manner, commands, words) in [
        (
            Manner::Honest,
            format!("{first} && {secret} && {COMMIT}"),
            "`new.bin` in Git LFS holds a secret of the task",
        ),
        (
            Manner::Honest,
            format!("{first} && {pointer} && {COMMIT}"),
            "neither in the workspace nor at the server",
        ),
        (
            Manner::Honest,
            swap("chmod u+w $o && printf another > $o"),
            "not what its pointer says",
        ),
        (
            Manner::Honest,
            swap("rm -f $o && ln -s /etc/passwd $o"),
            "no ordinary file",
        ),
        (
            Manner::Honest,
            format!(
                "{passwd} && {COMMIT} && {object} && mkdir -p $(dirname $o) && ln -s /etc/passwd $o"
            ),
            "no ordinary file",
        ),
        (
            Manner::Honest,
            format!(
                "{passwd} && {COMMIT} && {object} && mkdir -p $(dirname $o) && (ln /etc/passwd $o || ln -s /etc/passwd $o)"
            ),
            "no ordinary file",
        ),
        (
            Manner::Honest,
            swap("mv .git/lfs $TMPDIR/lfs && ln -s $TMPDIR/lfs .git/lfs"),
            "no ordinary file",
        ),
        (
            Manner::Honest,
            swap("rm -f $o && mkfifo $o"),
            "no ordinary file",
        ),
        (Manner::RefuseUploads(403), swap("true"), "write access"),
        (
            Manner::RefuseUploads(413),
            swap("true"),
            "limit of size, storage or traffic",
        ),
        (
            Manner::Elsewhere("upload", "https://10.0.0.1/x".to_owned()),
            swap("true"),
            "not a public address",
        ),
    ] {
        server.lfs.behave(manner);
        let mut request = request(&gateway, by_https(&repository), &[&commands], push());
        request["environmentSecrets"] = json!({"TOKEN": gateway.canaries.environment_secret});

        let (report, ..) = run(&gateway, &request).await;

        let error = report["actions"]["git"]["error"].as_str();
        let error = error.unwrap_or_else(|| panic!("{commands}: {report:#}"));
        assert!(error.contains(words), "{commands}: {error}");
        assert_eq!(repository.tip("trunk"), before, "{commands}");
        assert!(
            !server.lfs.has("app", b"first"),
            "all are looked at before one leaves"
        );
    }
    gateway.is_clean().await;
    gateway.has_leaked_nothing();
}
