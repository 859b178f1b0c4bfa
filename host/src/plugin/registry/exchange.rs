//! What is said to a registry and who says it: one request after another, with the password or a token
//! where it wants one.
//!
//! Credentials go to the registry that they were configured for and to where that one has its tokens made,
//! by https only, unless the registry itself is on this machine without. Nothing of them goes along with a
//! redirect to another place.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::Reference;
use crate::config;
use crate::outbound::is_this_machine;
use crate::plugin::http::{HttpClient, HttpRequest, HttpResponse};
use crate::wasm::LoadError;

/// For one answer of few bytes; for one with a component, which no change of the set can overtake; to send one.
pub(super) const SHORT: Duration = Duration::from_secs(20);
pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SENDING: Duration = Duration::from_secs(300);
/// Blobs are often kept somewhere else.
const REDIRECTS: usize = 5;
/// Bytes of an answer's headers, beside its body.
const HEADERS: u64 = 64 << 10;
/// Bytes of a token server's answer.
const TOKEN: u64 = 64 << 10;

/// A conversation about one repository.
pub(super) struct Exchange<'a> {
    client: &'a dyn HttpClient,
    pub(super) about: &'a Reference,
    credentials: Option<&'a config::Registry>,
    /// `pull`, or `pull,push`.
    actions: &'static str,
    /// What the registry was satisfied with last.
    authorization: Option<SecretString>,
}

/// One request.
pub(super) struct Ask {
    pub(super) method: &'static str,
    pub(super) url: Url,
    /// `accept` or `content-type`.
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
    /// Bytes of the answer's body.
    pub(super) most: u64,
    pub(super) time: Duration,
}

impl Ask {
    pub(super) fn get(url: Url, accept: &'static str, most: u64, time: Duration) -> Self {
        Self {
            method: "GET",
            url,
            headers: vec![("accept", accept)],
            body: Vec::new(),
            most,
            time,
        }
    }
}

/// What a registry wants to be shown.
#[derive(Debug, PartialEq, Eq)]
enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

#[derive(Deserialize)]
struct Token {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        client: &'a dyn HttpClient,
        registries: &'a config::Registries,
        about: &'a Reference,
        actions: &'static str,
    ) -> Self {
        Self {
            client,
            about,
            credentials: registries.get(&about.host),
            actions,
            authorization: None,
        }
    }

    /// The registry does not do what it should, and may later.
    pub(super) fn away(&self, why: impl std::fmt::Display) -> LoadError {
        let message = format!(
            "the registry `{}` does not serve `{}`: {why}",
            self.about.host, self.about
        );
        LoadError::new("plugin-source-unreachable", message)
    }

    /// It does not let us.
    fn denied(&self, why: impl std::fmt::Display) -> LoadError {
        let message = format!(
            "the registry `{}` does not let {} {} `{}`: {why}",
            self.about.host,
            self.user()
                .map_or("callers without a name".to_owned(), |user| format!(
                    "`{user}`"
                )),
            self.actions.replace(',', " and "),
            self.about.repository,
        );
        LoadError::new("plugin-registry-denied", message)
    }

    fn user(&self) -> Option<&str> {
        self.credentials?.username.as_deref()
    }

    /// Sends a request, shows what the registry wants to see, follows where it leads to. Any status that is
    /// about something else is the caller's to judge.
    pub(super) async fn send(&mut self, ask: Ask) -> Result<HttpResponse, LoadError> {
        let (answer, url) = self.send_once(&ask).await?;
        // Nobody else is told a password, nor may name who is.
        if answer.status == 401 && url.origin() != self.about.base.origin() {
            return Err(self.away("it leads to a server that wants a password"));
        }
        let answer = match (answer.status, challenge(&answer)) {
            (401, Some(challenge)) => {
                self.authorization = Some(self.authorize(challenge).await?);
                self.send_once(&ask).await?.0
            }
            _ => answer,
        };
        match answer.status {
            401 => Err(self.denied(
                "it is not satisfied with the name and password of plugins.registries, or wants one where \
                 there is none",
            )),
            403 => Err(self.denied("they may not")),
            429 | 500.. => Err(self.away(format!("it answers {}", answer.status))),
            _ => Ok(answer),
        }
    }

    /// What was answered in the end, and where.
    async fn send_once(&self, ask: &Ask) -> Result<(HttpResponse, Url), LoadError> {
        let mut url = ask.url.clone();
        let follows = matches!(ask.method, "GET" | "HEAD");
        for _ in 0..=REDIRECTS {
            let shown = self.authorization.as_ref();
            let shown = shown.filter(|_| url.origin() == self.about.base.origin());
            let answer = self.request(ask, url.clone(), shown).await?;
            if !follows || !matches!(answer.status, 301 | 302 | 303 | 307 | 308) {
                return Ok((answer, url));
            }
            url = self.location(&url, &answer)?;
        }
        Err(self.away(format!("it redirects more than {REDIRECTS} times")))
    }

    async fn request(
        &self,
        ask: &Ask,
        url: Url,
        authorization: Option<&SecretString>,
    ) -> Result<HttpResponse, LoadError> {
        let headers = ask.headers.iter();
        let mut headers: Vec<(String, SecretString)> = headers
            .map(|(name, value)| ((*name).to_owned(), SecretString::from(*value)))
            .collect();
        if let Some(value) = authorization {
            headers.push(("authorization".to_owned(), value.clone()));
        }
        let request = HttpRequest {
            method: ask.method,
            url,
            headers,
            body: ask.body.clone(),
            timeout: ask.time,
        };
        let answer = self.client.send(request, ask.most.saturating_add(HEADERS));
        let answer = answer.await.map_err(|failure| match failure.code {
            "answer-too-large" => self.too_large(ask.most),
            _ => self.away(failure.message),
        })?;
        match answer.body.len() as u64 > ask.most {
            true => Err(self.too_large(ask.most)),
            false => Ok(answer),
        }
    }

    pub(super) fn too_large(&self, most: u64) -> LoadError {
        let message = format!(
            "the registry `{}` gives more than {most} bytes for a part of `{}`; plugins.max_component_size bounds the \
             component",
            self.about.host, self.about
        );
        LoadError::new("plugin-too-large", message)
    }

    /// Where an answer leads to. Whether anybody may go there is judged when it is dialled.
    pub(super) fn location(&self, from: &Url, answer: &HttpResponse) -> Result<Url, LoadError> {
        let to = answer.headers.iter().find(|(name, _)| name == "location");
        to.and_then(|(_, to)| from.join(to).ok())
            .ok_or_else(|| self.away("it leads to nowhere"))
    }

    /// What satisfies a challenge, if it does.
    async fn authorize(&self, challenge: Challenge) -> Result<SecretString, LoadError> {
        let basic = self.basic();
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                return basic.ok_or_else(|| {
                    self.denied("it wants a password, and plugins.registries has none for it")
                });
            }
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => (realm, service, scope),
        };
        let mut url = Url::parse(&realm)
            .map_err(|_| self.away("it wants a token from a place that is none"))?;
        if url.scheme() != "https" && !(is_this_machine(&url) && self.about.base.scheme() == "http")
        {
            return Err(self.away("it wants a token that is not made by https"));
        }
        let scope = scope
            .unwrap_or_else(|| format!("repository:{}:{}", self.about.repository, self.actions));
        if let Some(service) = &service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &scope);
        let ask = Ask::get(url.clone(), "application/json", TOKEN, SHORT);
        let answer = self.request(&ask, url, basic.as_ref()).await?;
        match answer.status {
            200 => {}
            401 | 403 => return Err(self.denied("its token server refuses that")),
            status => return Err(self.away(format!("its token server answers {status}"))),
        }
        // A parser's error might repeat the token.
        let token: Token = serde_json::from_slice(&answer.body)
            .map_err(|_| self.away("its token server answers with something else than a token"))?;
        let token = token
            .token
            .or(token.access_token)
            .ok_or_else(|| self.away("its token server gives no token"))?;
        Ok(format!("Bearer {}", token.expose_secret()).into())
    }

    fn basic(&self) -> Option<SecretString> {
        let registry = self.credentials?;
        let (username, password) = (registry.username.as_ref()?, registry.password.as_ref()?);
        let both = zeroize::Zeroizing::new(format!("{username}:{}", password.expose_secret()));
        Some(format!("Basic {}", STANDARD.encode(both.as_bytes())).into())
    }
}

