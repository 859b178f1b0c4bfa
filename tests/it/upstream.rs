//! The credential's one way out: TLS to whom the operator trusts, HTTP/2 or HTTP/1.1, and nothing else.

use gatehouse_tests::Gateway;
use gatehouse_tests::upstream::{Authority, Certificate, EVENT, Then, TlsUpstream};
use serde_json::Value;

const HERE: &str = "127.0.0.1";

/// A gateway in front of `upstream` whose CLI asks the API once and tells what came.
async fn gateway(upstream: &TlsUpstream, authority: &Authority) -> (Gateway, tempfile::TempPath) {
    let trusted = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(trusted.path(), authority.pem()).unwrap();
    let gateway = Gateway::with()
        .env(
            "GATEHOUSE_CLAUDE_BIN",
            env!("CARGO_BIN_EXE_misbehaving-cli"),
        )
        .env("GATEHOUSE_ANTHROPIC_URL", &upstream.url())
        .env("GATEHOUSE__BROKER__READ_TIMEOUT", "1s")
        .env("SSL_CERT_FILE", trusted.path().to_str().unwrap())
        .start()
        .await;
    (gateway, trusted.into_temp_path())
}

/// What the CLI was answered, and the task's report.
async fn answered(gateway: &Gateway) -> (String, Value) {
    let events = gateway
        .run(&gateway.request("ask the API once"))
        .await
        .rest()
        .await;
    let report = events.last().unwrap().json();
    let answer = report["result"].as_str();
    let answer = answer.unwrap_or_else(|| panic!("{report:#}\n{}", gateway.log()));
    (answer.to_owned(), report)
}

#[tokio::test]
async fn a_request_goes_over_tls_to_an_authority_that_the_operator_trusts() {
    let authority = Authority::fresh();
    for (protocol, version) in [("h2", "HTTP/2.0"), ("http/1.1", "HTTP/1.1")] {
        let upstream = TlsUpstream::start(protocol, authority.certifies(HERE), Then::Ends).await;
        let (gateway, _trusted) = gateway(&upstream, &authority).await;

        let (answer, report) = answered(&gateway).await;

        assert_eq!(answer, format!("200 whole: {EVENT}"), "{protocol}");
        assert_eq!(report["usage"]["inputTokens"], 7, "{report:#}");
        let asked = upstream.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        assert_eq!(format!("{:?}", asked[0].version), version);
        assert_eq!(asked[0].target, "/v1/messages?beta=true");
        assert_eq!(asked[0].api_key, gateway.canaries.api_key);
    }
}

#[tokio::test]
async fn an_upstream_that_cannot_prove_who_it_is_gets_nothing() {
    let authority = Authority::fresh();
    let upstream = TlsUpstream::start("h2", authority.certifies(HERE), Then::Ends).await;
    let (gateway, _trusted) = gateway(&upstream, &authority).await;

    for (number, (what, certificate)) in (1..).zip([
        ("self-signed", Certificate::self_signed(HERE)),
        (
            "of an authority that is not trusted",
            Authority::fresh().certifies(HERE),
        ),
        ("for another host", authority.certifies("api.example.com")),
        ("for another address", authority.certifies("127.0.0.2")),
        ("expired", authority.certified(HERE)),
    ]) {
        upstream.shows(certificate);
        let (answer, _) = answered(&gateway).await;
        assert!(answer.starts_with("502 whole: "), "{what}: {answer}");
        assert!(answer.contains("proxy_upstream_unreachable"), "{what}");
        assert_eq!(upstream.refused(), number, "{what}");
    }
    assert!(upstream.asked().is_empty());

    // It was the certificates and nothing else.
    upstream.shows(authority.certifies(HERE));
    assert!(answered(&gateway).await.0.starts_with("200 whole"));
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_stream_over_http_2_that_stalls_or_is_reset_is_broken_off_and_not_ended() {
    let authority = Authority::fresh();
    for then in [Then::Stalls, Then::Breaks] {
        let upstream = TlsUpstream::start("h2", authority.certifies(HERE), then).await;
        let (gateway, _trusted) = gateway(&upstream, &authority).await;

        let (answer, report) = answered(&gateway).await;

        assert_eq!(answer, format!("200 broken off: {EVENT}"), "{then:?}");
        assert_eq!(report["usage"]["inputTokens"], 7, "{report:#}");
        assert_eq!(upstream.asked().len(), 1, "nothing is tried again");
    }
}
