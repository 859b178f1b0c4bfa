//! An upstream that records each request as it came and answers with a script of bytes.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::client::PATIENCE;

/// What is done with every connection once its request is in.
#[derive(Clone)]
pub(super) enum Step {
    Write(Vec<u8>),
    /// Waits for [`Stub::proceed`].
    Wait,
    /// Sends so many zeros, unless the connection breaks.
    Zeros(u64),
    /// Closes with a reset.
    Reset,
    /// Waits for the other side to leave.
    Hang,
}

/// One request.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Every value of a header.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1);
        let pairs = lines.filter_map(|line| line.split_once(": "));
        let named = pairs.filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value).collect()
    }
}

#[derive(Clone, Default)]
struct State {
    seen: Arc<Mutex<Vec<Seen>>>,
    /// All bytes that came, understood or not.
    raw: Arc<Mutex<Vec<u8>>>,
    sent: Arc<std::sync::atomic::AtomicU64>,
}

pub(super) struct Stub {
    address: std::net::SocketAddr,
    state: State,
    arrived: Arc<Semaphore>,
    left: Arc<Semaphore>,
    go: Arc<Semaphore>,
    serving: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    pub(super) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State::default();
        let [arrived, left, go] = [(); 3].map(|()| Arc::new(Semaphore::new(0)));
        let serving = {
            let (state, arrived, left, go) =
                (state.clone(), arrived.clone(), left.clone(), go.clone());
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (state, steps) = (state.clone(), steps.clone());
                    let (arrived, left, go) = (arrived.clone(), left.clone(), go.clone());
                    tokio::spawn(async move {
                        serve(stream, &state, &steps, &arrived, &go).await;
                        left.add_permits(1);
                    });
                }
            })
        };
        Self {
            address,
            state,
            arrived,
            left,
            go,
            serving,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// The only request there was.
    pub(super) fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1);
        seen[0].clone()
    }

    pub(super) fn raw(&self) -> Vec<u8> {
        self.state.raw.lock().unwrap().clone()
    }

    pub(super) fn sent(&self) -> u64 {
        self.state.sent.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits for one more request to have arrived.
    pub(super) async fn arrival(&self) {
        taken(&self.arrived).await;
    }

    /// Waits for one more connection to have ended.
    pub(super) async fn departure(&self) {
        taken(&self.left).await;
    }

    /// Lets one waiting step go on.
    pub(super) fn proceed(&self) {
        self.go.add_permits(1);
    }
}

async fn taken(events: &Semaphore) {
    let event = tokio::time::timeout(PATIENCE, events.acquire()).await;
    event.expect("it happens").unwrap().forget();
}

async fn serve(
    mut stream: TcpStream,
    state: &State,
    steps: &[Step],
    arrived: &Semaphore,
    go: &Semaphore,
) {
    while let Some(seen) = read_request(&mut stream, &state.raw).await {
        state.seen.lock().unwrap().push(seen);
        arrived.add_permits(1);
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    if stream.write_all(bytes).await.is_err() {
                        return;
                    }
                }
                Step::Wait => go.acquire().await.unwrap().forget(),
                Step::Zeros(number) => {
                    let zeros = [0_u8; 64 * 1024];
                    let mut left = *number;
                    while left > 0 {
                        let piece = &zeros[..zeros.len().min(left as usize)];
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                        left -= piece.len() as u64;
                        let order = std::sync::atomic::Ordering::Relaxed;
                        state.sent.fetch_add(piece.len() as u64, order);
                    }
                }
                Step::Reset => {
                    stream.set_zero_linger().unwrap();
                    return;
                }
                Step::Hang => {
                    let _ = stream.read(&mut [0; 1]).await;
                    return;
                }
            }
        }
    }
}

/// Reads a head and its body; `None` when the connection ends first.
async fn read_request(stream: &mut TcpStream, raw: &Mutex<Vec<u8>>) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut end = None;
    loop {
        if let Some(end) = end.or_else(|| find(&bytes, b"\r\n\r\n")) {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let body = &bytes[end + 4..];
            let seen = Seen {
                head,
                body: body.to_vec(),
            };
            let whole = match seen.values("content-length").first() {
                Some(length) => body.len() >= length.parse::<usize>().unwrap(),
                None if seen.values("transfer-encoding").is_empty() => true,
                None => body.ends_with(b"0\r\n\r\n"),
            };
            if whole {
                return Some(seen);
            }
        }
        end = find(&bytes, b"\r\n\r\n");
        let before = bytes.len();
        let read = stream.read_buf(&mut bytes).await;
        raw.lock().unwrap().extend_from_slice(&bytes[before..]);
        if !matches!(read, Ok(1..)) {
            return None;
        }
    }
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
