#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use secrecy::ExposeSecret as _;

use super::judge::{BODY, HEADER_BYTES, HEADERS, LONGEST, URL};
use super::*;

const TOKEN: &str = "t0ken-of-the-request";

/// Answers everything with what it was made with, and keeps what was sent.
#[derive(Debug, Default)]
struct Fake {
    answer: Option<HttpResponse>,
    sent: Mutex<Vec<HttpRequest>>,
}

#[async_trait]
impl HttpClient for Fake {
    async fn send(&self, request: HttpRequest, _most: u64) -> Result<HttpResponse, Failure> {
        self.sent.lock().unwrap().push(request);
        let nothing = HttpResponse {
            status: 200,
            headers: Vec::new(),
            body: Vec::new(),
        };
        Ok(self.answer.clone().unwrap_or(nothing))
    }
}

fn http(client: &Arc<Fake>) -> Http {
    let secrets = BTreeMap::from([
        ("gitToken".to_owned(), SecretString::from(TOKEN)),
        ("OTHER".to_owned(), SecretString::from("another-secret")),
        ("SHORT".to_owned(), SecretString::from("abc")),
        (
            "TWO_LINES".to_owned(),
            SecretString::from("first-line\nsecond-line"),
        ),
    ]);
    Http {
        plugin: "p".into(),
        task: "t".to_owned(),
        grants: Grants::parse(&[
            "http:https://api.example.com",
            "secret:gitToken",
            "secret:ABSENT",
            "secret:SHORT",
            "secret:TWO_LINES",
        ])
        .unwrap(),
        client: client.clone(),
        redactor: Arc::new(Redactor::new(secrets.values())),
        secrets: Arc::new(secrets),
        most: 1 << 20,
        sent: AtomicU32::new(0),
        refused: Mutex::default(),
    }
}

fn get(url: &str) -> Wanted {
    Wanted {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: None,
    }
}

fn with_header(name: &str, value: &str) -> Wanted {
    Wanted {
        headers: vec![(name.to_owned(), value.to_owned())],
        ..get("https://api.example.com/x")
    }
}

async fn refused(wanted: Wanted) -> (&'static str, String) {
    let client = Arc::new(Fake::default());
    let failure = http(&client).send(wanted).await.unwrap_err();
    assert!(client.sent.lock().unwrap().is_empty(), "it was sent");
    (failure.code, failure.message)
}

#[tokio::test]
async fn a_granted_request_is_sent_as_it_was_written_with_the_secret_in_its_place() {
    let client = Arc::new(Fake::default());
    let wanted = Wanted {
        method: "POST".to_owned(),
        body: b"{\"a\":\"[secret:gitToken]\"}".to_vec(),
        timeout_ms: Some(1500),
        ..with_header(
            "Authorization",
            "Bearer [secret:gitToken] [secret:] [secret",
        )
    };
    http(&client).send(wanted).await.unwrap();
    let sent = client.sent.lock().unwrap();
    let request = &sent[0];
    assert_eq!((request.method, request.url.path()), ("POST", "/x"));
    assert_eq!(request.timeout, Duration::from_millis(1500));
    let (name, value) = &request.headers[0];
    assert_eq!(name, "authorization");
    assert_eq!(
        value.expose_secret(),
        format!("Bearer {TOKEN} [secret:] [secret")
    );
    // Only headers carry secrets.
    assert_eq!(request.body, b"{\"a\":\"[secret:gitToken]\"}");
    assert!(!format!("{request:?}").contains(TOKEN));
}

#[tokio::test]
async fn another_host_or_secret_is_refused_by_the_grant_that_is_missing() {
    for (url, grant) in [
        ("https://evil.example/", "http:https://evil.example"),
        ("http://api.example.com/", "http:http://api.example.com"),
        (
            "https://api.example.com:8443/",
            "http:https://api.example.com:8443",
        ),
        (
            "https://api.example.com.evil.example/",
            "http:https://api.example.com.evil.example",
        ),
        ("file:///etc/passwd", "http:null"),
    ] {
        let (code, message) = refused(get(url)).await;
        assert_eq!(code, "not-granted", "{url}");
        assert_eq!(message, format!("the plugin `p` has no grant `{grant}`"));
    }
    let (code, message) = refused(with_header("x", "a [secret:OTHER]")).await;
    assert_eq!(code, "not-granted");
    assert_eq!(message, "the plugin `p` has no grant `secret:OTHER`");
    let (code, _) = refused(with_header("x", "[secret:ABSENT]")).await;
    assert_eq!(code, "no-secret");
    // The redactor would not find it in an answer.
    let (code, _) = refused(with_header("x", "[secret:SHORT]")).await;
    assert_eq!(code, "no-secret");
}

