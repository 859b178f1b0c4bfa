//! Connections: bounded in number and in time, ended in order.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Peer;
use super::peer::Agents;
use super::stall::StallGuard;
use crate::app::App;
use crate::isolation::Isolation;

/// A reader that takes nothing for so long is let go; it can come back where it left off.
const STALL_LIMIT: Duration = Duration::from_secs(120);

/// A peer whose machine or network is gone says nothing, and by itself the kernel would believe in it
/// for a quarter of an hour where something is on its way to it, and for ever where nothing is.
const DEAD_PEER: Duration = Duration::from_secs(60);

/// Bytes of a head, and of an answer that waits to be taken.
const BUFFER: usize = 128 * 1024;

/// After an accept that failed, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connections: u32,
    header_timeout: Duration,
    stall: Duration,
    /// Without a sign of life.
    dead_peer: Duration,
    grace: Duration,
    /// None where agents have no users of their own.
    agents: Option<Agents>,
}

/// Serves the API until `shutdown`. Then nobody new is taken, followers are told, and whoever is not
/// done within `server.shutdown_grace` is cut off. Jobs are not touched.
pub async fn serve(app: Arc<App>, listener: TcpListener, shutdown: CancellationToken) {
    let server = &app.config.server;
    let limits = Limits {
        connections: server.max_connections,
        header_timeout: server.header_timeout,
        stall: STALL_LIMIT,
        dead_peer: DEAD_PEER,
        grace: server.shutdown_grace,
        agents: app
            .isolation
            .as_ref()
            .and_then(Isolation::agent_uids)
            .map(|(first, last)| Agents { first, last }),
    };
    let stopping = || {
        app.presence.close();
        app.stopping.cancel();
    };
    serve_router(
        super::router(Arc::clone(&app)),
        listener,
        limits,
        shutdown,
        stopping,
    )
    .await;
}

async fn serve_router(
    router: Router,
    listener: TcpListener,
    limits: Limits,
    shutdown: CancellationToken,
    stopping: impl FnOnce(),
) {
    let places = Arc::new(Semaphore::new(
        usize::try_from(limits.connections).unwrap_or(Semaphore::MAX_PERMITS),
    ));
    let (connections, cut_off) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places, limits.dead_peer) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let conversation = converse(stream, router.clone(), limits, shutdown.clone());
                let cut_off = cut_off.clone();
                connections.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = cut_off.cancelled() => {}
                        () = conversation => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    stopping();
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(connections = connections.len(), "connections are cut off");
        cut_off.cancel();
        connections.wait().await;
    }
}

/// Waits for a free place first: whoever comes then waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    dead_peer: Duration,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    give_up_after(&stream, dead_peer)?;
    Ok((stream, place))
}

/// Has the kernel end the connection when for `limit` nothing came that shows that its peer is there:
/// no acknowledgement of what was sent, no answer to the probes that are sent where nothing else is.
fn give_up_after(stream: &TcpStream, limit: Duration) -> io::Result<()> {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1);
    let millis = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    setsockopt(stream, sockopt::TcpUserTimeout, &millis)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds(limit / 2))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds(limit / 4))?;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    Ok(())
}

async fn converse(stream: TcpStream, router: Router, limits: Limits, shutdown: CancellationToken) {
    if limits
        .agents
        .is_some_and(|agents| agents.may_have_opened(&stream))
    {
        tracing::warn!("a connection was closed unanswered: an agent may have opened it");
        return;
    }
    let peer = stream.peer_addr().ok().map(|peer| Peer(peer.ip()));
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router.call(request)
    });
    let io = TokioIo::new(StallGuard::new(stream, limits.stall));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(BUFFER)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            // The answer that is under way is finished, and no other begun.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

#[cfg(test)]
mod tests;
