//! Plugins as the rest of the gateway sees them: the manifest, one immutable [`PluginSet`], what a
//! call decided, and the log of decisions.
//!
//! `manifest` reads what the operator wrote, `lock` which bytes that were, `source` says where components are,
//! `obtain` has them from there, from `registry/` by what `artifact_memory` knows of it; `about` is what their
//! authors say, `signature` who signed them and `signed` where that is kept. `load` makes
//! [`LoadedPlugin`](loaded::LoadedPlugin)s of it or of a revision in the bucket. A `set` of them is asked in
//! `validate`, `decide` and `action`; `answer` says what their answers mean, a `group` judges together, by an
//! `expression` and its members' `ballot`. `shipping` takes a plugin out of a source, into a registry or a
//! manifest. `live` holds what is active and changes it, `operate` is what operators
//! say about it, `trial` a set that is tried first, `attempt` one reading of the manifest,
//! `aside` one that changes nothing; `watch` notices
//! that there is something new, `history` keeps every change, and `prune` removes what no
//! change and no task needs any more. `journal` writes what was decided, `input`
//! what it was decided on, `compare` and `counters` look back. `workbench` is for one component by
//! itself. What a plugin may see is in `view`, what it may reach in `grants`, `workspace`, `artifacts`, `git`, `http` and `notes`.
//!
//! Knows nothing of serving HTTP and nothing of wasmtime (`wasm/` does); what plugins send is judged here
//! and carried by `outbound/`, what they push by `git/`. A task is pinned to one revision of
//! the set; the job loads that revision from the bucket by digest.

mod about;
mod action;
mod answer;
mod artifact_memory;
mod artifacts;
mod aside;
mod attempt;
mod ballot;
mod change;
mod compare;
mod counters;
mod decide;
mod decision;
mod expression;
mod failure;
mod git;
mod grants;
mod group;
mod history;
mod http;
mod input;
mod journal;
mod limits;
mod live;
mod load;
mod loaded;
mod lock;
mod manifest;
#[cfg(test)]
mod memory_bucket;
mod modes;
mod notes;
mod obtain;
mod operate;
mod path;
mod prune;
mod registry;
mod search;
mod set;
mod shipping;
mod signature;
mod signed;
mod source;
mod trial;
mod validate;
mod verdict;
mod view;
mod watch;
mod workbench;
mod workspace;

#[cfg(test)]
use std::path::Path;

#[cfg(test)]
use crate::config;
use crate::wasm::EngineError;

pub use about::About;
pub use artifacts::{Artifacts, Stored};
pub use aside::{Aside, Checked, Locking};
pub use change::{Asked, ChangeError, Changed};
pub use compare::{Answers, Question, Said, answers};
pub use decision::{Approved, Decision};
pub use failure::Failure;
pub use git::{
    Change, Cloned, Commit, Committed, GitRepository, OnConflict, Push, Pushed, Recovery,
};
pub use grants::Grants;
pub use history::{How, SetChange};
pub(crate) use http::Wanted;
pub use http::{Http, HttpClient, HttpRequest, HttpResponse};
pub use input::{Input, RecordedCall, RecordedTask, inputs_name, keep_removing_old_inputs};
pub use journal::Journal;
pub use live::Plugins;
pub use modes::{Enforcement, ModeFor};
pub use notes::{Notes, TaskState};
pub use operate::NewMode;
pub use prune::keep_removing_old_sets;
pub use set::PluginSet;
pub use shipping::{Parcel, Published, Shipping};
pub use signature::PublicKey;
pub use trial::{Active, Extent, Pinned, TrialChange};
pub use verdict::{
    Action, ActionRun, ActionWhen, Capabilities, OptionsRefused, Rejection, Ruling, StandingAction,
    ToApprove, Validated, Validation, Verdict,
};
pub use view::{OutcomeView, RealPath, TaskView, ToolCall};
pub use workbench::{CaseInput, Told, Trial, TrialTerms, Workbench};
pub use workspace::{Found, Workspace};

