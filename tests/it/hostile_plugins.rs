//! Calls of validators that do wrong what can be done wrong: each costs its own call, and nobody else's. The
//! components are written by hand, since no compiler would build them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatehouse_tests::Gateway;
use gatehouse_tests::component::Validator;
use gatehouse_tests::manifest::{Manifest, guest};
use serde_json::{Value, json};

/// A resource of the component's own.
const THINGS: &str = "package test:evil; interface things { resource thing; }";
const NEW: &str = r#"(import "[export]test:evil/things" "[resource-new]thing" (func $new (param i32) (result i32)))"#;
const DROP: &str =
    r#"(import "[export]test:evil/things" "[resource-drop]thing" (func $drop (param i32)))"#;

/// As much of WASI as is asked for here.
const IO: &str = "package wasi:io@0.2.0; interface streams { resource output-stream; }";
const CLI: &str = "package wasi:cli@0.2.0;
    interface stdout { use wasi:io/streams@0.2.0.{output-stream}; get-stdout: func() -> output-stream; }
    interface environment {
        get-environment: func() -> list<tuple<string, string>>;
        get-arguments: func() -> list<string>;
    }";
const FILESYSTEM: &str = "package wasi:filesystem@0.2.0;
    interface types { resource descriptor; }
    interface preopens {
        use types.{descriptor};
        get-directories: func() -> list<tuple<descriptor, string>>;
    }";
const SOCKETS: &str = "package wasi:sockets@0.2.0;
    interface network {
        enum error-code { unknown, access-denied, not-supported, invalid-argument, out-of-memory, timeout,
            concurrency-conflict, not-in-progress, would-block, invalid-state, new-socket-limit,
            address-not-bindable, address-in-use, remote-unreachable, connection-refused, connection-reset,
            connection-aborted, datagram-too-large, name-unresolvable, temporary-resolver-failure,
            permanent-resolver-failure }
        enum ip-address-family { ipv4, ipv6 }
    }
    interface tcp { resource tcp-socket; }
    interface tcp-create-socket {
        use network.{error-code, ip-address-family};
        use tcp.{tcp-socket};
        create-tcp-socket: func(address-family: ip-address-family) -> result<tcp-socket, error-code>;
    }";

/// Nothing to object to.
const ACCEPT: &str = "(i32.const 2048)";
const LOOP: &str = "(loop $for_ever (br $for_ever))";

/// Does the same a million times.
fn a_million(what: &str) -> String {
    format!(
        "(local $n i32) (loop $again {what}
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000)))) {ACCEPT}"
    )
}

/// What validators do wrong, each by a name.
fn attacks() -> Vec<(&'static str, Validator)> {
    let things = |validator: Validator| {
        let validator = validator.importing(NEW).importing(DROP);
        validator.also("export test:evil/things;", &[THINGS])
    };
    let destructor =
        |body: &str| format!("(func (export \"test:evil/things#[dtor]thing\") (param i32) {body})");
    let post_return = format!(
        "(func (export \"cabi_post_gatehouse:plugin/validation@0.1.0#validate\") (param i32) {LOOP})"
    );
    let stdout = r#"(import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get_stdout (result i32)))"#;
    let or_trap = |result: &str| {
        format!("(if (i32.eq {result} (i32.const -1)) (then (unreachable))) {ACCEPT}")
    };
    let answer = |bytes: &str| {
        let at_3072 = format!("(data (i32.const 3072) \"{bytes}\")");
        Validator::new("(i32.const 3072)").with(&at_3072)
    };
    let deep =
        "(memory.fill (i32.const 131072) (i32.const 91) (i32.const 100000)) (i32.const 3072)";
    vec![
        ("loop", Validator::new(&format!("{LOOP} {ACCEPT}"))),
        ("post-return", Validator::new(ACCEPT).with(&post_return)),
        (
            "destructor",
            things(Validator::new(&format!(
                "(call $drop (call $new (i32.const 1))) {ACCEPT}"
            )))
            .with(&destructor(LOOP)),
        ),
        (
            "own-handles",
            things(Validator::new(&a_million(
                "(drop (call $new (i32.const 1)))",
            )))
            .with(&destructor("")),
        ),
        (
            "host-handles",
            Validator::new(&a_million("(drop (call $get_stdout))"))
                .importing(stdout)
                .also("import wasi:cli/stdout@0.2.0;", &[IO, CLI]),
        ),
        (
            "memory",
            Validator::new(&or_trap("(memory.grow (i32.const 65000))")),
        ),
        (
            "table",
            Validator::new(&or_trap(
                "(table.grow $t (ref.null func) (i32.const 10000000))",
            ))
            .with("(table $t 1 funcref)"),
        ),
        ("trap", Validator::new("unreachable")),
        (
            "stack",
            Validator::new("(call $deep (i32.const 1))").with(
                "(func $deep (param i32) (result i32)
                   (i32.add (call $deep (local.get 0)) (i32.const 1)))",
            ),
        ),
        // A host function that has no such task.
        (
            "host-error",
            Validator::new(&format!(
                "(call $prompt (i32.const 77) (i32.const 4096)) {ACCEPT}"
            )),
        ),
        (
            "log-not-utf8",
            Validator::new(&format!(
                "(call $log (i32.const 0) (i32.const 3072) (i32.const 2)) {ACCEPT}"
            ))
            .with(r#"(data (i32.const 3072) "\ff\fe")"#),
        ),
        // Rejects with a message that is no text.
        (
            "answer-not-utf8",
            answer(
                r"\00\00\00\00\02\00\00\00\10\00\00\00\07\00\00\00\30\0c\00\00\02\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\ff\fe",
            ),
        ),
        (
            "log-no-such-level",
            Validator::new(&format!(
                "(call $log (i32.const 200) (i32.const 16) (i32.const 7)) {ACCEPT}"
            )),
        ),
        ("no-such-verdict", answer(r"\00\00\00\00\07")),
        ("neither-ok-nor-error", answer(r"\09")),
        (
            "log-outside",
            Validator::new(&format!(
                "(call $log (i32.const 0) (i32.const 0) (i32.const 0x40000000)) {ACCEPT}"
            )),
        ),
        (
            "log-everything",
            Validator::new(&format!(
                "(call $log (i32.const 0) (i32.const 0) (i32.const 0x2000000)) {ACCEPT}"
            ))
            .memory("512"),
        ),
        // Amends by a hundred thousand brackets.
        (
            "deep",
            Validator::new(deep).memory("4").with(
                r#"(data (i32.const 3072) "\00\00\00\00\01\00\00\00\00\00\02\00\a0\86\01\00")"#,
            ),
        ),
    ]
}

