//! How settings must agree with each other, and what their kinds cannot say.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{Config, KeyDigest, Keys, Launcher, Origin};
use crate::admission;
use crate::outbound::is_this_machine;

/// Every disagreement. Rules about a key in `bad` are left out: its mistake is known already.
pub(super) fn mistakes(config: &Config, bad: &BTreeSet<String>) -> Vec<String> {
    let mut review = Review {
        config,
        bad,
        mistakes: Vec::new(),
    };
    storage(&mut review);
    google(&mut review);
    secrets(&mut review);
    secrets_elsewhere(&mut review);
    callers(&mut review);
    tokens(&mut review);
    requests(&mut review);
    deadlines(&mut review);
    sizes(&mut review);
    broker(&mut review);
    isolation(&mut review);
    registries(&mut review);
    signatures(&mut review);
    review.mistakes
}

/// Hosts in `plugins.registries`.
const REGISTRIES: usize = 64;

/// For a person's answer.
const MOST_PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

struct Review<'a> {
    config: &'a Config,
    bad: &'a BTreeSet<String>,
    mistakes: Vec<String>,
}

impl Review<'_> {
    /// Notes a mistake of the first key where the rule about all of them does not hold.
    fn require(&mut self, keys: &[&str], holds: bool, sentence: &str) {
        if holds || keys.iter().any(|key| self.bad.contains(*key)) {
            return;
        }
        // Whoever reads this must know where to look: a rule between two keys may be broken by either.
        let place = |key: &&str| {
            let origin = self
                .config
                .origins
                .get(*key)
                .map_or_else(|| "default".to_owned(), ToString::to_string);
            format!("`{key}` ({origin})")
        };
        let places: Vec<_> = keys.iter().map(place).collect();
        self.mistakes
            .push(format!("{}: {sentence}", places.join(", ")));
    }
}

fn storage(review: &mut Review<'_>) {
    let config = review.config;
    let formats = &config.envelope.accept;
    review.require(
        &["envelope.accept"],
        formats.iter().any(|format| format == "v3")
            && formats
                .iter()
                .all(|format| format == "v3" || format == "v2"),
        "lists \"v3\", and \"v2\" beside it while migrating",
    );
    review.require(
        &["webhook.retry"],
        !config.webhook.retry.is_empty(),
        "needs at least one entry: the first attempt",
    );
    let level = crate::telemetry::check_level(&config.log.level);
    review.require(
        &["log.level"],
        level.is_ok(),
        level.err().as_deref().unwrap_or_default(),
    );
}

/// What is asked of Google's services, and what they want to know for it.
fn google(review: &mut Review<'_>) {
    let config = review.config;
    let google = &config.google;
    let bucket = config.storage.logs_bucket.as_deref();
    let keys = config.envelope.keys == Keys::CloudKms;
    let jobs = config.job.launcher == Launcher::CloudRun;
    for (key, wanted) in [
        ("storage.logs_bucket", bucket.is_some()),
        ("envelope.keys", keys),
        ("job.launcher", jobs),
    ] {
        review.require(
            &[key],
            !wanted || cfg!(feature = "gcp"),
            "Google's services need a build with the feature `gcp`, which this one lacks; \
             leave it empty to keep and run everything on this machine",
        );
    }
    review.require(
        &["storage.logs_bucket"],
        bucket.is_none_or(|name| {
            (3..=222).contains(&name.len()) && made_of(name, b"-_.") && !name.contains(char::is_uppercase)
        }),
        "the name of a Cloud Storage bucket, without \"gs://\": 3 to 222 of a-z, 0-9, \"-\", \"_\", \".\"",
    );
    for (key, value, wanted) in [
        ("google.project_id", &google.project_id, keys || jobs),
        ("google.kms_key_ring", &google.kms_key_ring, keys),
        ("google.kms_key_name", &google.kms_key_name, keys),
        ("google.job_name", &google.job_name, jobs),
        (
            "google.region",
            &google.region,
            jobs || (keys && google.kms_location.is_empty()),
        ),
        ("google.kms_location", &google.kms_location, false),
    ] {
        review.require(
            &[key],
            !wanted || !value.is_empty(),
            "must be set for Cloud KMS and Cloud Run jobs",
        );
        // They become parts of resource names, where a "/" would name another resource.
        review.require(
            &[key],
            made_of(value, b"-_.:"),
            "is made of letters, digits, \"-\", \"_\", \".\", \":\"",
        );
    }
    let here = google.endpoint.as_ref().map(|url| {
        url.scheme() == "http" && is_this_machine(url) && url.path() == "/" && url.query().is_none()
    });
    review.require(
        &["google.endpoint"],
        here != Some(false),
        "must be http to this machine, without a path: it is for tests",
    );
    review.require(
        &["job.launcher", "storage.logs_bucket"],
        !jobs || bucket.is_some() || here.is_some(),
        "jobs on Cloud Run share a Cloud Storage bucket with the gateway; a directory of this machine they cannot see",
    );
}

