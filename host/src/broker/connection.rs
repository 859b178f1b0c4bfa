//! The listener and the life of one connection: one head, one request, one answer.

use std::convert::Infallible;
use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::body::Download;
use super::forward::forward;
use super::head::{self, Head};
use super::refusal::Refusal;
use super::routes::Routes;

/// Connections at once, whatever they do; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 256;

/// A client that has not sent its head by then is left.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answered client may go on sending what nobody reads any more. Closing at once would
/// reset the connection, and the client would lose the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Pause after a failed accept, which means that this process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The broker's own answer, or the upstream's.
type Answer = Either<Full<Bytes>, Download>;

/// Serves until told to stop; then ends every connection and with it every request.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => {}
            (place, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        serve(stream, &shared).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the broker cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

async fn serve(stream: TcpStream, shared: &Shared) {
    // Small events are to leave at once; a socket that cannot be told so works all the same.
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let head = match tokio::time::timeout(HEAD_TIMEOUT, head::read(&mut reader)).await {
        Ok(Ok(Some(head))) => head,
        Ok(Ok(None)) | Err(_) => return,
        Ok(Err(refusal)) => {
            shared.meter.refused();
            if writer.write_all(&refusal.into_bytes()).await.is_ok() {
                linger(tokio::io::join(reader, writer)).await;
            }
            return;
        }
    };
    let Head {
        bytes,
        method,
        target,
        content_length,
    } = head;
    let service = service_fn(|request: Request<Incoming>| {
        let (method, target) = (&method, &target);
        async move {
            let answer = if Routes::is_probe(method, target) {
                Ok(Response::new(Either::Left(Full::default())))
            } else {
                answer(shared, method, target, content_length, request).await
            };
            Ok::<_, Infallible>(answer.unwrap_or_else(|refusal| {
                if refusal.is_of_the_client() {
                    shared.meter.refused();
                }
                refusal.into_response().map(Either::Left)
            }))
        }
    });
    let stream = tokio::io::join(Cursor::new(bytes).chain(reader), writer);
    // One request per connection: what follows its body cannot be taken for another one.
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .without_shutdown();
    // An error means that the client left or that the answer broke off; both show at its end, and
    // the stream is closed without a proper end of the body.
    if let Ok(parts) = connection.await {
        linger(parts.io.into_inner()).await;
    }
}

/// Checks in the order in which they give least away: token, then target, then size and load.
async fn answer(
    shared: &Shared,
    method: &hyper::Method,
    target: &str,
    content_length: Option<u64>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    if !shared.token.is_borne_by(request.headers()) {
        return Err(Refusal::Unauthorized);
    }
    let url = shared.routes.find(method, target)?;
    let answer = forward(shared, url, content_length, request).await?;
    Ok(answer.map(Either::Right))
}

/// Ends the answer, then reads on for a while so that the client gets to see it.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drained = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
    };
    // Whichever way this ends, the connection is closed next.
    let _ = tokio::time::timeout(LINGER, drained).await;
}
