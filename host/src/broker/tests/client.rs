//! A client that sends exactly the bytes it is given.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::broker::Broker;

/// Long enough for any machine; a test that waits for so long has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the broker.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn connect(broker: &Broker) -> Self {
        Self(TcpStream::connect(broker.address).await.unwrap())
    }

    pub(super) async fn send(broker: &Broker, request: impl AsRef<[u8]>) -> Self {
        let mut client = Self::connect(broker).await;
        client.0.write_all(request.as_ref()).await.unwrap();
        client
    }

    /// Everything up to the end of the connection.
    pub(super) async fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.0.read_to_end(&mut bytes);
        // A connection that breaks is at its end as well.
        let _ = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the broker closes");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `part` has been seen.
    pub(super) async fn until(&mut self, part: &str) -> String {
        let mut seen = Vec::new();
        let reading = async {
            while !String::from_utf8_lossy(&seen).contains(part) {
                assert_ne!(
                    self.0.read_buf(&mut seen).await.unwrap(),
                    0,
                    "ended before {part}"
                );
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect(part);
        String::from_utf8_lossy(&seen).into_owned()
    }
}

/// One request, and all that is answered.
pub(super) async fn exchange(broker: &Broker, request: impl AsRef<[u8]>) -> String {
    let mut client = Client::connect(broker).await;
    // The broker may answer and close before it has read all.
    let _ = client.0.write_all(request.as_ref()).await;
    client.rest().await
}

/// The status of an answer; 0 where there was none.
pub(super) fn status(answer: &str) -> u16 {
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    status.map_or(0, |status| status.parse().unwrap())
}

/// The error of an answer that must be shaped like the upstream's: type and code.
pub(super) fn error(answer: &str) -> (String, String) {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let body: serde_json::Value = serde_json::from_str(body).expect("a JSON error");
    assert_eq!(body["type"], "error");
    assert!(body["error"]["message"].is_string());
    let text = |name: &str| body["error"][name].as_str().unwrap().to_owned();
    (text("type"), text("code"))
}
