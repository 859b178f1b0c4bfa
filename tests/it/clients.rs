//! The clients of `examples/clients/`, each run as a reader would run it: through a connection that
//! breaks, and with webhooks that somebody else sends.

use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatehouse_tests::{Gateway, Receiver, binary, eventually, repository};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// Its key for one family is what stands behind the prefix, for the other its whole text.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Client {
    command: &'static [&'static str],
}

const CURL: Client = Client {
    command: &["bash", "curl/gatehouse.sh"],
};
const JAVASCRIPT: Client = Client {
    command: &["node", "javascript/gatehouse.mjs"],
};
const PYTHON: Client = Client {
    command: &["python3", "python/gatehouse.py"],
};
const GO: Client = Client {
    command: &["go", "run", "go/gatehouse.go"],
};
const RUST: Client = Client {
    command: &["example-client"],
};

impl Client {
    fn command(&self, gateway: &Gateway, url: &str, arguments: [&str; 2]) -> Command {
        let (program, rest) = self.command.split_first().unwrap();
        // Built with everything else.
        let own = binary().with_file_name(program);
        let mut command = if own.exists() {
            Command::new(own)
        } else {
            Command::new(program)
        };
        command
            .args(rest)
            .args(arguments)
            .current_dir(repository().join("examples/clients"))
            .env("GATEHOUSE_URL", url)
            .env("ANTHROPIC_API_KEY", &gateway.canaries.api_key)
            .env("CLOUDRUN_CALLBACK_SECRET", SECRET)
            .env("GOCACHE", repository().join("target/go"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Everything that a client shows.
    async fn works(&self) {
        let gateway = Gateway::with()
            .scenario("slow")
            .env("CLOUDRUN_CALLBACK_SECRET", SECRET)
            .env("GATEHOUSE__TASK__MAX_TURNS", "50")
            .start()
            .await;
        self.runs_a_task_through_a_connection_that_breaks(&gateway)
            .await;
        self.receives_a_report_and_no_forgery(&gateway).await;
        self.cancels(&gateway).await;
        gateway.is_clean().await;
    }

    async fn runs_a_task_through_a_connection_that_breaks(&self, gateway: &Gateway) {
        let prompt = gateway.request("slow")["prompt"].clone();
        let prompt = prompt.as_str().unwrap();
        let url = breaking(&gateway.url, 2).await;
        let ran = self.command(gateway, &url, ["run", prompt]).output();
        let (said, log) = text(&ran.await.unwrap(), 0);
        assert_eq!(log.matches("reconnecting after event").count(), 2, "{log}");

        let (words, end) = said.trim_end().rsplit_once('\n').unwrap();
        let (id, _) = end.split_once(" completed: ").expect(end);
        let lines = gateway.events(id, 0).await.rest().await;
        let expected: Vec<String> = lines
            .iter()
            .filter(|event| event.id.is_some())
            .map(gatehouse_tests::Event::json)
            .filter(|line| line["type"] == "assistant")
            .flat_map(|line| line["message"]["content"].as_array().unwrap().clone())
            .filter_map(|part| part["text"].as_str().map(str::to_owned))
            .collect();
        // None is missing and none comes twice.
        assert_eq!(words, expected.join("\n"), "{log}");
    }

    async fn receives_a_report_and_no_forgery(&self, gateway: &Gateway) {
        let prompt = gateway.request("slow")["prompt"].clone();
        let prompt = prompt.as_str().unwrap();
        let mut client = self
            .command(gateway, &gateway.url, ["run-async", prompt])
            .spawn()
            .expect("the client starts");
        let mut lines = BufReader::new(client.stderr.take().unwrap()).lines();
        let mut after = async |word: &str| loop {
            let line = lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("no line {word:?}"));
            if let Some((_, rest)) = line.split_once(word) {
                return rest.to_owned();
            }
        };
        let receiver = after("receiving at ").await;
        for (name, forgery) in forgeries() {
            let request = reqwest::Client::new().post(&receiver).body(forgery.body);
            let headers = forgery.headers.into_iter();
            let request = headers.fold(request, |it, (name, value)| it.header(name, value));
            let status = request.send().await.expect(name).status();
            assert_eq!(status, 401, "{name}");
        }
        let id = after("started ").await;
        let ended = client.wait_with_output().await.unwrap();
        let (said, _) = text(&ended, 0);
        assert!(said.starts_with(&format!("{id} completed: ")), "{said}");
        // The client ends as soon as it has answered, the attempt's end is noted a moment later.
        let answered = eventually("the attempt's end is noted", || async {
            let delivery = gateway.get(&format!("/tasks/{id}/deliveries")).await;
            delivery["attempts"][0].get("statusCode").cloned()
        });
        assert_eq!(answered.await, 204);
    }

    async fn cancels(&self, gateway: &Gateway) {
        let receiver = Receiver::start([]).await;
        let request = gateway.request_with("slow", json!({"callbackUrl": receiver.url}));
        let id = gateway.run_async(&request).await;
        let cancelled = self
            .command(gateway, &gateway.url, ["cancel", &id])
            .output();
        let (said, _) = text(&cancelled.await.unwrap(), 0);
        assert_eq!(said, "Task cancelled successfully\n");
        assert_eq!(gateway.ended(&id).await["status"], "cancelled");

        let unknown = self.command(gateway, &gateway.url, ["cancel", "nobody"]);
        let unknown = { unknown }.output().await.unwrap();
        assert!(!unknown.status.success());
    }
}

fn text(output: &Output, code: i32) -> (String, String) {
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let log = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}\n{log}");
    (said, log)
}

/// A connection to the gateway that ends in the middle of an event, this many times.
async fn breaking(gateway: &str, times: usize) -> String {
    let gateway = gateway.strip_prefix("http://").unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let left = Arc::new(AtomicUsize::new(times));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&gateway).await.unwrap();
            tokio::spawn(pass_on(client, server, Arc::clone(&left)));
        }
    });
    url
}