fn made_of(text: &str, marks: &[u8]) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
}

fn secrets(review: &mut Review<'_>) {
    let config = review.config;
    // They are compared with what a header carries, and a header carries nothing else.
    let sendable = |key: &secrecy::SecretString| {
        let key = key.expose_secret();
        !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let sentence = "a key is printable ASCII without spaces";
    review.require(
        &["auth.api_keys"],
        config.auth.api_keys.iter().all(sendable),
        sentence,
    );
    review.require(
        &["auth.admin_key"],
        config.auth.admin_key.iter().all(sendable),
        sentence,
    );
    review.require(
        &["webhook.secret"],
        config
            .webhook
            .secret
            .iter()
            .all(|secret| !secret.expose_secret().is_empty()),
        "a secret must not be empty",
    );
}

/// Names of secrets in Secret Manager: well-formed, and in a build that can read them.
fn secrets_elsewhere(review: &mut Review<'_>) {
    let config = review.config;
    let prompts = [
        ("task.system_prompt_file", &config.task.system_prompt_file),
        (
            "task.append_system_prompt_file",
            &config.task.append_system_prompt_file,
        ),
    ];
    let prompts = prompts
        .into_iter()
        .filter_map(|(key, path)| Some((key, path.as_ref()?.to_str()?)));
    let secrets = config.secrets();
    let secrets = secrets
        .iter()
        .map(|(key, secret)| (*key, secret.expose_secret()));
    for (key, value) in secrets.chain(prompts) {
        let Some(name) = config.secret_name(value) else {
            continue;
        };
        review.require(
            &[key],
            cfg!(feature = "gcp"),
            "secrets of Secret Manager need a build with the feature `gcp`, which this one lacks",
        );
        review.require(
            &[key, "google.project_id"],
            name.is_ok(),
            name.as_ref().err().map_or("", String::as_str),
        );
    }
}

/// A key tells one caller from every other: it must not stand in two places.
fn callers(review: &mut Review<'_>) {
    let auth = &review.config.auth;
    let hash =
        |key: &secrecy::SecretString| -> KeyDigest { Sha256::digest(key.expose_secret()).into() };
    let plain: BTreeSet<_> = auth.api_keys.iter().map(hash).collect();
    let admin = auth.admin_key.iter().map(hash);
    let admin: BTreeSet<_> = admin.chain(auth.admin_sha256.iter().copied()).collect();
    let named: Vec<_> = auth.keys.values().flat_map(|key| &key.sha256).collect();
    let sentence = "the operator's key must not be one of the callers'";
    review.require(
        &["auth.admin_key", "auth.api_keys"],
        admin.is_disjoint(&plain),
        sentence,
    );
    review.require(
        &["auth.admin_key", "auth.keys"],
        !named.iter().any(|digest| admin.contains(*digest)),
        sentence,
    );
    review.require(
        &["auth.keys", "auth.api_keys"],
        !named.iter().any(|digest| plain.contains(*digest)),
        "a key that has a name must not stand among those without one",
    );
    let distinct: BTreeSet<_> = named.iter().collect();
    review.require(
        &["auth.keys"],
        distinct.len() == named.len(),
        "the same hash stands there twice: a key has one name",
    );
}

fn tokens(review: &mut Review<'_>) {
    let oidc = &review.config.auth.oidc;
    let Some(issuer) = &oidc.issuer else {
        tokens_of_nobody(review);
        return;
    };
    let safe = |url: &url::Url| {
        (url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url)))
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
    };
    let url = url::Url::parse(issuer).ok();
    review.require(
        &["auth.oidc.issuer"],
        url.is_some_and(|url| safe(&url) && url.query().is_none()),
        "must be https, or http to this machine, without user, query or fragment",
    );
    review.require(
        &["auth.oidc.jwks_url"],
        oidc.jwks_url.as_ref().is_none_or(safe),
        "must be https, or http to this machine, without user or fragment: who answers there decides who may call",
    );
    review.require(
        &["auth.oidc.audience"],
        !oidc.audience.is_empty(),
        "must be set with an issuer, or tokens that it made for others would be good here",
    );
    review.require(
        &["auth.oidc.caller_claim"],
        !oidc.caller_claim.trim().is_empty(),
        "names the claim that tells who calls, such as \"sub\" or \"email\"",
    );
}

