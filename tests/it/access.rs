//! Who may call, what each sees of the others, and how much each may ask.

use std::collections::BTreeMap;
use std::process::Output;

use gatehouse_tests::gateway::Builder;
use gatehouse_tests::issuer::now;
use gatehouse_tests::{Gateway, Issuer, Receiver, Stream, binary, eventually};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `auth.keys` with a key `KEY-OF-{name}` for each name and its tenant.
fn keys(of: &[(&str, &str)]) -> String {
    let key = |(name, tenant): &(&str, &str)| {
        let digest = hex::encode(Sha256::digest(key_of(name)));
        format!("{name} = {{ sha256 = [\"{digest}\"], tenant = \"{tenant}\" }}")
    };
    format!(
        "{{ {} }}",
        of.iter().map(key).collect::<Vec<_>>().join(", ")
    )
}

fn key_of(name: &str) -> String {
    format!("KEY-OF-{name}")
}

fn with_keys(of: &[(&str, &str)]) -> Builder {
    Gateway::with().env("GATEHOUSE__AUTH__KEYS", &keys(of))
}

fn with_issuer(mut builder: Builder, issuer: &Issuer) -> Builder {
    for (name, value) in issuer.settings() {
        builder = builder.env(name, &value);
    }
    builder
}

/// Each on a connection of its own.
fn ask(gateway: &Gateway, key: &str, method: Method, path: &str) -> RequestBuilder {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", gateway.url);
    client.request(method, url).bearer_auth(key)
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(json!(text)))
}

async fn get(gateway: &Gateway, key: &str, path: &str) -> (StatusCode, Value) {
    answer(ask(gateway, key, Method::GET, path)).await
}