/// Why no set could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The manifest cannot be read or says something impossible.
    #[error("{0}")]
    Manifest(String),
    /// A plugin cannot be loaded.
    #[error("plugin `{plugin}`: {message}")]
    Load {
        /// Its name in the manifest.
        plugin: String,
        /// Stable, e.g. `plugin-not-a-component`.
        code: &'static str,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A group of the set cannot be used.
    #[error("group `{group}`: {message}")]
    Group {
        /// Its name in the manifest.
        group: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The pinned set or one of its components is not in the bucket.
    #[error("plugin set `{0}` is not in the bucket")]
    Missing(String),
    /// There is nothing to run plugins in.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The storage failed.
    #[error(transparent)]
    Bucket(#[from] crate::bucket::BucketError),
}

/// The defaults of `config.default.toml`, for this part's tests.
#[cfg(test)]
fn test_settings(manifest: &Path) -> config::Plugins {
    config::Plugins {
        manifest: manifest.to_owned(),
        compiled: None,
        memory: 64 << 20,
        time: std::time::Duration::from_millis(200),
        output: 1 << 20,
        max_component_size: 64 << 20,
        compile_memory: 2 << 30,
        compile_time: std::time::Duration::from_secs(60),
        max_instances: 4,
        max_decisions: 100,
        keep_inputs: false,
        max_inputs: 1 << 20,
        inputs_expire: std::time::Duration::from_secs(3600),
        registries: std::collections::BTreeMap::new(),
        signatures: config::Signatures::default(),
        keep_sets: std::time::Duration::from_secs(3600),
    }
}

/// As it is embedded.
#[cfg(test)]
fn test_outbound() -> config::Outbound {
    config::Outbound {
        private_addresses: config::PrivateAddresses::Loopback,
        allow_http: true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::load::Loader;
    use super::*;
    use crate::bucket::Bucket as _;
    use crate::plugin::memory_bucket::MemoryBucket;
    use crate::wasm::Compiler;

    async fn load(manifest: &str, files: &[(&str, &[u8])]) -> (Arc<MemoryBucket>, Plugins) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        std::fs::write(&path, manifest).unwrap();
        for (name, content) in files {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        let bucket = Arc::new(MemoryBucket::default());
        let settings = test_settings(&path);
        let plugins = Plugins::load_from(
            &settings,
            &test_outbound(),
            directory.path(),
            Compiler::here(),
            bucket.clone(),
        )
        .await;
        (bucket, plugins)
    }

    #[tokio::test]
    async fn a_manifest_without_plugins_is_active_and_kept() {
        let (bucket, plugins) = load("# no plugins", &[]).await;
        let set = plugins.active().unwrap().set().clone();
        assert_eq!(set.validators(), 0);
        assert_eq!(plugins.last_error(), None);
        let name = format!("plugins/sets/{}.json", set.revision());
        assert_eq!(bucket.content(&name).unwrap(), r#"{"plugins":[]}"#);
        let active: Value =
            serde_json::from_str(&bucket.content("plugins/active.json").unwrap()).unwrap();
        assert_eq!(active["revision"], set.revision());
    }

    #[tokio::test]
    async fn a_mistake_later_on_leaves_the_set_and_a_rollback_stands_until_there_is_news() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        let bucket = Arc::new(MemoryBucket::default());
        let say = |text: &str| std::fs::write(&path, text).unwrap();
        let start = || {
            let (settings, outbound) = (test_settings(&path), test_outbound());
            let (directory, bucket) = (directory.path().to_owned(), bucket.clone());
            let compiler = Compiler::here();
            async move { Plugins::load_from(&settings, &outbound, &directory, compiler, bucket).await }
        };
        let asked = Asked {
            by: "test",
            seen: None,
        };
        say("# none");
        let plugins = start().await;
        let first = plugins.active().unwrap().set().clone();
        let absent = "[[plugin]]\nname = \"a\"\nworld = \"validator\"\nsource = \"a.wasm\"\n";
        say(absent);
        let error = plugins.take_manifest(&asked).await.unwrap_err();
        assert!(matches!(error, ChangeError::Refused(_)), "{error}");
        assert_eq!(plugins.active().unwrap().set().revision(), first.revision());
        assert!(plugins.last_error().unwrap().contains("a.wasm"));
        assert_eq!(plugins.changes(None, 9).await.unwrap().len(), 1);

        let nothing = plugins.roll_back(None, &asked).await.unwrap_err();
        assert!(matches!(nothing, ChangeError::NoSuchRevision(_)));
        let seen = Asked {
            seen: Some("0123456789abcdef"),
            ..asked.clone()
        };
        let late = plugins.reload(&seen).await.unwrap_err();
        assert!(matches!(late, ChangeError::Conflict { .. }), "{late}");

        // The next start finds the mistake again, and the set from before.
        let again = start().await;
        assert_eq!(again.active().unwrap().set().revision(), first.revision());
        assert!(again.last_error().is_some());
    }

    #[tokio::test]
    async fn what_another_gateway_makes_active_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let bucket = Arc::new(MemoryBucket::default());
        let path = directory.path().join("manifest.toml");
        std::fs::write(&path, "# none").unwrap();
        let (settings, outbound) = (test_settings(&path), test_outbound());
        let compiler = Compiler::here();
        let ours = Plugins::load_from(
            &settings,
            &outbound,
            directory.path(),
            compiler,
            bucket.clone(),
        )
        .await;
        let revision = ours.active().unwrap().set().revision().to_owned();
        let theirs = json!({"revision": "0123456789abcdef", "at": jiff::Timestamp::now()});
        let put = |value: Value| {
            let (data, when) = (value.to_string().into(), crate::bucket::When::Always);
            bucket.put(
                "plugins/active.json",
                data,
                when,
                crate::bucket::Durability::Synced,
            )
        };
        put(theirs).await.unwrap();
        assert!(ours.take_over().await.is_err(), "there is no such set");
        assert_eq!(ours.active().unwrap().set().revision(), revision);
    }

    #[tokio::test]
    async fn every_mistake_is_shown_at_its_plugin_and_nothing_becomes_active() {
        let entry = |name: &str, more: &str| {
            format!("[[plugin]]\nname = \"{name}\"\nworld = \"validator\"\n{more}\n")
        };
        let manifest = [
            entry("absent", "source = \"absent.wasm\""),
            entry("core", "source = \"core.wasm\""),
            entry("greedy", "source = \"core.wasm\"\ngrants = [\"workspace\"]"),
            entry(
                "pinned",
                &format!("source = \"core.wasm\"\nsha256 = \"{}\"", "0".repeat(64)),
            ),
        ];
        let (bucket, plugins) =
            load(&manifest.concat(), &[("core.wasm", b"\0asm\x01\0\0\0")]).await;
        assert!(plugins.active().is_none());
        let status = plugins.status();
        assert_eq!(status["revision"], Value::Null);
        let codes: Vec<_> = status["plugins"]
            .as_array()
            .unwrap()
            .iter()
            .map(|line| &line["code"])
            .collect();
        let expected = [
            "plugin-not-found",
            "plugin-core-module",
            "plugin-manifest",
            "plugin-digest-mismatch",
        ];
        assert_eq!(codes, expected);
        assert_eq!(plugins.last_error().unwrap().lines().count(), 4);
        assert!(bucket.names().is_empty());
    }

    #[tokio::test]
    async fn a_component_above_the_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("manifest.toml");
        let entry = "[[plugin]]\nname = \"a\"\nworld = \"validator\"\nsource = \"a.wasm\"\n";
        std::fs::write(&path, entry).unwrap();
        std::fs::write(directory.path().join("a.wasm"), [0; 11]).unwrap();
        let settings = config::Plugins {
            max_component_size: 10,
            ..test_settings(&path)
        };
        let bucket = Arc::new(MemoryBucket::default());
        let plugins = Plugins::load_from(
            &settings,
            &test_outbound(),
            directory.path(),
            Compiler::here(),
            bucket,
        )
        .await;
        assert_eq!(plugins.status()["plugins"][0]["code"], "plugin-too-large");
    }

    #[tokio::test]
    async fn a_revision_that_is_absent_or_was_tampered_with_is_not_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let (bucket, plugins) = load("# none", &[]).await;
        let revision = plugins.active().unwrap().set().revision().to_owned();
        let settings = test_settings(Path::new("unused"));
        let loader = Loader::new(
            &settings,
            directory.path(),
            Compiler::here(),
            bucket.clone(),
        )
        .unwrap();
        assert!(loader.pins(&revision).await.unwrap().plugins.is_empty());
        for absent in ["0123456789abcdef", "../../etc/passwd", ""] {
            let error = loader.pins(absent).await.unwrap_err();
            assert!(matches!(error, PluginError::Missing(_)), "{absent}");
        }
        let name = format!("plugins/sets/{revision}.json");
        bucket
            .append(&name, bytes::Bytes::from_static(b" "))
            .await
            .unwrap();
        let error = loader.pins(&revision).await.unwrap_err();
        assert!(matches!(error, PluginError::Manifest(_)));
    }

    #[tokio::test]
    async fn without_policies_the_agents_own_rules_decide() {
        let (_bucket, plugins) = load("# none", &[]).await;
        let set = plugins.active().unwrap().set().clone();
        let task = TaskView::new(
            "t".parse().unwrap(),
            crate::task::Mode::Sync,
            "anonymous",
            jiff::Timestamp::UNIX_EPOCH,
            &serde_json::Map::new(),
        );
        let call = ToolCall {
            id: "1".into(),
            tool: "Bash".into(),
            input: json!({"command": "ls"}),
            workspace: "/w".into(),
            cwd: "/w".into(),
            subagent: None,
            mcp_server: None,
            index: 0,
            real: RealPath::Now,
        };
        let ruling = set
            .decide(
                &Arc::new(task),
                call,
                &TaskState::default(),
                std::time::Duration::from_secs(1),
            )
            .await;
        assert_eq!(ruling.verdict, Verdict::Abstain);
        let refused = set.check_options("git", &json!({})).await;
        assert_eq!(refused, Err(OptionsRefused::Unknown(Vec::new())));
    }
}