/// Without an issuer nobody is asked for a token: whoever set anything about tokens meant otherwise.
fn tokens_of_nobody(review: &mut Review<'_>) {
    let oidc = &review.config.auth.oidc;
    let claim = "auth.oidc.caller_claim";
    let origin = review.config.origins.get(claim);
    let claim_is_set = origin.is_some_and(|origin| *origin != Origin::Default);
    for (key, is_set) in [
        ("auth.oidc.audience", !oidc.audience.is_empty()),
        ("auth.oidc.jwks_url", oidc.jwks_url.is_some()),
        (claim, claim_is_set && !oidc.caller_claim.trim().is_empty()),
        ("auth.oidc.tenant_claim", oidc.tenant_claim.is_some()),
        ("auth.oidc.require", !oidc.require.is_empty()),
    ] {
        review.require(
            &[key, "auth.oidc.issuer"],
            !is_set,
            "needs auth.oidc.issuer, without which no token is asked for; set that, or leave this empty",
        );
    }
}

fn requests(review: &mut Review<'_>) {
    let task = &review.config.task;
    review.require(
        &["task.max_turns", "task.max_turns_limit"],
        task.max_turns <= task.max_turns_limit,
        "the default must not be above the ceiling",
    );
    review.require(
        &["task.timeout_minutes", "task.timeout_minutes_limit"],
        task.timeout_minutes <= task.timeout_minutes_limit,
        "the default must not be above the ceiling",
    );
    // A default that the request's own rules refuse would refuse every request.
    let defaults = [
        (
            "task.allowed_tools",
            admission::acceptable("allowedTools", &json!(task.allowed_tools)),
        ),
        (
            "task.model",
            task.model.as_ref().map_or(Ok(()), |model| {
                admission::acceptable("model", &json!(model))
            }),
        ),
    ];
    for (key, outcome) in defaults {
        review.require(
            &[key],
            outcome.is_ok(),
            outcome.err().as_deref().unwrap_or_default(),
        );
    }
}

fn deadlines(review: &mut Review<'_>) {
    let config = review.config;
    review.require(
        &["job.lease", "job.heartbeat"],
        config.job.lease >= 2 * config.job.heartbeat,
        "the lease must last two heartbeats, or one that is late loses it",
    );
    review.require(
        &["agent.decision_timeout", "agent.idle_timeout"],
        config.agent.decision_timeout < config.agent.idle_timeout,
        "a decision must be given up before the agent counts as stalled",
    );
    // The CLI waits as long for its hook, by a timer that takes no more than 24 days.
    review.require(
        &["approvals.timeout"],
        config.approvals.timeout <= MOST_PATIENCE,
        "a person is waited for no longer than 24h",
    );
    review.require(
        &["plugins.time", "agent.decision_timeout"],
        config.plugins.time <= config.agent.decision_timeout,
        "a plugin must not be given longer than the decision that waits for it",
    );
}

fn sizes(review: &mut Review<'_>) {
    let config = review.config;
    review.require(
        &["envelope.max_size", "server.body_limit"],
        config.envelope.max_size / 2 >= config.server.body_limit,
        "a sealed request must still open: twice the largest body at least",
    );
    review.require(
        &["job.flush_size", "job.max_log_size"],
        config.job.flush_size <= config.job.max_log_size,
        "must not be above the largest log",
    );
    review.require(
        &["agent.max_line", "job.max_log_size"],
        config.agent.max_line <= config.job.max_log_size,
        "must not be above the largest log",
    );
    review.require(
        &["plugins.output", "plugins.memory"],
        config.plugins.output <= config.plugins.memory,
        "must not be above the plugin's memory",
    );
}

