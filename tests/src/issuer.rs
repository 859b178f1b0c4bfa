//! An issuer of OpenID Connect on loopback: its discovery document, its keys, and tokens of every kind, the
//! wrong ones included.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Whom its tokens are for.
pub const AUDIENCE: &str = "https://gatehouse.example";

/// An issuer that runs; its keys are named `rs`, `es` and `ed`.
pub struct Issuer {
    /// As its tokens name it.
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    keys: Mutex<Vec<(String, Key)>>,
    away: AtomicBool,
    asked: AtomicUsize,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(Box::new(
            RsaKeyPair::generate(KeySize::Rsa2048).expect("a key"),
        ))
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("signed");
                signature
            }
            Self::Ec(key) => {
                let signature = key.sign(&random, message).expect("signed");
                signature.as_ref().to_vec()
            }
            Self::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    fn public(&self) -> Value {
        match self {
            Self::Rsa(key) => {
                // RSAPublicKey (RFC 8017) of 2048 bits: two heads, the modulus, and 65537.
                let modulus = &key.public_key().as_ref()[9..265];
                json!({"kty": "RSA", "n": encode(modulus), "e": "AQAB"})
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Self::Ed(key) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref())})
            }
        }
    }
}

impl Issuer {
    /// At a port of its own.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it listens"));
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let ed = Ed25519KeyPair::generate().expect("a key");
        let keys = [("rs", Key::rsa()), ("es", Key::Ec(ec)), ("ed", Key::Ed(ed))];
        let shared = Arc::new(Shared {
            url: url.clone(),
            keys: Mutex::new(keys.map(|(name, key)| (name.to_owned(), key)).into()),
            away: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let answers = Arc::clone(&shared);
        let answer = move |path: Uri| std::future::ready(answers.answer(path.path()));
        tokio::spawn(async move {
            let served = axum::serve(listener, Router::new().fallback(answer));
            served.await.expect("it serves");
        });
        Self { url, shared }
    }

    /// Whether it answers nobody from now on.
    pub fn is_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::SeqCst);
    }

    /// How often it was asked for a document.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// What a good token says.
    pub fn claims(&self) -> Value {
        let now = now();
        json!({
            "iss": self.url, "aud": AUDIENCE, "sub": "alice", "iat": now, "nbf": now, "exp": now + 300,
        })
    }

    /// A token of the key `kid` with these claims instead of the usual ones, or without those that are null.
    pub fn token(&self, kid: &str, claims: Value) -> String {
        self.token_with(kid, json!({}), claims)
    }

    /// The same with other words in its head.
    pub fn token_with(&self, kid: &str, head: Value, claims: Value) -> String {
        let keys = self.shared.keys.lock().expect("whole");
        let (_, key) = keys.iter().find(|(name, _)| name == kid).expect("a key");
        let usual = json!({"typ": "JWT", "alg": key.algorithm(), "kid": kid});
        let message = self.message(merged(usual, head), claims);
        let signature = key.sign(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    /// A token whose signature is whatever `sign` makes of the rest.
    pub fn forged(&self, head: Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let message = self.message(head, json!({}));
        format!("{message}.{}", encode(&sign(message.as_bytes())))
    }

    /// The public key `rs` as anybody can have it, for whoever takes it for a secret.
    pub fn public_key(&self) -> Vec<u8> {
        let keys = self.shared.keys.lock().expect("whole");
        match &keys[0].1 {
            Key::Rsa(key) => key.public_key().as_ref().to_vec(),
            Key::Ec(_) | Key::Ed(_) => unreachable!("rs is the first"),
        }
    }

    fn message(&self, head: Value, claims: Value) -> String {
        let claims = merged(self.claims(), claims);
        format!(
            "{}.{}",
            encode(head.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        )
    }

    /// What has a gateway take its tokens.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("GATEHOUSE__AUTH__OIDC__ISSUER", self.url.clone()),
            ("GATEHOUSE__AUTH__OIDC__AUDIENCE", AUDIENCE.to_owned()),
        ]
    }
}

impl Shared {
    fn answer(&self, path: &str) -> Response {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.away.load(Ordering::SeqCst) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        match path {
            "/.well-known/openid-configuration" => {
                let keys = format!("{}/keys", self.url);
                Json(json!({"issuer": self.url, "jwks_uri": keys})).into_response()
            }
            "/keys" => {
                let keys = self.keys.lock().expect("whole");
                let public = keys.iter().map(|(name, key)| {
                    let about = json!({"kid": name, "use": "sig", "alg": key.algorithm()});
                    merged(key.public(), about)
                });
                Json(json!({"keys": public.collect::<Vec<_>>()})).into_response()
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The members of `over` in place of those of `base`; null takes one out.
fn merged(mut base: Value, over: Value) -> Value {
    let (Value::Object(fields), Value::Object(over)) = (&mut base, over) else {
        panic!("objects");
    };
    for (name, value) in over {
        match value {
            Value::Null => fields.remove(&name),
            value => fields.insert(name, value),
        };
    }
    base
}