async fn pass_on(client: TcpStream, server: TcpStream, left: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let forward = async move { tokio::io::copy(&mut from_client, &mut to_server).await };
    let back = async move {
        let (mut seen, mut part) = (Vec::new(), vec![0; 16 * 1024]);
        while let Ok(count @ 1..) = from_server.read(&mut part).await {
            seen.extend_from_slice(&part[..count]);
            let numbers = seen.windows(5).filter(|five| five == b"\nid: ").count();
            let breaks = numbers >= 3
                && left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                        left.checked_sub(1)
                    })
                    .is_ok();
            let whole = if breaks { count - 10 } else { count };
            if to_client.write_all(&part[..whole]).await.is_err() || breaks {
                return;
            }
        }
    };
    // Whichever ends first ends both.
    tokio::select! {
        _ = forward => {}
        () = back => {}
    }
}

struct Forgery {
    headers: Vec<(&'static str, String)>,
    body: String,
}

fn signed(secret: &str, key: &[u8], age: i64) -> Forgery {
    let body = json!({"taskId": "x", "status": "completed", "exitCode": 0}).to_string();
    let at = (jiff::Timestamp::now().as_second() - age).to_string();
    let mac = |key: &[u8], signed: String| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(signed.as_bytes());
        mac.finalize().into_bytes()
    };
    let standard = STANDARD.encode(mac(key, format!("msg_x.{at}.{body}")));
    let legacy = hex::encode(mac(secret.as_bytes(), format!("{at}.{body}")));
    Forgery {
        headers: vec![
            ("webhook-id", "msg_x".to_owned()),
            ("webhook-timestamp", at.clone()),
            ("webhook-signature", format!("v1,{standard}")),
            ("x-webhook-timestamp", at),
            ("x-webhook-signature", format!("sha256={legacy}")),
        ],
        body,
    }
}

/// Everything that a receiver must refuse.
fn forgeries() -> Vec<(&'static str, Forgery)> {
    let key = STANDARD.decode(&SECRET[6..]).unwrap();
    let without = |name: &str| {
        let mut forgery = signed(SECRET, &key, 0);
        forgery.headers.retain(|(header, _)| *header != name);
        forgery
    };
    let mut changed = signed(SECRET, &key, 0);
    changed.body = changed.body.replace("completed", "cancelled");
    let mut two_times = signed(SECRET, &key, 301);
    let now = jiff::Timestamp::now().as_second().to_string();
    two_times.headers[1].1 = now;
    vec![
        (
            "without anything",
            Forgery {
                headers: Vec::new(),
                body: "{}".to_owned(),
            },
        ),
        ("another secret", signed("another", b"another", 0)),
        (
            "another key of the standard family",
            signed(SECRET, b"another", 0),
        ),
        (
            "another key of the legacy family",
            signed("another", &key, 0),
        ),
        ("an old one", signed(SECRET, &key, 310)),
        ("one of the future", signed(SECRET, &key, -310)),
        ("another body", changed),
        ("a legacy time that is another", two_times),
        (
            "without the standard signature",
            without("webhook-signature"),
        ),
        (
            "without the legacy signature",
            without("x-webhook-signature"),
        ),
        ("without a time", without("webhook-timestamp")),
        ("without an id", without("webhook-id")),
    ]
}

#[tokio::test]
async fn the_client_by_curl_works() {
    CURL.works().await;
}

#[tokio::test]
async fn the_javascript_client_works() {
    JAVASCRIPT.works().await;
}

#[tokio::test]
async fn the_python_client_works() {
    PYTHON.works().await;
}

#[tokio::test]
async fn the_go_client_works() {
    GO.works().await;
}

#[tokio::test]
async fn the_rust_client_works() {
    RUST.works().await;
}

#[tokio::test]
async fn a_client_that_is_refused_says_why() {
    let gateway = Gateway::with().start().await;
    let blank = " ".to_owned();
    for client in [CURL, JAVASCRIPT, PYTHON, GO, RUST] {
        let command = client.command(&gateway, &gateway.url, ["run", &blank]);
        let refused = { command }.output();
        let refused = tokio::time::timeout(Duration::from_secs(60), refused).await;
        let refused = refused.expect("it does not try again").unwrap();
        assert!(!refused.status.success());
        let log = String::from_utf8_lossy(&refused.stderr);
        assert!(log.contains("prompt"), "{:?}: {log}", client.command);
    }
}