fn broker(review: &mut Review<'_>) {
    let upstream = &review.config.broker.upstream;
    let loopback = is_this_machine(upstream);
    review.require(
        &["broker.upstream"],
        upstream.scheme() == "https" || (upstream.scheme() == "http" && loopback),
        "must be https, or http to this machine: credentials go there",
    );
    let bare = upstream.username().is_empty()
        && upstream.password().is_none()
        && upstream.query().is_none()
        && upstream.fragment().is_none();
    review.require(
        &["broker.upstream"],
        bare,
        "must have no user, password, query or fragment",
    );
    let plain = |path: &String| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.split('/').any(|part| part == "." || part == "..")
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/_-.:".contains(&byte))
    };
    review.require(
        &["broker.extra_paths"],
        review.config.broker.extra_paths.iter().all(plain),
        "each is a path such as \"/v1/files\", without query, \".\" or \"..\"",
    );
}

fn isolation(review: &mut Review<'_>) {
    let isolation = &review.config.isolation;
    // Below lie the system's and people's accounts; agents must never share one.
    review.require(
        &["isolation.uid_base"],
        isolation.uid_base >= 1000,
        "must be 1000 or above",
    );
    let last = isolation.uid_base.checked_add(isolation.uid_count);
    // The last two ids mean "no change" and "nobody knows" to the kernel.
    review.require(
        &["isolation.uid_base", "isolation.uid_count"],
        last.is_some_and(|last| last < u32::MAX - 1),
        "the pool must end within the user ids there are",
    );
    review.require(
        &["isolation.uid_count", "queue.max_concurrent"],
        isolation.uid_count >= review.config.queue.max_concurrent.saturating_mul(2),
        "the pool needs two user ids for each job at once: the agent's, and that of git where the \
         request has a repository",
    );
}

fn registries(review: &mut Review<'_>) {
    let registries = &review.config.plugins.registries;
    let mut mistakes = Vec::new();
    if registries.len() > REGISTRIES {
        mistakes.push(format!("has at most {REGISTRIES} registries"));
    }
    for (host, registry) in registries {
        let url = url::Url::parse(&format!("http://{host}/")).ok();
        let bare = url.as_ref().filter(|url| {
            url.path() == "/"
                && url.username().is_empty()
                && url.query().is_none()
                && !host.contains(['/', '#', '\\'])
                && *host == host.to_ascii_lowercase()
        });
        let loopback = match bare {
            Some(url) => is_this_machine(url),
            None => {
                mistakes.push(format!(
                    "`{}` is no host: write it in small letters as in a source, such as \"registry.example\" or \
                     \"127.0.0.1:5000\"",
                    host.escape_debug()
                ));
                continue;
            }
        };
        if registry.username.is_some() != registry.password.is_some() {
            mistakes.push(format!("`{host}` needs username and password, or neither"));
        }
        if registry.plain_http && !loopback {
            mistakes.push(format!(
                "`{host}` is not this machine, so plain_http would show what is sent to everybody in between"
            ));
        }
    }
    for mistake in mistakes {
        review.require(&["plugins.registries"], false, &mistake);
    }
}

fn signatures(review: &mut Review<'_>) {
    let config = review.config;
    let signatures = &config.plugins.signatures;
    let mut wanted = vec![("plugins.signatures.all_of", &signatures.all_of)];
    if let Some(any_of) = &signatures.any_of {
        wanted.push(("plugins.signatures.any_of", &any_of.keys));
        review.require(
            &["plugins.signatures.any_of"],
            any_of.minimum as usize <= any_of.keys.len(),
            "the minimum must not be above the number of its keys",
        );
    }
    for (key, names) in wanted {
        let known: Vec<_> = signatures.keys.keys().map(String::as_str).collect();
        let unknown = names.iter().find(|name| !known.contains(&name.as_str()));
        let sentence = format!(
            "no key is named `{}`; there are: {}",
            unknown.map_or("", String::as_str),
            known.join(", ")
        );
        review.require(
            &[key, "plugins.signatures.keys"],
            unknown.is_none(),
            &sentence,
        );
        let distinct: BTreeSet<_> = names.iter().collect();
        review.require(
            &[key],
            distinct.len() == names.len(),
            "names the same key twice",
        );
    }
}