/// Status and code.
async fn outcome(request: RequestBuilder) -> (u16, String) {
    let (status, body) = answer(request).await;
    let code = body["code"].as_str().unwrap_or_default();
    (status.as_u16(), code.to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

async fn new_key(arguments: &[&str]) -> Output {
    tokio::process::Command::new(binary())
        .args(["key", "new"])
        .args(arguments)
        .env_clear()
        .output()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_key_that_was_made_is_good_and_only_its_hash_is_kept() {
    let made = new_key(&["ci", "--tenant", "team-a"]).await;
    let stdout = String::from_utf8(made.stdout).unwrap();
    let (key, line) = stdout.trim_end().split_once('\n').unwrap();
    assert!(key.starts_with("ghk_") && key.len() == 53, "{key}");
    assert!(!line.contains(key), "{line}");
    let gateway = Gateway::with()
        .env("GATEHOUSE__AUTH__KEYS", &format!("{{ {line} }}"))
        .start()
        .await;

    let run = ask(&gateway, key, Method::POST, "/run").json(&gateway.request("go"));
    let stream = Stream::open(run.send().await.unwrap()).await;
    let report = stream.rest().await.last().unwrap().json();

    let path = format!("/tasks/{}", report["taskId"].as_str().unwrap());
    let (_, record) = get(&gateway, key, &path).await;
    assert_eq!(
        (&record["caller"], &record["tenant"]),
        (&json!("ci"), &json!("team-a"))
    );
    assert_eq!(gateway.try_get(&path).await.unwrap().status(), 401);
    let (other, found) = (&key.replace("ghk_", "ghk-"), &"x".repeat(100_000));
    for wrong in ["", other, found] {
        assert_eq!(
            outcome(ask(&gateway, wrong, Method::GET, &path)).await,
            is(401, "unauthorized")
        );
    }
    assert!(!gateway.log().contains(key));
    for name in ["operator", "a:b"] {
        assert_eq!(new_key(&[name]).await.status.code(), Some(64), "{name}");
    }
}

/// Every operation of the API as method and path.
async fn operations(gateway: &Gateway, key: &str) -> Vec<(Method, String)> {
    let (_, document) = get(gateway, key, "/openapi.json").await;
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            found.push((method, path.clone()));
        }
    }
    found
}

#[tokio::test]
async fn no_route_tells_of_another_tenants_task() {
    let receiver = Receiver::start([]).await;
    let gateway = with_keys(&[
        ("a", "team-a"),
        ("a2", "team-a"),
        ("b", "team-b"),
        ("c", ""),
    ])
    .scenario("hang")
    .start()
    .await;
    let (ours, theirs) = (key_of("a"), key_of("b"));
    let request =
        gateway.request_with("go", json!({"callbackUrl": receiver.url, "taskId": "of-a"}));
    let start = ask(&gateway, &ours, Method::POST, "/run-async").json(&request);
    assert_eq!(answer(start).await.0, 202);
    eventually("it runs", || async {
        let (_, record) = get(&gateway, &ours, "/tasks/of-a").await;
        (record["status"] == "running").then_some(())
    })
    .await;

    // Whoever adds a route says here, or by `{id}`, whose it is.
    let of_nobody = [
        "/",
        "/health",
        "/healthz",
        "/ready",
        "/openapi.json",
        "/run",
        "/run-async",
        "/tasks",
        "/tasks/status",
        "/plugins",
        "/plugins/history",
        "/plugins/reload",
        "/plugins/rollback",
        "/plugins/trial",
        "/plugins/promote",
        "/plugins/{name}",
        "/plugins/diff",
        "/plugins/sets/{revision}",
        "/plugins/components/{digest}",
        "/internal/reconcile",
    ];
    let mut tried = 0;
    for (method, path) in operations(&gateway, &ours).await {
        if !path.contains("{id}") {
            assert!(of_nobody.contains(&path.as_str()), "whose is {path}?");
            continue;
        }
        let path = path.replace("{path}", "a/b").replace("{call}", "x");
        for key in [&theirs, &key_of("c")] {
            let tell = async |id: &str| {
                let request = ask(&gateway, key, method.clone(), &path.replace("{id}", id));
                let (status, mut body) = answer(request.json(&json!({}))).await;
                body.as_object_mut().unwrap().remove("requestId");
                (status, body.to_string().replace(id, "ID"))
            };
            let (of_a, of_nobody) = (tell("of-a").await, tell("of-nobody").await);
            assert_eq!(of_a, of_nobody, "{method} {path}");
            assert!(of_a.0 == 404 || of_a.0 == 403, "{method} {path}: {of_a:?}");
        }
        tried += 1;
    }
    assert!(tried >= 10, "{tried}");

    let again = ask(&gateway, &theirs, Method::POST, "/run-async").json(&request);
    assert_eq!(outcome(again).await, is(409, "task-exists"));
    let (_, list) = get(&gateway, &theirs, "/tasks").await;
    assert_eq!(list, json!({"tasks": []}));
    let (_, status) = get(&gateway, &theirs, "/tasks/status").await;
    assert_eq!(
        (&status["active"], &status["running"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(get(&gateway, &theirs, "/tasks?tenant=team-a").await.0, 400);

    // The same tenant's other key and the operator do see it, and what others tried has not ended it.
    let operator = gateway.admin_key();
    for (key, path) in [
        (&key_of("a2"), "/tasks"),
        (&operator, "/tasks"),
        (&operator, "/tasks?tenant=team-a"),
    ] {
        let (_, list) = get(&gateway, key, path).await;
        assert_eq!(list["tasks"][0]["taskId"], "of-a", "{path}");
        assert_eq!(list["tasks"][0]["status"], "running");
    }
    let (_, list) = get(&gateway, &operator, "/tasks?tenant=team-b").await;
    assert_eq!(list, json!({"tasks": []}));
    let (_, status) = get(&gateway, &ours, "/tasks/status").await;
    assert_eq!(status["running"], 1);
    let cancel = ask(&gateway, &key_of("a2"), Method::POST, "/cancel/of-a");
    assert_eq!(answer(cancel).await.0, 200);
    eventually("it is cancelled", || async {
        let (_, record) = get(&gateway, &ours, "/tasks/of-a").await;
        (record["status"] == "cancelled").then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_idempotency_key_of_two_tenants_makes_two_tasks() {
    let receiver = Receiver::start([]).await;
    let gateway = with_keys(&[("a", "team-a"), ("b", "team-b")]).start().await;
    let request = gateway.request_with("go", json!({"callbackUrl": receiver.url}));
    let send = async |name: &str| {
        let sent = ask(&gateway, &key_of(name), Method::POST, "/run-async")
            .header("idempotency-key", "k")
            .json(&request);
        let (status, body) = answer(sent).await;
        assert_eq!(status, 202, "{body}");
        body["taskId"].as_str().unwrap().to_owned()
    };

    let (one, other) = (send("a").await, send("b").await);

    assert_ne!(one, other);
    assert_eq!(send("a").await, one);
    for _ in 0..2 {
        receiver.delivery(1).await;
    }
}

#[tokio::test]
async fn tokens_of_the_issuer_are_good_and_all_others_are_refused_alike() {
    let issuer = Issuer::start().await;
    let stranger = Issuer::start().await;
    let gateway = with_issuer(with_keys(&[("a", "team-a")]), &issuer)
        .env("GATEHOUSE__AUTH__OIDC__TENANT_CLAIM", "team")
        .env("GATEHOUSE__AUTH__LIMITS__FAILURES_PER_MINUTE", "0")
        .start()
        .await;
    let team = || json!({"team": "team-a"});
    let said = |more: Value| {
        let mut claims = team();
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        claims
    };
    let now = now();

    // Clocks may differ by a minute, and what a head says beside the key's name counts for nothing.
    let elsewhere = format!("{}/keys", stranger.url);
    for good in [
        issuer.token("rs", team()),
        issuer.token("es", team()),
        issuer.token("ed", team()),
        issuer.token(
            "rs",
            said(json!({"aud": ["x", gatehouse_tests::issuer::AUDIENCE]})),
        ),
        issuer.token("rs", said(json!({"exp": now - 30}))),
        issuer.token("rs", said(json!({"nbf": now + 30, "iat": now + 30}))),
        issuer.token_with("rs", json!({"jku": elsewhere, "x5u": elsewhere}), team()),
    ] {
        let (status, body) = get(&gateway, &good, "/tasks").await;
        assert_eq!(status, 200, "{body}");
    }
    assert_eq!(get(&gateway, &key_of("a"), "/tasks").await.0, 200);

    let head = |algorithm: &str, kid: &str| json!({"typ": "JWT", "alg": algorithm, "kid": kid});
    let with_public_key = |message: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(&issuer.public_key()).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    };
    let fine = issuer.token("rs", team());
    let (rest, signature) = fine.rsplit_once('.').unwrap();
    let changed = format!("{rest}.{}", signature.chars().rev().collect::<String>());
    let attacks = BTreeMap::from([
        (
            "expired",
            issuer.token("rs", said(json!({"exp": now - 90}))),
        ),
        (
            "without an end",
            issuer.token("rs", said(json!({"exp": null}))),
        ),
        (
            "an end that is no number",
            issuer.token("rs", said(json!({"exp": "never"}))),
        ),
        (
            "not yet in force",
            issuer.token("rs", said(json!({"nbf": now + 90}))),
        ),
        (
            "issued in the future",
            issuer.token("rs", said(json!({"iat": now + 90}))),
        ),
        (
            "for others",
            issuer.token("rs", said(json!({"aud": "https://other.example"}))),
        ),
        ("for nobody", issuer.token("rs", said(json!({"aud": null})))),
        (
            "by another, it says",
            issuer.token("rs", said(json!({"iss": stranger.url}))),
        ),
        (
            "by nobody, it says",
            issuer.token("rs", said(json!({"iss": null}))),
        ),
        ("of nobody", issuer.token("rs", said(json!({"sub": null})))),
        ("of no tenant", issuer.token("rs", json!({}))),
        (
            "of a tenant that is none",
            issuer.token("rs", json!({"team": "../a"})),
        ),
        (
            "of another issuer",
            stranger.token("rs", said(json!({"iss": issuer.url}))),
        ),
        (
            "unsigned",
            issuer.forged(head("none", "rs"), |_| Vec::new()),
        ),
        ("NoNe", issuer.forged(head("NoNe", "rs"), |_| Vec::new())),
        (
            "the public key as a secret",
            issuer.forged(head("HS256", "rs"), with_public_key),
        ),
        (
            "another algorithm",
            issuer.token_with("rs", json!({"alg": "RS512"}), team()),
        ),
        (
            "another key's name",
            issuer.token_with("rs", json!({"kid": "es"}), team()),
        ),
        (
            "an unknown key",
            issuer.token_with("rs", json!({"kid": "other"}), team()),
        ),
        (
            "a path",
            issuer.token_with("rs", json!({"kid": "../../../../dev/null"}), team()),
        ),
        (
            "an address",
            issuer.token_with("rs", json!({"kid": elsewhere}), team()),
        ),
        (
            "no key",
            issuer.token_with("rs", json!({"kid": null}), team()),
        ),
        (
            "its own key",
            stranger.token_with(
                "rs",
                json!({"jku": elsewhere, "kid": "theirs"}),
                said(json!({"iss": issuer.url})),
            ),
        ),
        (
            "critical extensions",
            issuer.token_with("rs", json!({"crit": ["b64"], "b64": false}), team()),
        ),
        (
            "huge",
            issuer.token("rs", said(json!({"x": "x".repeat(20_000)}))),
        ),
        ("a changed signature", changed),
        ("no signature", format!("{rest}.")),
        ("two parts", rest.to_owned()),
        ("dots", "..".to_owned()),
    ]);
    for (attack, token) in attacks {
        let request = ask(&gateway, &token, Method::GET, "/tasks");
        assert_eq!(outcome(request).await, is(401, "unauthorized"), "{attack}");
    }
    assert_eq!(get(&gateway, &fine, "/tasks").await.0, 200);

    // Discovery and keys, once: unknown names had them fetched no more often.
    assert_eq!(issuer.asked(), 2);
    assert_eq!(stranger.asked(), 0);
    assert!(!gateway.log().contains(&fine));
}

#[tokio::test]
async fn while_the_issuer_was_never_there_tokens_wait_and_keys_go_on() {
    let issuer = Issuer::start().await;
    issuer.is_away(true);
    let gateway = with_issuer(with_keys(&[("a", "")]), &issuer).start().await;
    let token = issuer.token("rs", json!({}));

    let refused = outcome(ask(&gateway, &token, Method::GET, "/tasks")).await;

    assert_eq!(refused, is(503, "issuer-unavailable"));
    assert_eq!(get(&gateway, &key_of("a"), "/tasks").await.0, 200);
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn nobody_asks_more_than_it_may_however_many_connections_it_has() {
    let gateway = with_keys(&[("a", ""), ("b", "")])
        .env("GATEHOUSE__AUTH__LIMITS__REQUESTS_PER_MINUTE", "5")
        .env("GATEHOUSE__AUTH__LIMITS__TASKS_PER_MINUTE", "1")
        .start()
        .await;
    let send = async |name: &str, method: Method, path: &str| {
        let request = ask(&gateway, &key_of(name), method, path).json(&json!({}));
        let answer = request.send().await.unwrap();
        let header =
            |name: &str| -> Option<u64> { answer.headers().get(name)?.to_str().ok()?.parse().ok() };
        let told = ["ratelimit-limit", "ratelimit-remaining", "retry-after"].map(header);
        (answer.status().as_u16(), told)
    };

    // A bad request costs as much as a good one.
    assert_eq!(
        send("a", Method::POST, "/run-async").await,
        (400, [Some(1), Some(0), None])
    );
    let (status, told) = send("a", Method::POST, "/run").await;
    assert_eq!((status, told[0]), (429, Some(1)));
    assert!(
        told[2].is_some_and(|wait| (1..=60).contains(&wait)),
        "{told:?}"
    );
    for left in [2, 1, 0] {
        let (status, told) = send("a", Method::GET, "/tasks").await;
        assert_eq!((status, told), (200, [Some(5), Some(left), None]));
    }
    let (status, told) = send("a", Method::GET, "/tasks").await;
    assert_eq!((status, told[0]), (429, Some(5)));
    let request = ask(&gateway, &key_of("a"), Method::GET, "/plugins");
    assert_eq!(outcome(request).await, is(429, "too-many-requests"));
    assert_eq!(send("b", Method::GET, "/tasks").await.0, 200);
    for _ in 0..10 {
        assert_eq!(get(&gateway, &gateway.admin_key(), "/tasks").await.0, 200);
    }
}

#[tokio::test]
async fn a_caller_and_a_tenant_have_so_many_tasks_and_a_caller_so_many_streams() {
    let receiver = Receiver::start([]).await;
    let gateway = with_keys(&[("a", "t"), ("a2", "t"), ("a3", "t"), ("b", "u")])
        .scenario("hang")
        .env("GATEHOUSE__AUTH__LIMITS__UNFINISHED_PER_CALLER", "1")
        .env("GATEHOUSE__AUTH__LIMITS__UNFINISHED_PER_TENANT", "2")
        .env("GATEHOUSE__AUTH__LIMITS__STREAMS_PER_CALLER", "1")
        .start()
        .await;
    let request = gateway.request_with("go", json!({"callbackUrl": receiver.url}));
    let start = |name: &str| {
        let request = request.clone();
        ask(&gateway, &key_of(name), Method::POST, "/run-async").json(&request)
    };

    let (_, task) = answer(start("a")).await;
    assert_eq!(outcome(start("a")).await, is(429, "too-many-tasks"));
    assert_eq!(answer(start("a2")).await.0, 202);
    assert_eq!(outcome(start("a3")).await, is(429, "too-many-tasks"));
    assert_eq!(answer(start("b")).await.0, 202);

    let id = task["taskId"].as_str().unwrap();
    let events = || {
        ask(
            &gateway,
            &key_of("a"),
            Method::GET,
            &format!("/tasks/{id}/events"),
        )
    };
    let open = events().send().await.unwrap();
    assert_eq!(open.status(), 200);
    assert_eq!(outcome(events()).await, is(429, "too-many-streams"));
    let lines = events().header("accept", "application/x-ndjson");
    assert_eq!(answer(lines).await.0, 200);
    let of_another = ask(
        &gateway,
        &key_of("a2"),
        Method::GET,
        &format!("/tasks/{id}/events"),
    );
    assert_eq!(of_another.send().await.unwrap().status(), 200);
    drop(open);
    eventually("the place is free again", || async {
        (events().send().await.ok()?.status() == 200).then_some(())
    })
    .await;

    let cancel = ask(
        &gateway,
        &key_of("a"),
        Method::POST,
        &format!("/cancel/{id}"),
    );
    assert_eq!(answer(cancel).await.0, 200);
    eventually("another task is taken", || async {
        (answer(start("a")).await.0 == 202).then_some(())
    })
    .await;
}

#[tokio::test]
async fn keys_are_not_guessed_in_bulk() {
    let gateway = with_keys(&[("a", "")])
        .env("GATEHOUSE__AUTH__LIMITS__FAILURES_PER_MINUTE", "3")
        .start()
        .await;
    let guess = async |key: &str| outcome(ask(&gateway, key, Method::GET, "/tasks")).await;
    for _ in 0..10 {
        let nothing = gateway.try_get("/tasks").await.unwrap();
        assert_eq!(nothing.status(), 401);
        assert_eq!(get(&gateway, &key_of("a"), "/tasks").await.0, 200);
    }
    for number in 0..3 {
        assert_eq!(
            guess(&format!("guess-{number}")).await,
            is(401, "unauthorized")
        );
    }
    for key in ["guess", &key_of("a"), &gateway.admin_key()] {
        assert_eq!(guess(key).await, is(429, "too-many-failures"), "{key}");
    }
    assert_eq!(gateway.try_get("/health").await.unwrap().status(), 200);
}

#[tokio::test]
async fn tokens_that_the_issuer_signed_are_no_guesses() {
    let (issuer, stranger) = (Issuer::start().await, Issuer::start().await);
    let gateway = with_issuer(with_keys(&[("a", "")]), &issuer)
        .env("GATEHOUSE__AUTH__LIMITS__FAILURES_PER_MINUTE", "1")
        .start()
        .await;
    let shows = async |token: &str| outcome(ask(&gateway, token, Method::GET, "/tasks")).await;
    for token in [
        issuer.token("rs", json!({"exp": now() - 90})),
        issuer.token("rs", json!({"aud": "https://other.example"})),
        issuer.token_with("rs", json!({"kid": "turned-since"}), json!({})),
        stranger.token("rs", json!({})),
    ] {
        assert_eq!(shows(&token).await, is(401, "unauthorized"));
    }
    assert_eq!(shows(&key_of("a")).await, is(429, "too-many-failures"));
}

#[tokio::test]
async fn the_operators_key_is_not_guessed_in_bulk_where_nobody_else_is_asked() {
    let gateway = Gateway::with()
        .env("GATEHOUSE__AUTH__LIMITS__FAILURES_PER_MINUTE", "3")
        .env("GATEHOUSE__AUTH__LIMITS__PROXIES", "1")
        .start()
        .await;
    let guess = async |key: &str, from: &str| {
        let reload = ask(&gateway, key, Method::POST, "/plugins/reload");
        // What stands further to the front, the guesser wrote.
        let from = format!("192.0.2.{}, {from}", key.len());
        outcome(reload.header("x-forwarded-for", from)).await
    };
    for number in 0..3 {
        let key = "x".repeat(number + 1);
        assert_eq!(guess(&key, "198.51.100.7").await, is(403, "operators-only"));
    }

    let operator = gateway.admin_key();
    assert_eq!(
        guess(&operator, "198.51.100.7").await,
        is(429, "too-many-failures")
    );
    assert_eq!(guess(&operator, "198.51.100.8").await, is(200, ""));
    let anybody = ask(&gateway, "for-a-proxy", Method::GET, "/tasks");
    let anybody = anybody.header("x-forwarded-for", "198.51.100.7");
    assert_eq!(answer(anybody).await.0, 200);
}