/// For requests with the label `attack=NAME` only.
const ON_DEMAND: &str = r#"mode = "off"
modes = [{ mode = "enforce", label = "attack=NAME" }]"#;

async fn refused(gateway: &Gateway, labels: Value) -> Value {
    gateway
        .refused(&gateway.request_with("hello", json!({ "labels": labels })))
        .await
}

#[tokio::test]
async fn what_a_validator_does_wrong_costs_its_own_call_and_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let attacks = attacks();
    let mut manifest = Manifest::empty();
    for (name, validator) in &attacks {
        let source = validator.file(folder.path(), name);
        manifest = manifest.plugin(name, "validator", source, &ON_DEMAND.replace("NAME", name));
    }
    let patient = r#"limits = { time = "5s" }"#;
    let manifest = manifest.plugin("rejects", "validator", guest("rejects"), patient);
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let status = gateway.get("/plugins").await;
    assert!(status["revision"].is_string(), "{status:#}");
    let before = gateway.memory();

    let over = AtomicBool::new(false);
    let attacking = async {
        for round in 0..3 {
            let calls = attacks.iter().map(|(name, _)| {
                let gateway = &gateway;
                async move {
                    let body = refused(gateway, json!({ "attack": name })).await;
                    assert_eq!(
                        body["code"], "plugin-failed",
                        "{name} in round {round}: {body}"
                    );
                }
            });
            futures::future::join_all(calls).await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let others = async {
        let mut answered = 0;
        while !over.load(Ordering::Relaxed) {
            let body = refused(&gateway, json!({})).await;
            assert_eq!(body["code"], "rejected-by-guest", "{body}");
            answered += 1;
        }
        answered
    };
    let ((), answered) = tokio::join!(attacking, others);
    assert!(answered >= 3, "only {answered} of the others were answered");
    let grown = gateway.peak_memory().saturating_sub(before);
    println!("{answered} others answered; it grew by {} KiB", grown >> 10);
    assert!(grown < 192 << 20, "it grew by {grown} bytes");
}

/// Rejects with a digit: how often this instance was asked.
const COUNTS: &str = r#"(global $calls (mut i32) (i32.const 48))
    (data (i32.const 3072) "\00\00\00\00\02\00\00\00\10\00\00\00\07\00\00\00\30\0c\00\00\01\00\00\00")"#;

#[tokio::test]
async fn nothing_of_a_call_is_left_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let counts = Validator::new(
        "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
         (i32.store8 (i32.const 3120) (i32.add (i32.load8_u (i32.const 3120)) (global.get $calls)))
         (i32.const 3072)",
    );
    let source = counts.with(COUNTS).file(folder.path(), "counts");
    let manifest = Manifest::empty().plugin("counts", "validator", source, "");
    let gateway = Gateway::with().plugins(&manifest).start().await;
    for _ in 0..5 {
        let body = refused(&gateway, json!({})).await;
        assert_eq!(
            (&body["code"], &body["error"]),
            (&json!("hostile"), &json!("1"))
        );
    }
}

