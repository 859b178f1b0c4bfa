//! The model's API: reachable, and of the same time as we are.

use std::time::Duration;

use jiff::Timestamp;

use super::report::Finding;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Receivers of webhooks refuse a signature that is older than five minutes.
const SKEW_WARN: i64 = 60;

/// Whether the model's API answers at all, and whether its clock and ours agree.
pub(super) async fn reach(url: &url::Url) -> Vec<Finding> {
    const CHECK: &str = "upstream";
    let host = url.host_str().unwrap_or_default().to_owned();
    let remedy = "check the network, or set GATEHOUSE_ANTHROPIC_URL";
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CONNECT_TIMEOUT)
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            return vec![Finding::fail(
                CHECK,
                format!("TLS cannot be set up: {error}"),
                "install ca-certificates",
            )];
        }
    };
    // Bears no credential: any answer proves that the way there is open.
    match client.head(url.clone()).send().await {
        Ok(answer) => {
            let date = answer
                .headers()
                .get(reqwest::header::DATE)
                .and_then(|date| date.to_str().ok());
            vec![
                Finding::ok(CHECK, format!("{host} answers")),
                clock(date, Timestamp::now()),
            ]
        }
        Err(error) => {
            let why = causes(&error);
            vec![
                Finding::fail(CHECK, format!("{host} cannot be reached: {why}"), remedy),
                clock(None, Timestamp::now()),
            ]
        }
    }
}

fn clock(date: Option<&str>, now: Timestamp) -> Finding {
    const CHECK: &str = "clock";
    let theirs = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let Some(theirs) = theirs else {
        return Finding::warn(
            CHECK,
            format!("{now}; there was nothing to compare it with"),
            "see that the clock is kept by NTP",
        );
    };
    let ahead = now.as_second() - theirs.timestamp().as_second();
    if ahead.abs() > SKEW_WARN {
        let direction = if ahead > 0 { "ahead of" } else { "behind" };
        let message = format!("{} s {direction} the upstream's clock", ahead.abs());
        return Finding::warn(
            CHECK,
            message,
            "set the clock: receivers refuse webhooks signed at a wrong time",
        );
    }
    Finding::ok(CHECK, "agrees with the upstream's")
}

fn causes(error: &reqwest::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    if error.is_timeout() {
        format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())
    } else {
        last.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::super::report::State;
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_more_than_a_minute_is_warned_of() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(
            clock(Some("Sun, 01 Mar 2026 12:00:30 GMT"), now).state,
            State::Ok
        );
        let finding = clock(Some("Sun, 01 Mar 2026 12:10:00 GMT"), now);
        assert_eq!(finding.state, State::Warn);
        assert!(
            finding.message.contains("600 s behind"),
            "{}",
            finding.message
        );
        assert_eq!(clock(None, now).state, State::Warn);
    }

    #[tokio::test]
    async fn an_upstream_that_answers_is_told_from_one_that_does_not() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url: url::Url = format!("http://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"HEAD "));
            stream
                .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                .await
                .unwrap();
        };
        let (findings, ()) = tokio::join!(reach(&url), serve);
        assert_eq!(findings[0].state, State::Ok);
        drop(listener);
        assert_eq!(reach(&url).await[0].state, State::Fail);
    }
}
