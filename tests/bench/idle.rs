//! The peer of a gateway: a server of the same make that does nothing. In a process of its own, as
//! the gateway is.

use std::convert::Infallible;
use std::process::Stdio;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::routing::{get, post};
use futures::stream::{self, StreamExt as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// The argument by which this binary becomes the server.
pub const COMMAND: &str = "serve-idle";

pub async fn serve() {
    let accept = |_body: Bytes| async { (StatusCode::ACCEPTED, "{\"taskId\":\"none\"}") };
    let hold = || async {
        let first = stream::iter([Ok::<_, Infallible>("event: task\ndata: {}\n\n")]);
        let kind = [("content-type", "text/event-stream")];
        (kind, Body::from_stream(first.chain(stream::pending())))
    };
    let router = Router::new()
        .route("/run-async", post(accept))
        .route("/tasks/none/events", get(hold));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("http://{}", listener.local_addr().expect("bound"));
    axum::serve(listener, router).await.expect("it serves");
}

/// The server in its process, which ends with this.
pub struct Idle {
    pub url: String,
    process: Child,
}

impl Idle {
    pub async fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().expect("known"))
            .arg(COMMAND)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let stdout = process.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        let url = lines.next_line().await.expect("read").expect("an address");
        Self { url, process }
    }

    pub fn pid(&self) -> i32 {
        self.process.id().expect("it runs") as i32
    }
}
