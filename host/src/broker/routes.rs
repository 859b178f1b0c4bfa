//! What may be asked for, and the one URL that each stands for.
//!
//! The URLs are made at start from the settings alone. A request's target is compared byte for
//! byte and picks one of them; it is never parsed as a URL, joined or copied.

use hyper::Method;
use url::Url;

use super::refusal::Refusal;

/// Always forwarded, beside `broker.extra_paths`.
const PATHS: [&str; 2] = ["/v1/messages", "/v1/messages/count_tokens"];

/// Asked by the agent to see whether anybody is there; answered here, with or without the token,
/// because it asks before it authenticates.
const PROBES: [&str; 2] = ["/", "/api/hello"];

/// The only query there is.
const BETA: &str = "beta=true";

/// The list.
pub(super) struct Routes(Vec<Route>);

struct Route {
    path: String,
    url: Url,
    beta: Url,
}

impl Routes {
    /// A path in `upstream` stands before every forwarded path; user info, query and fragment of
    /// it are of no use and dropped.
    pub(super) fn new(upstream: &Url, extra_paths: &[String]) -> Self {
        let paths = PATHS.iter().map(|path| (*path).to_owned());
        let routes = paths.chain(extra_paths.iter().cloned());
        Self(routes.map(|path| Route::new(upstream, path)).collect())
    }

    /// Whether the request is a probe.
    pub(super) fn is_probe(method: &Method, target: &str) -> bool {
        method == Method::HEAD && PROBES.contains(&target)
    }

    /// The URL to which a request goes.
    pub(super) fn find(&self, method: &Method, target: &str) -> Result<&Url, Refusal> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let route = self.0.iter().find(|route| route.path == path);
        match (route, query) {
            (Some(route), None) if method == Method::POST => Ok(&route.url),
            (Some(route), Some(BETA)) if method == Method::POST => Ok(&route.beta),
            _ => Err(Refusal::PathDenied),
        }
    }
}

impl Route {
    fn new(upstream: &Url, path: String) -> Self {
        let mut url = upstream.clone();
        url.set_path(&format!("{}{path}", upstream.path().trim_end_matches('/')));
        url.set_query(None);
        url.set_fragment(None);
        // Both fail only where a URL cannot have them, and then it has none.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let mut beta = url.clone();
        beta.set_query(Some(BETA));
        Self { path, url, beta }
    }
}
