#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures::{StreamExt, stream};
use nix::sys::socket::getsockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;

const LIMITS: Limits = Limits {
    connections: 100,
    header_timeout: Duration::from_secs(60),
    stall: Duration::from_secs(60),
    dead_peer: DEAD_PEER,
    grace: Duration::from_secs(60),
    agents: None,
};

struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(router: Router, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve_router(
            router,
            listener,
            limits,
            shutdown.clone(),
            || (),
        ));
        Self {
            address,
            shutdown,
            serving,
        }
    }

    async fn get(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream
            .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
            .unwrap();
        stream
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

/// Tells when it is dropped.
struct Told(mpsc::UnboundedSender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

/// `/stream` sends one piece and then nothing, until `ending` if that is given.
fn streaming(ending: Option<CancellationToken>) -> (Router, mpsc::UnboundedReceiver<()>) {
    let (told, dropped) = mpsc::unbounded_channel();
    let stream = get(move || {
        let (guard, ending) = (Told(told.clone()), ending.clone());
        async move {
            let rest = async move {
                match ending {
                    Some(ending) => ending.cancelled().await,
                    None => std::future::pending().await,
                }
                drop(guard);
                Ok::<_, Infallible>(Bytes::from_static(b"last"))
            };
            let first = stream::iter([Ok(Bytes::from_static(b"first"))]);
            Body::from_stream(first.chain(stream::once(rest)))
        }
    });
    (
        Router::new()
            .route("/stream", stream)
            .route("/", get(|| async { "hello" })),
        dropped,
    )
}

async fn read_until(stream: &mut TcpStream, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let mut piece = [0; 1024];
        let n = stream.read(&mut piece).await.unwrap();
        assert_ne!(n, 0, "the connection ended after {read:?}");
        read.push_str(std::str::from_utf8(&piece[..n]).unwrap());
    }
    read
}

#[tokio::test]
async fn a_reader_that_hangs_up_ends_its_stream() {
    let (router, mut dropped) = streaming(None);
    let server = Server::start(router, LIMITS).await;
    let mut stream = server.get("/stream").await;
    read_until(&mut stream, "first").await;
    assert!(dropped.try_recv().is_err());
    drop(stream);
    dropped.recv().await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn at_shutdown_streams_may_end_in_order_and_idle_connections_end_at_once() {
    let ending = CancellationToken::new();
    let (router, _dropped) = streaming(Some(ending.clone()));
    let server = Server::start(router, LIMITS).await;
    let mut idle = server.get("/").await;
    read_until(&mut idle, "hello").await;
    let mut stream = server.get("/stream").await;
    read_until(&mut stream, "first").await;
    server.shutdown.cancel();
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap(), 0);
    ending.cancel();
    read_until(&mut stream, "last").await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_cut_off_after_the_grace() {
    let (router, _dropped) = streaming(None);
    let server = Server::start(
        router,
        Limits {
            grace: Duration::from_millis(50),
            agents: None,
            ..LIMITS
        },
    )
    .await;
    let mut stream = server.get("/stream").await;
    read_until(&mut stream, "first").await;
    server.stop().await;
}

#[tokio::test]
async fn whoever_sends_no_head_is_let_go() {
    let limits = Limits {
        header_timeout: Duration::from_millis(50),
        ..LIMITS
    };
    let server = Server::start(Router::new(), limits).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    silent.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn beyond_the_number_of_connections_others_wait_for_a_place() {
    let (router, _dropped) = streaming(None);
    let server = Server::start(
        router,
        Limits {
            connections: 1,
            ..LIMITS
        },
    )
    .await;
    let mut first = server.get("/stream").await;
    read_until(&mut first, "first").await;
    let mut second = server.get("/").await;
    let mut byte = [0; 1];
    assert!(futures::poll!(std::pin::pin!(second.read(&mut byte))).is_pending());
    drop(first);
    read_until(&mut second, "hello").await;
    server.stop().await;
}

#[tokio::test]
async fn the_kernel_is_told_to_look_for_dead_peers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _peer = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let places = Arc::new(Semaphore::new(1));
    let (stream, _place) = accept(&listener, &places, DEAD_PEER).await.unwrap();
    assert_eq!(
        getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(),
        60_000
    );
    assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
    assert_eq!(getsockopt(&stream, sockopt::TcpKeepIdle).unwrap(), 30);
    assert_eq!(getsockopt(&stream, sockopt::TcpKeepInterval).unwrap(), 15);
}

/// In a network of its own, which can be switched off. Only root can make one; everybody else has the
/// test above.
#[test]
fn a_peer_that_vanished_without_a_word_is_noticed_on_a_quiet_stream() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let network = |state: &str| {
        let mut ip = std::process::Command::new("ip");
        let ended = ip.args(["link", "set", "lo", state]).status();
        assert!(ended.unwrap().success());
    };
    // A network namespace is a thread's, and so is everything that this runtime opens.
    let alone = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        network("up");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (router, mut dropped) = streaming(None);
            let limits = Limits {
                dead_peer: Duration::from_secs(2),
                ..LIMITS
            };
            let server = Server::start(router, limits).await;
            let mut stream = server.get("/stream").await;
            read_until(&mut stream, "first").await;
            network("down");
            let noticed = tokio::time::timeout(Duration::from_secs(30), dropped.recv()).await;
            assert_eq!(noticed, Ok(Some(())));
        });
    });
    alone.join().unwrap();
}
