//! A client of event streams, strict about their framing.

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;

/// One event as it was received.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The `event:` field; `message` where there was none.
    pub name: String,
    /// The `id:` field, if there was one.
    pub id: Option<u64>,
    /// The `data:` lines, joined.
    pub data: String,
}

impl Event {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {}", self.data))
    }
}

/// An open stream.
pub struct Stream {
    /// `X-Task-Id`
    pub task_id: String,
    /// Status and headers, for tests about them.
    pub headers: reqwest::header::HeaderMap,
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    buffer: Vec<u8>,
    /// Comments seen.
    pub comments: usize,
}

impl Stream {
    /// Takes over a response that must be an event stream.
    pub async fn open(response: reqwest::Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        let kind = headers
            .get("content-type")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned();
        if !status.is_success() || !kind.starts_with("text/event-stream") {
            panic!(
                "no event stream but {status} {kind}: {}",
                response.text().await.unwrap_or_default()
            );
        }
        let task_id = headers
            .get("x-task-id")
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
            .to_owned();
        Self {
            task_id,
            headers,
            bytes: response.bytes_stream().boxed(),
            buffer: Vec::new(),
            comments: 0,
        }
    }

    /// The next event; none at the end of the stream, also where the connection broke.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.parse() {
                return Some(event);
            }
            match self.bytes.next().await {
                Some(Ok(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// All that is left.
    pub async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// Reads until an event for which `wanted` holds; the events before it are dropped.
    pub async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        loop {
            match self.next().await {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => panic!("the stream ended before the event that was waited for"),
            }
        }
    }

    fn parse(&mut self) -> Option<Event> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let block = String::from_utf8(block).expect("event streams are UTF-8");
            let mut event = Event {
                name: "message".to_owned(),
                id: None,
                data: String::new(),
            };
            let mut fields = 0;
            let mut data = Vec::new();
            for line in block.lines() {
                if line.starts_with(':') {
                    self.comments += 1;
                    continue;
                }
                fields += usize::from(!line.is_empty());
                let (field, value) = line.split_once(':').unwrap_or((line, ""));
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "event" => value.clone_into(&mut event.name),
                    "id" => event.id = Some(value.parse().expect("ids are numbers")),
                    "data" => data.push(value.to_owned()),
                    "retry" | "" => {}
                    other => panic!("unknown field {other:?} in an event stream"),
                }
            }
            if fields > 0 {
                event.data = data.join("\n");
                return Some(event);
            }
        }
    }
}
