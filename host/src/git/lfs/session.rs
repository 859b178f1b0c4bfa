//! The batch API with the `basic` transfer: <https://github.com/git-lfs/git-lfs/blob/main/docs/api>.

use std::collections::BTreeMap;

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
    LOCATION, USER_AGENT,
};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;
use url::Url;

use super::endpoint::{Endpoint, headers};
use super::failures::{broken, forbidden, mismatch, strange};
use super::pointer::Pointer;
use super::{LfsError, Operation};
use crate::outbound::Outbound;

const JSON: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");
const AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer about one batch.
const ANSWER: usize = 4 << 20;
/// Redirects that lead from where a server said to where an object is.
const REDIRECTS: usize = 5;

/// An exchange with one LFS server.
pub(super) struct Session {
    pub(super) outbound: Outbound,
    pub(super) endpoint: Endpoint,
    pub(super) operation: Operation,
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    transfer: Option<String>,
    objects: Vec<Object>,
}

/// What the server says of one object.
#[derive(Debug, Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    authenticated: Option<bool>,
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    code: u16,
}

#[derive(Debug, Default, Deserialize)]
struct Actions {
    #[serde(default)]
    download: Option<Action>,
    #[serde(default)]
    upload: Option<Action>,
    #[serde(default)]
    verify: Option<Action>,
}

/// Where to send a request. The address may bear a signature and the headers a token.
#[derive(Debug, Deserialize)]
pub(super) struct Action {
    href: SecretString,
    #[serde(default)]
    header: Option<BTreeMap<String, SecretString>>,
    /// The server says that nothing has to be added.
    #[serde(skip)]
    complete: bool,
}

/// An object and what is to be done about it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) pointer: Pointer,
    action: Action,
    verify: Option<Action>,
}

impl Session {
    /// Asks about these objects; those that have to be moved.
    pub(super) async fn batch(&self, pointers: &[Pointer]) -> Result<Vec<Job>, LfsError> {
        let named = |pointer: &Pointer| json!({"oid": pointer.oid, "size": pointer.size});
        let request = json!({
            "operation": self.operation.name(),
            "transfers": ["basic"],
            "objects": pointers.iter().map(named).collect::<Vec<_>>(),
            "hash_algo": "sha256",
        });
        let url = self.endpoint.resource("objects/batch");
        let answer = self
            .post(url, self.endpoint.headers.clone(), &request)
            .await?;
        let answer = read(answer).await?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| strange())?;
        if answer.transfer.is_some_and(|transfer| transfer != "basic") {
            return Err(strange());
        }
        let mut objects: BTreeMap<String, Object> = answer
            .objects
            .into_iter()
            .map(|object| (object.oid.clone(), object))
            .collect();
        let mut jobs = Vec::new();
        for pointer in pointers {
            let object = objects.remove(&pointer.oid).ok_or_else(strange)?;
            jobs.extend(self.job(pointer, object)?);
        }
        Ok(jobs)
    }

    fn job(&self, pointer: &Pointer, object: Object) -> Result<Option<Job>, LfsError> {
        if let Some(Fault { code }) = object.error {
            return Err(self.fault(pointer, code));
        }
        let actions = object.actions.unwrap_or_default();
        let complete = object.authenticated.unwrap_or(false);
        let ready = |action: Action| Action { complete, ..action };
        let (action, verify) = match self.operation {
            Operation::Download => match actions.download {
                Some(action) => (action, None),
                None => return Err(self.fault(pointer, 404)),
            },
            Operation::Upload => match actions.upload {
                Some(action) => (action, actions.verify),
                // It is there already.
                None => return Ok(None),
            },
        };
        Ok(Some(Job {
            pointer: pointer.clone(),
            action: ready(action),
            verify: verify.map(ready),
        }))
    }

    /// Into `file`, which holds the object's content when this returns, and nothing that counts else.
    pub(super) async fn download(
        &self,
        job: &Job,
        mut file: tokio::fs::File,
    ) -> Result<(), LfsError> {
        let pointer = &job.pointer;
        let mut answer = self.get(job).await?;
        let (mut size, mut digest) = (0_u64, Sha256::new());
        while let Some(piece) = answer.chunk().await.map_err(broken)? {
            size = size.saturating_add(piece.len() as u64);
            if size > pointer.size {
                return Err(mismatch(pointer));
            }
            digest.update(&piece);
            file.write_all(&piece).await?;
        }
        file.flush().await?;
        if size != pointer.size || hex::encode(digest.finalize()) != pointer.oid {
            return Err(mismatch(pointer));
        }
        Ok(())
    }

    /// Follows redirects, each judged as the first address was, and takes our right along only where it
    /// stays with the same server.
    async fn get(&self, job: &Job) -> Result<Response, LfsError> {
        let mut url = address(&job.action)?;
        let mut headers = self.headers(&job.action, &url)?;
        for _ in 0..=REDIRECTS {
            let request = self.request(Method::GET, url.clone())?;
            let sent = request.headers(headers.clone()).send();
            let answer = sent.await.map_err(broken)?;
            if !answer.status().is_redirection() {
                return match answer.status().as_u16() {
                    200 => Ok(answer),
                    code => Err(self.fault(&job.pointer, code)),
                };
            }
            let to = answer.headers().get(LOCATION);
            let to = to.and_then(|to| url.join(to.to_str().ok()?).ok());
            let to = to.ok_or_else(strange)?;
            if to.origin() != url.origin() {
                headers = HeaderMap::new();
            }
            url = to;
        }
        Err(strange())
    }

    /// Sends a file that holds the object, and has the server say that it has it.
    pub(super) async fn upload(&self, job: &Job, file: tokio::fs::File) -> Result<(), LfsError> {
        let url = address(&job.action)?;
        let mut headers = self.headers(&job.action, &url)?;
        headers.insert(CONTENT_LENGTH, job.pointer.size.into());
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.entry(CONTENT_TYPE).or_insert(octets);
        let content = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 64 << 10));
        let request = self.request(Method::PUT, url)?;
        let sent = request.headers(headers).body(content).send();
        let answer = sent.await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(self.fault(&job.pointer, answer.status().as_u16()));
        }
        let Some(verify) = &job.verify else {
            return Ok(());
        };
        let url = address(verify)?;
        let headers = self.headers(verify, &url)?;
        let object = json!({"oid": job.pointer.oid, "size": job.pointer.size});
        self.post(url, headers, &object).await.map(drop)
    }

    async fn post(&self, url: Url, headers: HeaderMap, body: &Value) -> Result<Response, LfsError> {
        let request = self
            .request(Method::POST, url)?
            .header(ACCEPT, JSON)
            .header(CONTENT_TYPE, JSON);
        let sent = request.headers(headers).body(body.to_string()).send();
        let answer = sent.await.map_err(broken)?;
        match answer.status().as_u16() {
            200..=299 => Ok(answer),
            code => Err(self.refusal(code)),
        }
    }

    fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, LfsError> {
        let request = self.outbound.request(method, url).map_err(forbidden)?;
        Ok(request
            .header(USER_AGENT, AGENT)
            .header(ACCEPT_ENCODING, "identity"))
    }

    /// What the server told to send, and where it told nothing our own right, if it is the same server.
    fn headers(&self, action: &Action, url: &Url) -> Result<HeaderMap, LfsError> {
        let nothing = BTreeMap::new();
        let mut headers = headers(action.header.as_ref().unwrap_or(&nothing))?;
        let ours = self.endpoint.headers.get(AUTHORIZATION);
        let same = url.origin() == self.endpoint.url.origin();
        if let (Some(ours), true, false) = (ours, same, action.complete) {
            headers.entry(AUTHORIZATION).or_insert(ours.clone());
        }
        Ok(headers)
    }
}

