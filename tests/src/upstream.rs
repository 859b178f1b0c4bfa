//! A model's API over TLS, which speaks HTTP/2 or HTTP/1.1, behind certificates good and bad.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Somebody who issues certificates, whom one may trust.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// What a server shows, and the key that belongs to it.
pub struct Certificate {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// One that nobody knows yet.
    pub fn fresh() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, key()).expect("signs itself");
        Self(issuer)
    }

    /// As `SSL_CERT_FILE` holds it.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// For `host`, from yesterday to tomorrow.
    pub fn certifies(&self, host: &str) -> Certificate {
        self.issue(named(host))
    }

    /// For `host`, until yesterday.
    pub fn certified(&self, host: &str) -> Certificate {
        let mut params = named(host);
        let now = SystemTime::now();
        (params.not_before, params.not_after) = ((now - 2 * DAY).into(), (now - DAY).into());
        self.issue(params)
    }

    fn issue(&self, params: CertificateParams) -> Certificate {
        let key = key();
        let signed = params.signed_by(&key, &self.0).expect("signs");
        Certificate {
            certificate: signed.der().clone(),
            key,
        }
    }
}

impl Certificate {
    /// For `host`, by nobody but itself.
    pub fn self_signed(host: &str) -> Self {
        let key = key();
        let signed = named(host).self_signed(&key).expect("signs");
        Self {
            certificate: signed.der().clone(),
            key,
        }
    }
}

fn named(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
    let now = SystemTime::now();
    (params.not_before, params.not_after) = ((now - DAY).into(), (now + DAY).into());
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// How every request is answered: one event, and then…
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// … the end.
    Ends,
    /// … nothing more.
    Stalls,
    /// … the stream is reset.
    Breaks,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// HTTP/2 or HTTP/1.1
    pub version: Version,
    /// Path and query.
    pub target: String,
    /// The one header that proves who asks.
    pub api_key: String,
}

/// The event that every answer begins with.
pub const EVENT: &str = r#"event: message_start
data: {"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":3}}}

"#;

/// The API.
pub struct TlsUpstream {
    address: SocketAddr,
    certificate: Arc<Mutex<Arc<ServerConfig>>>,
    protocol: &'static str,
    asked: Arc<Mutex<Vec<Asked>>>,
    refused: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl TlsUpstream {
    /// Speaks `h2` or `http/1.1`, and nothing else.
    pub async fn start(protocol: &'static str, certificate: Certificate, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let certificate = Arc::new(Mutex::new(server(protocol, certificate)));
        let (asked, refused) = (Arc::default(), Arc::<Mutex<usize>>::default());
        let serving = {
            let (certificate, asked, refused) = (
                Arc::clone(&certificate),
                Arc::clone(&asked),
                Arc::clone(&refused),
            );
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.expect("accepts");
                    let server = Arc::clone(&certificate.lock().expect("whole"));
                    let (asked, refused) = (Arc::clone(&asked), Arc::clone(&refused));
                    tokio::spawn(async move {
                        if !converse(stream, server, asked, then).await {
                            *refused.lock().expect("whole") += 1;
                        }
                    });
                }
            })
        };
        Self {
            address,
            certificate,
            protocol,
            asked,
            refused,
            serving,
        }
    }

    /// From now on it shows another one.
    pub fn shows(&self, certificate: Certificate) {
        *self.certificate.lock().expect("whole") = server(self.protocol, certificate);
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Every request so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("whole").clone()
    }

    /// Connections so far that ended before TLS had begun.
    pub fn refused(&self) -> usize {
        *self.refused.lock().expect("whole")
    }
}

impl Drop for TlsUpstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn server(protocol: &str, shown: Certificate) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![shown.certificate], key)
        .expect("they belong together");
    server.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    Arc::new(server)
}

/// False where TLS did not come about.
async fn converse(
    stream: TcpStream,
    server: Arc<ServerConfig>,
    asked: Arc<Mutex<Vec<Asked>>>,
    then: Then,
) -> bool {
    let is_http_2 = server.alpn_protocols == [b"h2"];
    let Ok(stream) = TlsAcceptor::from(server).accept(stream).await else {
        return false;
    };
    let service = service_fn(move |request: Request<Incoming>| {
        let asked = Arc::clone(&asked);
        async move {
            let api_key = request.headers().get("x-api-key");
            let api_key = api_key.and_then(|key| key.to_str().ok()).unwrap_or("");
            let told = Asked {
                version: request.version(),
                target: request
                    .uri()
                    .path_and_query()
                    .expect("a target")
                    .to_string(),
                api_key: api_key.to_owned(),
            };
            // The whole of it, so that what is noted did arrive.
            if request.into_body().collect().await.is_ok() {
                asked.lock().expect("whole").push(told);
            }
            let answer = Response::builder().header("content-type", "text/event-stream");
            let body = StreamBody::new(events(then));
            Ok::<_, Infallible>(answer.body(body).expect("a response"))
        }
    });
    // How it ends is the other side's matter, or what `then` brings about.
    let stream = TokioIo::new(stream);
    if is_http_2 {
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let _ = connection.serve_connection(stream, service).await;
    } else {
        let connection = hyper::server::conn::http1::Builder::new();
        let _ = connection.serve_connection(stream, service).await;
    }
    true
}

fn events(then: Then) -> BoxStream<'static, Result<Frame<Bytes>, std::io::Error>> {
    let first = stream::iter([Ok(Frame::data(Bytes::from_static(EVENT.as_bytes())))]);
    match then {
        Then::Ends => first.boxed(),
        Then::Stalls => first.chain(stream::pending()).boxed(),
        Then::Breaks => {
            // Not at once, or the first event would be dropped with the rest.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                Err(std::io::ErrorKind::ConnectionReset.into())
            });
            first.chain(broken).boxed()
        }
    }
}
