//! `gatehouse plugin …`: what an operator says to a running gateway about its plugins, or asks of a manifest
//! before one reads it (`verify`, `lock`), what an author needs (`author`), and how a plugin comes from one to
//! the other (`ship`).

mod author;
mod explain;
mod lock;
mod replay;
mod ship;
mod show;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::shown::{self, Identity};
use crate::app::ADMIN_KEY;
use crate::config::{self, Config, Sources};
use crate::secrets::{SecretManager, SecretSettings};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The gateway; by default the one of this configuration
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    identity: Identity,
    /// The answer as JSON, for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    whose: Whose,
}

#[derive(Debug, Subcommand)]
enum Whose {
    #[command(flatten)]
    Operator(Verb),
    #[command(flatten)]
    Manifest(OfManifest),
    #[command(flatten)]
    Author(author::Verb),
    #[command(flatten)]
    Ship(ship::Verb),
}

/// What is asked of a manifest itself.
#[derive(Debug, Subcommand)]
enum OfManifest {
    /// What the manifest of this configuration would give: loaded aside, as a gateway would
    Verify(verify::Options),
    /// Write down which bytes the plugins of the manifest are; nothing else is loaded then
    Lock(lock::Options),
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The plugins and groups, what each did, and what keeps one from loading
    List,
    /// All that is known of one plugin or group
    Show {
        /// Its name in the manifest
        name: String,
    },
    /// The changes of the active set, the newest first
    History {
        /// At most so many, up to 100
        #[arg(long, default_value_t = 20)]
        limit: u8,
    },
    /// Read the manifest and make its set active, also over a rollback
    Reload(IfActive),
    /// Go back to the set before the last change, or to a revision
    Rollback {
        /// A revision of `history`
        revision: Option<String>,
        #[command(flatten)]
        seen: IfActive,
    },
    /// Whether the word of a plugin or a group counts
    Mode {
        /// Its name in the manifest
        name: String,
        /// enforce: it counts; monitor: it is asked and recorded; off: it is not asked
        mode: Mode,
        #[command(flatten)]
        tasks: Tasks,
        #[command(flatten)]
        seen: IfActive,
    },
    /// Have a set tried before it is active: by a share of the tasks, or beside the active one
    Try {
        /// A revision of `history`; without it, the one that is being tried
        revision: Option<String>,
        /// Of a hundred tasks so many are pinned to it
        #[arg(long, default_value_t = 0, value_name = "PERCENT")]
        share: u8,
        /// Beside the other tasks it is asked, and recorded only
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        seen: IfActive,
    },
    /// Make the tried set the active one
    Promote(IfActive),
    /// What differs between two sets, and what each made of the same questions
    Diff {
        /// A revision
        from: String,
        /// Another one
        to: String,
        /// So many of the newest tasks are looked through
        #[arg(long, default_value_t = 100)]
        tasks: u16,
    },
    /// What another set would have decided about past tasks; nothing is changed
    Replay(replay::Options),
    /// Why a tool call was allowed or denied, by whom and by which bytes
    Explain(explain::Options),
    /// The same as `mode NAME enforce`
    Enable {
        /// Its name in the manifest
        name: String,
    },
    /// The same as `mode NAME off`
    Disable {
        /// Its name in the manifest
        name: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Enforce,
    Monitor,
    Off,
}

impl Mode {
    fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
            Self::Off => "off",
        }
    }
}

/// For which tasks a mode is; without any, for all of them. In each `*` stands for any characters.
#[derive(Debug, Args)]
struct Tasks {
    /// Only for these callers
    #[arg(long)]
    caller: Option<String>,
    /// Only for these repositories, as HOST/PATH
    #[arg(long)]
    repository: Option<String>,
    /// Only for tasks with this label, as NAME=VALUE
    #[arg(long)]
    label: Option<String>,
    /// Only for these models
    #[arg(long)]
    model: Option<String>,
}

