//! Against a registry that answers from a list; the real one is in the integration tests.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::layout::digest;
use super::*;
use crate::config;
use crate::plugin::http::{HttpRequest, HttpResponse};
use crate::plugin::{Failure, test_outbound};

/// Answers by URL, and who was shown what.
#[derive(Debug, Default)]
struct Fake {
    answers: BTreeMap<String, HttpResponse>,
    shown: Mutex<Vec<(String, Option<String>)>>,
    /// Asked for by everything at the registry.
    challenge: Option<&'static str>,
}

impl Fake {
    fn has(&mut self, url: &str, body: impl Into<Vec<u8>>) {
        let answer = answer(200, None, body.into());
        self.answers.insert(url.to_owned(), answer);
    }

    fn leads(&mut self, url: &str, to: &str) {
        let answer = answer(307, Some(("location", to)), Vec::new());
        self.answers.insert(url.to_owned(), answer);
    }

    fn shown(&self) -> Vec<(String, Option<String>)> {
        self.shown.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpClient for Fake {
    async fn send(&self, request: HttpRequest, most: u64) -> Result<HttpResponse, Failure> {
        let url = request.url.to_string();
        let mut headers = request.headers.iter();
        let shown = headers.find(|(name, _)| name == "authorization");
        let shown = shown.map(|(_, value)| value.expose_secret().to_owned());
        self.shown
            .lock()
            .unwrap()
            .push((url.clone(), shown.clone()));
        let is_registry = url.starts_with("https://registry.example/");
        let answer = match self.challenge {
            Some(challenge) if is_registry && shown.is_none() => {
                answer(401, Some(("www-authenticate", challenge)), Vec::new())
            }
            _ => {
                let known = self.answers.get(&url).cloned();
                known.unwrap_or_else(|| answer(404, None, Vec::new()))
            }
        };
        match answer.body.len() as u64 > most {
            true => Err(Failure::new("answer-too-large", "too large")),
            false => Ok(answer),
        }
    }
}

fn answer(status: u16, header: Option<(&str, &str)>, body: Vec<u8>) -> HttpResponse {
    let header = header.map(|(name, value)| (name.to_owned(), value.to_owned()));
    HttpResponse {
        status,
        headers: header.into_iter().collect(),
        body,
    }
}

const AT: &str = "https://registry.example/v2/a/";

fn reference() -> Reference {
    Reference::parse(
        "oci://registry.example/a:1",
        &Registries::new(),
        &test_outbound(),
    )
    .unwrap()
}

fn registries() -> Registries {
    let registry = config::Registry {
        username: Some("u".to_owned()),
        password: Some("p".to_owned().into()),
        plain_http: false,
    };
    [("registry.example".to_owned(), registry)].into()
}

fn part(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": digest(bytes), "size": bytes.len() })
}

/// A registry with a plugin; gives the digest of its manifest.
fn with_plugin() -> (Fake, String) {
    let mut fake = Fake::default();
    let about = "name = \"a\"\nversion = \"1\"\nworld = \"validator\"\ncontract = \"gatehouse:plugin@0.1.0\"\n";
    let mut layers = Vec::new();
    for (kind, bytes) in [
        ("application/wasm", b"component".as_slice()),
        (
            "application/vnd.gatehouse.plugin.manifest.v1+toml",
            about.as_bytes(),
        ),
    ] {
        fake.has(&format!("{AT}blobs/{}", digest(bytes)), bytes);
        layers.push(part(kind, bytes));
    }
    let config = part("application/vnd.wasm.config.v0+json", b"{}");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    fake.has(&format!("{AT}manifests/1"), manifest.as_bytes());
    (fake, digest(manifest.as_bytes()))
}

fn sign(fake: &mut Fake, manifest_digest: &str, payloads: &[Vec<u8>], signature: &str) {
    let layers: Vec<Value> = payloads
        .iter()
        .map(|payload| {
            fake.has(&format!("{AT}blobs/{}", digest(payload)), payload.clone());
            let mut layer = part("application/vnd.dev.cosign.simplesigning.v1+json", payload);
            layer["annotations"] = json!({ SIGNATURE: signature });
            layer
        })
        .collect();
    let config = part("application/vnd.oci.image.config.v1+json", b"{}");
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string();
    let tag = manifest_digest.replace(':', "-");
    fake.has(&format!("{AT}manifests/{tag}.sig"), manifest);
}

async fn pull(fake: &Fake) -> Result<(Pulled, Vec<Signed>), LoadError> {
    let (registries, reference) = (registries(), reference());
    let mut pull = Pull::begin(fake, &registries, &reference).await?;
    Ok((pull.plugin(9).await?, pull.signatures().await?))
}

#[tokio::test]
async fn signatures_come_with_what_they_are_about_and_none_is_none() {
    let (mut fake, manifest) = with_plugin();
    let (plugin, signatures) = pull(&fake).await.unwrap();
    assert_eq!(
        (&*plugin.component, signatures),
        (&b"component"[..], Vec::new())
    );
    sign(
        &mut fake,
        &manifest,
        &[b"{\"a\":1}".to_vec(), b"{}".to_vec()],
        "AAH/",
    );
    let (_, signatures) = pull(&fake).await.unwrap();
    assert_eq!(signatures.len(), 2);
    assert_eq!(signatures[0].payload, b"{\"a\":1}");
    assert_eq!(signatures[0].signature, [0, 1, 255]);
    // What is no base64 signs nothing.
    sign(&mut fake, &manifest, &[b"{}".to_vec()], "!");
    assert!(pull(&fake).await.unwrap().1.is_empty());
}

#[tokio::test]
async fn nothing_is_taken_that_is_too_much_or_not_what_it_is_said_to_be() {
    let (mut fake, manifest) = with_plugin();
    let many: Vec<_> = (0..=SIGNATURES)
        .map(|n| format!("{n}").into_bytes())
        .collect();
    sign(&mut fake, &manifest, &many, "AAAA");
    assert!(
        pull(&fake)
            .await
            .unwrap_err()
            .message
            .contains("17 signatures")
    );
    sign(&mut fake, &manifest, &[vec![b' '; 65_537]], "AAAA");
    assert_eq!(pull(&fake).await.unwrap_err().code, "plugin-too-large");

    let (mut fake, _) = with_plugin();
    let component = format!("{AT}blobs/{}", digest(b"component"));
    fake.has(&component, "componenT");
    assert_eq!(
        pull(&fake).await.unwrap_err().code,
        "plugin-digest-mismatch"
    );
    fake.has(&component, "component and more than was said");
    let large = fake.answers[&component].body.len() + 70_000;
    fake.has(&component, vec![0; large]);
    assert_eq!(pull(&fake).await.unwrap_err().code, "plugin-too-large");
    fake.has(&format!("{AT}manifests/1"), vec![b' '; (1 << 20) + 70_000]);
    assert_eq!(pull(&fake).await.unwrap_err().code, "plugin-too-large");
    fake.leads(&format!("{AT}manifests/1"), &format!("{AT}manifests/1"));
    assert!(
        pull(&fake)
            .await
            .unwrap_err()
            .message
            .contains("more than 5 times")
    );
}

#[tokio::test]
async fn whoever_a_registry_leads_to_is_told_no_password_and_names_nobody_who_is() {
    let (mut fake, _) = with_plugin();
    let blobs: Vec<_> = fake.answers.keys().cloned().collect();
    for url in blobs.iter().filter(|url| url.contains("/blobs/")) {
        fake.leads(url, "https://storage.example/blob");
    }
    let wanted = "Bearer realm=\"https://elsewhere.example/token\"";
    let wanted = answer(401, Some(("www-authenticate", wanted)), Vec::new());
    fake.answers
        .insert("https://storage.example/blob".to_owned(), wanted);
    let refused = pull(&fake).await.unwrap_err();
    assert_eq!(refused.code, "plugin-source-unreachable", "{refused}");
    let shown = fake.shown();
    assert!(
        shown
            .iter()
            .any(|(url, _)| url.starts_with("https://storage."))
    );
    for (url, authorization) in shown {
        assert!(!url.contains("elsewhere"), "{url}");
        assert!(authorization.is_none() || url.starts_with(AT), "{url}");
    }
}

#[tokio::test]
async fn a_password_is_shown_where_it_belongs_and_goes_along_to_no_other_place() {
    let basic = Some("Basic dTpw".to_owned());
    let (mut fake, _) = with_plugin();
    fake.challenge = Some("Basic realm=\"r\"");
    let component = format!("{AT}blobs/{}", digest(b"component"));
    fake.leads(&component, "https://storage.example/component");
    fake.has("https://storage.example/component", "component");
    pull(&fake).await.unwrap();
    let shown = fake.shown();
    assert!(shown.contains(&(component, basic.clone())));
    assert!(shown.contains(&("https://storage.example/component".to_owned(), None)));

    let (mut fake, _) = with_plugin();
    fake.challenge = Some("Bearer realm=\"https://tokens.example/t\",service=\"s\"");
    let tokens = "https://tokens.example/t?service=s&scope=repository%3Aa%3Apull";
    fake.has(tokens, r#"{"access_token":"t"}"#);
    pull(&fake).await.unwrap();
    let shown = fake.shown();
    assert!(shown.contains(&(tokens.to_owned(), basic)));
    let at_registry = shown
        .iter()
        .filter(|(url, shown)| url.starts_with(AT) && shown.is_some());
    assert!(at_registry.clone().count() > 3);
    for (_, shown) in at_registry {
        assert_eq!(shown.as_deref(), Some("Bearer t"));
    }

    let (mut fake, _) = with_plugin();
    fake.challenge = Some("Bearer realm=\"http://tokens.example/t\"");
    let error = pull(&fake).await.unwrap_err();
    assert!(error.message.contains("not made by https"), "{error}");
    assert!(fake.shown().iter().all(|(_, shown)| shown.is_none()));
}