#[tokio::test]
async fn a_validator_that_logs_a_million_lines_leaves_a_hundred_without_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let said = "(call $log (i32.const 4) (i32.load (i32.const 4096)) (i32.load (i32.const 4100)))";
    let floods = Validator::new(&a_million(said).replace(
        "(local $n i32)",
        "(local $n i32) (call $prompt (local.get $task) (i32.const 4096))",
    ));
    let source = floods.file(folder.path(), "floods");
    let patient = r#"limits = { time = "4s", output = "64MiB" }"#;
    let manifest = Manifest::empty()
        .plugin("floods", "validator", source, patient)
        .guest("rejects", "validator");
    let gateway = Gateway::with().plugins(&manifest).start().await;
    let key = gateway.canaries.api_key.clone();
    let request = gateway.request(&format!("flood {key}"));
    gateway.refused(&request).await;

    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains("flood"));
    let lines: Vec<_> = lines
        .filter(|line| line.contains("ERROR") || line.contains("error"))
        .collect();
    assert!((50..=110).contains(&lines.len()), "{} lines", lines.len());
    assert!(log.contains("further lines of this call are dropped"));
    assert!(!log.contains(&key), "a secret is in the log");
}

#[tokio::test]
async fn a_slow_upload_and_a_queue_for_a_place_take_nothing_of_a_validators_time() {
    let folder = tempfile::tempdir().unwrap();
    // All of them together need more than one has.
    let busy = Validator::new(&format!(
        "(local $n i32) (loop $again
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $again (i32.lt_u (local.get $n) (i32.const 40000000)))) {ACCEPT}"
    ));
    let source = busy.file(folder.path(), "busy");
    let manifest = Manifest::empty()
        .plugin("busy", "validator", source, r#"limits = { time = "3s" }"#)
        .guest("rejects", "validator");
    let gateway = Gateway::with()
        .plugins(&manifest)
        .env("GATEHOUSE__PLUGINS__MAX_INSTANCES", "1")
        .start()
        .await;

    let request = gateway.request("hello").to_string().into_bytes();
    let slowly = futures::stream::unfold(0, move |at| {
        let piece = request
            .get(at..)
            .map(|rest| rest[..rest.len().min(40)].to_vec());
        async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let piece = piece.filter(|piece| !piece.is_empty())?;
            let next = at + piece.len();
            Some((Ok::<_, std::io::Error>(piece), next))
        }
    });
    let upload = async {
        let response = gateway
            .post_raw("/run", reqwest::Body::wrap_stream(slowly))
            .await;
        response.json::<Value>().await.unwrap()
    };
    let queue = futures::future::join_all((0..80).map(|_| refused(&gateway, json!({}))));
    let (uploaded, queued) = tokio::join!(upload, queue);
    assert_eq!(uploaded["code"], "rejected-by-guest", "{uploaded}");
    for body in queued {
        assert_eq!(body["code"], "rejected-by-guest", "{body}");
    }
}

#[tokio::test]
async fn a_guest_finds_no_environment_no_argument_no_directory_and_no_socket() {
    let folder = tempfile::tempdir().unwrap();
    // Each answer is a list, whose length is at 4; that of a socket is a result with a code.
    let count =
        |function: &str| format!("(call ${function} (i32.const 4096)) (i32.load (i32.const 4100))");
    let digit = |at: u32, value: &str| {
        format!(
            "(i32.store8 (i32.const {at}) (i32.add (i32.const 48) (block (result i32) {value})))"
        )
    };
    let socket = "(call $socket (i32.const 0) (i32.const 4096))
        (i32.add (i32.mul (i32.load8_u (i32.const 4096)) (i32.const 4)) (i32.load8_u (i32.const 4100)))";
    let body = [
        digit(3120, &count("environment")),
        digit(3121, &count("arguments")),
        digit(3122, &count("directories")),
        digit(3123, socket),
        "(i32.const 3072)".to_owned(),
    ];
    let looks = Validator::new(&body.concat())
        .importing(
            r#"(import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
               (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
               (import "wasi:filesystem/preopens@0.2.0" "get-directories" (func $directories (param i32)))
               (import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket" (func $socket (param i32 i32)))"#,
        )
        .also(
            "import wasi:cli/environment@0.2.0; import wasi:filesystem/preopens@0.2.0;
             import wasi:sockets/tcp-create-socket@0.2.0;",
            &[IO, CLI, FILESYSTEM, SOCKETS],
        )
        .with(
            r#"(data (i32.const 3072) "\00\00\00\00\02\00\00\00\10\00\00\00\07\00\00\00\30\0c\00\00\04\00\00\00")"#,
        );
    let source = looks.file(folder.path(), "looks");
    let manifest = Manifest::empty().plugin("looks", "validator", source, "");
    let gateway = Gateway::with()
        .plugins(&manifest)
        .env("CANARY_OF_THE_GATEWAY", "x")
        .start()
        .await;
    let body = refused(&gateway, json!({})).await;
    // The last one: an error (4), access-denied (1).
    assert_eq!(
        (&body["code"], &body["error"]),
        (&json!("hostile"), &json!("0005")),
        "{body}"
    );
}