#[tokio::test]
async fn requests_that_could_smuggle_or_disguise_something_are_refused() {
    for name in [
        "Host",
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "Proxy-Authorization",
        "TE",
        "Upgrade",
        "Accept-Encoding",
        "Range",
        "a b",
        "a\r\nb",
        "",
        "é",
    ] {
        let (code, message) = refused(with_header(name, "x")).await;
        assert_eq!(code, "invalid-request", "{name:?}: {message}");
    }
    for value in ["a\r\nx: y", "a\nb", "\0", "é", "[secret:TWO_LINES]"] {
        assert_eq!(refused(with_header("x", value)).await.0, "invalid-request");
    }
    for url in [
        "https://user@api.example.com/",
        "https://:pass@api.example.com/",
        "api.example.com",
        "",
    ] {
        assert_eq!(refused(get(url)).await.0, "invalid-request", "{url}");
    }
    let long = format!("https://api.example.com/{}", "x".repeat(URL));
    assert_eq!(refused(get(&long)).await.0, "invalid-request");
    for method in [
        "get",
        "CONNECT",
        "TRACE",
        "OPTIONS",
        "GET / HTTP/1.1\r\n",
        "",
    ] {
        let wanted = Wanted {
            method: method.to_owned(),
            ..get("https://api.example.com/")
        };
        assert_eq!(refused(wanted).await.0, "invalid-request", "{method:?}");
    }
}

#[tokio::test]
async fn body_headers_and_number_of_requests_are_bounded() {
    let body = |bytes| Wanted {
        body: vec![b'x'; bytes],
        ..get("https://api.example.com/")
    };
    assert_eq!(refused(body(BODY + 1)).await.0, "too-large");
    let headers = |count: usize, bytes: usize| Wanted {
        headers: (0..count)
            .map(|n| (format!("x-{n}"), "v".repeat(bytes)))
            .collect(),
        ..get("https://api.example.com/")
    };
    assert_eq!(refused(headers(HEADERS + 1, 1)).await.0, "too-large");
    assert_eq!(refused(headers(2, HEADER_BYTES / 2)).await.0, "too-large");

    let client = Arc::new(Fake::default());
    let http = http(&client);
    http.send(body(BODY)).await.unwrap();
    http.send(headers(HEADERS, 1)).await.unwrap();
    for n in 2..1000 {
        let outcome = http.send(get("https://api.example.com/")).await;
        let code = outcome.err().map(|failure| failure.code);
        assert_eq!(code, (n >= REQUESTS).then_some("too-many-requests"));
    }
    assert_eq!(client.sent.lock().unwrap().len(), REQUESTS as usize);
}

#[tokio::test]
async fn no_time_limit_of_a_request_is_longer_than_the_hosts() {
    let client = Arc::new(Fake::default());
    for (wanted, given) in [(None, LONGEST), (Some(u32::MAX), LONGEST)] {
        let wanted = Wanted {
            timeout_ms: wanted,
            ..get("https://api.example.com/")
        };
        http(&client).send(wanted).await.unwrap();
        assert_eq!(client.sent.lock().unwrap().pop().unwrap().timeout, given);
    }
}

#[tokio::test]
async fn a_secret_that_is_echoed_does_not_reach_the_plugin_in_any_usual_form() {
    use base64::Engine as _;
    let coded = base64::engine::general_purpose::STANDARD.encode(format!("user:{TOKEN}"));
    let echo = HttpResponse {
        status: 302,
        headers: vec![
            ("location".to_owned(), format!("https://x/?t={TOKEN}")),
            ("x-other".to_owned(), "another-secret".to_owned()),
        ],
        body: format!("{TOKEN} {coded} \u{fffd}").into_bytes(),
    };
    let client = Arc::new(Fake {
        answer: Some(echo),
        ..Fake::default()
    });
    let answer = http(&client)
        .send(with_header("authorization", "[secret:gitToken]"))
        .await
        .unwrap();
    let text = format!(
        "{:?} {}",
        answer.headers,
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.status, 302);
    assert!(text.contains("[REDACTED]"));
    let inner = base64::engine::general_purpose::STANDARD_NO_PAD.encode(TOKEN);
    for form in [TOKEN, "another-secret", &coded, &inner] {
        assert!(!text.contains(form), "{text}");
    }
}

#[tokio::test]
async fn an_answer_in_which_no_secret_could_be_found_is_withheld() {
    let compressed = HttpResponse {
        status: 200,
        headers: vec![("content-encoding".to_owned(), "gzip".to_owned())],
        body: vec![0x1f, 0x8b],
    };
    let client = Arc::new(Fake {
        answer: Some(compressed),
        ..Fake::default()
    });
    let failure = http(&client)
        .send(get("https://api.example.com/"))
        .await
        .unwrap_err();
    assert_eq!(failure.code, "unreadable");
}
