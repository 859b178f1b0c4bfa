//! An honest scripted Messages API on loopback.
//!
//! Answers `POST /v1/messages` in the form of the real API from a scenario file, so that the real
//! CLI can be driven without a model, a network or a key. There is no model behind it, and it says
//! so: at start, in the `server` header of every answer, and in the text of every answer that no
//! scenario wrote. It does not check requests as the real API does, and prices nothing.
//!
//! Which turn comes next follows from the request alone: from the conversation whose `prompt` is in
//! the first user message, the turn after as many as there are assistant messages. Retries,
//! subagents and resumed sessions therefore need no state. The only state is the list of requests
//! that came in, for tests to look at, and how often a failure of which there are to be `times` was
//! shown.

mod message;
mod recorded;
mod request;
mod scenario;
mod server;

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use recorded::Recorded;
pub use scenario::{ScenarioError, Scenarios};

/// How to listen and whom to answer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    /// The only key or bearer token that is accepted; `None` accepts any that is not empty.
    pub expect_key: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            expect_key: None,
        }
    }
}

/// A running model; it ends when dropped.
#[derive(Debug)]
pub struct ScriptedModel {
    address: SocketAddr,
    requests: recorded::Requests,
    serving: JoinHandle<()>,
}

impl ScriptedModel {
    /// Listens on a free port of 127.0.0.1 and accepts any key.
    pub async fn start(scenarios: Scenarios) -> anyhow::Result<Self> {
        Self::start_with(scenarios, Options::default()).await
    }

    /// Listens as `options` say.
    pub async fn start_with(scenarios: Scenarios, options: Options) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let requests = recorded::Requests::default();
        let router = server::router(scenarios, options.expect_key, requests.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the scripted model ended");
            }
        });
        Ok(Self {
            address,
            requests,
            serving,
        })
    }

    /// `http://127.0.0.1:PORT`, for `ANTHROPIC_BASE_URL` or as a broker's upstream.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The latest requests, oldest first, refused ones included.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.all()
    }

    /// Serves until the task is aborted or the listener breaks.
    pub async fn ended(mut self) {
        // An abort is the only error, and it is an end as well.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