impl Tasks {
    /// None where nothing is said.
    fn to_json(&self) -> Option<Value> {
        let said = [
            ("caller", &self.caller),
            ("repository", &self.repository),
            ("label", &self.label),
            ("model", &self.model),
        ];
        let said = said.into_iter().filter_map(|(name, text)| {
            let text = text.as_ref()?;
            Some((name.to_owned(), Value::from(text.clone())))
        });
        let said: serde_json::Map<String, Value> = said.collect();
        (!said.is_empty()).then_some(Value::Object(said))
    }
}

#[derive(Debug, Args)]
pub(super) struct IfActive {
    /// Only where this revision is the active one
    #[arg(long, value_name = "REVISION")]
    if_active: Option<String>,
}

/// Whom to ask, and as whom.
pub(super) struct Gateway {
    url: String,
    /// Shows who asks.
    client: reqwest::Client,
    has_key: bool,
}

/// Ends with 0 where the gateway did as it was told.
pub(super) async fn run(options: Options, sources: &Sources) -> ExitCode {
    let Options {
        url,
        identity,
        json,
        whose,
    } = options;
    let done = match whose {
        Whose::Author(verb) => return author::run(verb, json, sources).await,
        Whose::Ship(verb) => return ship::run(verb, json, sources).await,
        Whose::Operator(verb) => match Gateway::find(url, &identity, sources).await {
            Ok(gateway) => ask(verb, gateway, json, sources).await,
            Err(failure) => Err(failure),
        },
        Whose::Manifest(OfManifest::Verify(wanted)) => {
            let gateway = match url {
                Some(url) => Gateway::find(Some(url), &identity, sources).await.map(Some),
                None => Ok(None),
            };
            match gateway {
                Ok(gateway) => verify::run(&wanted, gateway, json, sources).await,
                Err(failure) => Err(failure),
            }
        }
        Whose::Manifest(OfManifest::Lock(wanted)) => lock::run(&wanted, sources).await,
    };
    match done {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("gatehouse: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(
    verb: Verb,
    gateway: Gateway,
    as_json: bool,
    sources: &Sources,
) -> anyhow::Result<ExitCode> {
    let mode = |name: String, mode: Mode, tasks: Option<Value>, seen: Option<IfActive>| {
        let request = gateway.request(Method::PATCH, &format!("/plugins/{name}"), seen);
        let mut wanted = json!({ "mode": mode.as_str() });
        if let (Some(tasks), Some(wanted)) = (tasks, wanted.as_object_mut()) {
            wanted.insert("for".to_owned(), tasks);
        }
        request.json(&wanted)
    };
    let (request, show): (RequestBuilder, fn(&Value) -> String) = match verb {
        Verb::List => (gateway.get("/plugins"), show::list),
        Verb::Show { name } => {
            let answer = gateway.send(gateway.get("/plugins")).await?;
            let plugin = show::find(&answer, &name)?;
            println!("{plugin:#}");
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Replay(wanted) => return replay::run(wanted, as_json, &gateway, sources).await,
        Verb::Explain(wanted) => return explain::run(&wanted, as_json, &gateway).await,
        Verb::Try {
            revision,
            share,
            shadow,
            seen,
        } => {
            let request = gateway.request(Method::POST, "/plugins/trial", Some(seen));
            let wanted = json!({ "revision": revision, "share": share, "shadow": shadow });
            (request.json(&wanted), show::changed)
        }
        Verb::Promote(seen) => (
            gateway.request(Method::POST, "/plugins/promote", Some(seen)),
            show::changed,
        ),
        Verb::Diff { from, to, tasks } => {
            let tasks = tasks.to_string();
            let query = [("from", &from), ("to", &to), ("tasks", &tasks)];
            (
                gateway.get(&with_query("/plugins/diff", &query)),
                show::difference,
            )
        }
        Verb::History { limit } => (
            gateway.get(&format!("/plugins/history?limit={limit}")),
            show::history,
        ),
        Verb::Reload(seen) => (
            gateway.request(Method::POST, "/plugins/reload", Some(seen)),
            show::changed,
        ),
        Verb::Rollback { revision, seen } => {
            let request = gateway.request(Method::POST, "/plugins/rollback", Some(seen));
            (
                request.json(&json!({ "revision": revision })),
                show::changed,
            )
        }
        Verb::Mode {
            name,
            mode: wanted,
            tasks,
            seen,
        } => (
            mode(name, wanted, tasks.to_json(), Some(seen)),
            show::changed,
        ),
        Verb::Enable { name } => (mode(name, Mode::Enforce, None, None), show::changed),
        Verb::Disable { name } => (mode(name, Mode::Off, None, None), show::changed),
    };
    let answer = gateway.send(request).await?;
    if as_json {
        println!("{answer:#}");
    } else {
        print!("{}", show(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

impl Gateway {
    /// The gateway that was named, or the one that this configuration starts; `GATEHOUSE_ADMIN_KEY`, or
    /// the key that the gateway of this configuration made.
    pub(super) async fn find(
        url: Option<String>,
        identity: &Identity,
        sources: &Sources,
    ) -> anyhow::Result<Self> {
        let config = config::load(sources)
            .map_err(|mistakes| anyhow::anyhow!("the configuration is wrong\n{mistakes}"))?;
        let configured = sources.environment.get("GATEHOUSE_ADMIN_KEY");
        let configured = configured.filter(|key| !key.is_empty());
        let named = configured.and_then(|key| config.secret_name(key));
        // The key that was made here is for nobody else.
        let is_ours = url.as_deref().is_none_or(shown::is_here);
        let key = match named {
            Some(Ok(name)) => Some(SecretManager::new(&config.google).read(&name).await?),
            _ => configured
                .cloned()
                .or_else(|| made_key(&config.data_dir).filter(|_| is_ours))
                .map(SecretString::from),
        };
        let key = key.map(|key| SecretString::from(key.expose_secret().trim()));
        let url = url.unwrap_or_else(|| format!("http://{}", config.server.listen));
        Ok(Self {
            client: shown::client(&url, key.as_ref(), identity, &sources.environment)?,
            url,
            has_key: key.is_some(),
        })
    }

    pub(super) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path, None)
    }

    pub(super) fn request(
        &self,
        method: Method,
        path: &str,
        seen: Option<IfActive>,
    ) -> RequestBuilder {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = self.client.request(method, url);
        if let Some(revision) = seen.and_then(|seen| seen.if_active) {
            request = request.header(reqwest::header::IF_MATCH, format!("\"{revision}\""));
        }
        request
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let bytes = self.bytes(request).await?;
        serde_json::from_slice(&bytes).context("the gateway answered with something else than JSON")
    }

    /// The lines of an answer, each of them JSON.
    async fn lines(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let text = String::from_utf8(self.bytes(self.get(path)).await?)?;
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .context("the gateway answered with something else than lines of JSON")
    }

    async fn bytes(&self, request: RequestBuilder) -> anyhow::Result<Vec<u8>> {
        let response = request
            .send()
            .await
            .with_context(|| format!("no gateway answers at {}", self.url))?;
        let status = response.status();
        let bytes = response.bytes().await?.to_vec();
        if !status.is_success() {
            let text = String::from_utf8_lossy(&bytes);
            let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let words = body.get("error").and_then(Value::as_str).unwrap_or(&text);
            let hint = match (status.as_u16(), self.has_key) {
                (403, false) => " (set GATEHOUSE_ADMIN_KEY; there is no key in the data directory)",
                _ => "",
            };
            bail!("{words}{hint}");
        }
        Ok(bytes)
    }
}

/// The settings, with the passwords of registries that stand in Secret Manager.
async fn settings_of(sources: &Sources) -> anyhow::Result<Config> {
    let wrong = |mistakes| anyhow::anyhow!("the configuration is wrong\n{mistakes}");
    let mut config = config::load(sources).map_err(wrong)?;
    SecretSettings::fill_passwords(&mut config)
        .await
        .map_err(wrong)?;
    Ok(config)
}

fn with_query(path: &str, pairs: &[(&str, &String)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    format!("{path}?{}", query.finish())
}

fn made_key(data_dir: &Path) -> Option<String> {
    let key = std::fs::read_to_string(data_dir.join("keys").join(ADMIN_KEY)).ok();
    key.map(|key| key.trim().to_owned())
}