fn address(action: &Action) -> Result<Url, LfsError> {
    Url::parse(action.href.expose_secret()).map_err(|_| strange())
}

async fn read(mut answer: Response) -> Result<Vec<u8>, LfsError> {
    let mut content = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(broken)? {
        if content.len() + piece.len() > ANSWER {
            return Err(strange());
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config;

    #[test]
    fn our_own_right_goes_to_the_server_of_the_api_alone_and_only_where_it_is_wanted() {
        let settings = config::Outbound {
            private_addresses: config::PrivateAddresses::Deny,
            allow_http: false,
        };
        let ours = HeaderValue::from_static("Basic ours");
        let session = Session {
            outbound: Outbound::by(&settings).unwrap(),
            endpoint: Endpoint {
                url: Url::parse("https://h.example/a.git/info/lfs").unwrap(),
                headers: HeaderMap::from_iter([(AUTHORIZATION, ours)]),
            },
            operation: Operation::Download,
        };
        let sent = |action: Value, complete: bool| {
            let action: Action = serde_json::from_value(action).unwrap();
            let action = Action { complete, ..action };
            assert!(!format!("{action:?}").contains("h.example"), "{action:?}");
            let headers = session.headers(&action, &address(&action).unwrap());
            let sent = headers.unwrap().remove(AUTHORIZATION);
            sent.map(|value| value.to_str().unwrap().to_owned())
        };
        let ours = Some("Basic ours".to_owned());
        let to = |href: &str| json!({"href": href});
        assert_eq!(sent(to("https://h.example/o/1"), false), ours);
        assert_eq!(sent(to("https://h.example:443/o/1"), false), ours);
        for elsewhere in [
            "https://h.example:8443/o/1",
            "http://h.example/o/1",
            "https://s.h.example/o/1",
        ] {
            assert_eq!(sent(to(elsewhere), false), None, "{elsewhere}");
        }
        assert_eq!(sent(to("https://h.example/o/1"), true), None);
        let told = json!({"href": "https://h.example/o/1", "header": {"authorization": "Other"}});
        assert_eq!(sent(told, false), Some("Other".to_owned()));
    }
}