/// Of several challenges a token's, because it shows the password to fewer.
fn challenge(answer: &HttpResponse) -> Option<Challenge> {
    let headers = answer.headers.iter();
    let headers = headers.filter(|(name, _)| name == "www-authenticate");
    let mut found = None;
    for (_, value) in headers {
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            found = found.or(Some(Challenge::Basic));
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let mut parameters = parameters(rest);
            let mut take = |name: &str| {
                let at = parameters.iter().position(|(found, _)| found == name)?;
                Some(parameters.swap_remove(at).1)
            };
            if let Some(realm) = take("realm") {
                found = Some(Challenge::Bearer {
                    realm,
                    service: take("service"),
                    scope: take("scope"),
                });
            }
        }
    }
    found
}

/// `a="x,y",b=z` as pairs, names in lower case.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text;
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ']).to_ascii_lowercase();
        let value = match behind.strip_prefix('"') {
            Some(quoted) => {
                let Some((value, behind)) = quoted.split_once('"') else {
                    break;
                };
                rest = behind;
                value
            }
            None => {
                let (value, behind) = behind.split_once(',').unwrap_or((behind, ""));
                rest = behind;
                value.trim()
            }
        };
        pairs.push((name, value.to_owned()));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(challenges: &[&str]) -> HttpResponse {
        let headers = challenges.iter();
        HttpResponse {
            status: 401,
            headers: headers
                .map(|value| ("www-authenticate".to_owned(), (*value).to_owned()))
                .collect(),
            body: Vec::new(),
        }
    }

    #[test]
    fn a_challenge_is_read_with_commas_in_quotes_and_a_token_is_preferred() {
        let wanted = "Bearer realm=\"https://auth.example/token?a=b\",service=registry.example, \
                      scope=\"repository:a/b:pull,push\"";
        let read = challenge(&answer(&["Basic realm=\"x\"", wanted]));
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token?a=b".to_owned(),
            service: Some("registry.example".to_owned()),
            scope: Some("repository:a/b:pull,push".to_owned()),
        };
        assert_eq!(read, Some(expected));
        assert_eq!(challenge(&answer(&["basic"])), Some(Challenge::Basic));
        for nothing in ["Bearer", "Bearer realm=\"x", "Negotiate abc", ""] {
            assert_eq!(challenge(&answer(&[nothing])), None, "{nothing}");
        }
    }
}
