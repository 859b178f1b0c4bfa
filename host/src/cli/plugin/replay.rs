//! `gatehouse plugin replay`: past tasks judged again, by a set that is loaded here and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::explain::newest;
use super::{Gateway, settings_of, show};
use crate::bucket::directory::DirectoryBucket;
use crate::bucket::{Bucket, Durability, When};
use crate::config::{Config, Sources};
use crate::plugin::{
    Answers, Decision, Input, PluginSet, Plugins, TaskState, TaskView, ToolCall, Validated, answers,
};
use crate::redact::Redactor;
use crate::wasm::Compiler;

/// What a set may take for one call: a large component may be slow where nothing else is measured.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The tasks; without any, the newest ones
    tasks: Vec<String>,
    /// So many of the newest tasks
    #[arg(long, default_value_t = 20, conflicts_with = "tasks")]
    last: u16,
    /// The set of this manifest, by default the one of this configuration
    #[arg(long, value_name = "FILE", conflicts_with = "revision")]
    manifest: Option<PathBuf>,
    /// A set of the gateway's history, by the very bytes
    #[arg(long)]
    revision: Option<String>,
    /// End with 1 where anything would be decided differently
    #[arg(long)]
    strict: bool,
}

/// What came of all tasks.
#[derive(Debug, Default)]
struct Outcome {
    tasks: u32,
    /// Whose inputs were not kept.
    without_inputs: u32,
    compared: u32,
    different: Vec<Value>,
}

pub(super) async fn run(
    options: Options,
    as_json: bool,
    gateway: &Gateway,
    sources: &Sources,
) -> anyhow::Result<ExitCode> {
    let scratch = tempfile::tempdir().context("a scratch directory")?;
    let mut config = settings_of(sources).await?;
    config.data_dir = scratch.path().to_owned();
    if let Some(manifest) = &options.manifest {
        config.plugins.manifest.clone_from(manifest);
    }
    let bucket: Arc<dyn Bucket> =
        Arc::new(DirectoryBucket::open(scratch.path().join("bucket")).context("a scratch bucket")?);
    let set = match &options.revision {
        Some(revision) => of_gateway(gateway, revision, &config, bucket).await?,
        None => of_manifest(&config, bucket).await?,
    };
    let tasks = match options.tasks.is_empty() {
        true => newest(gateway, options.last).await?,
        false => options.tasks,
    };
    let mut outcome = Outcome::default();
    for task in &tasks {
        outcome.task(task, gateway, &set).await?;
    }
    outcome.show(set.revision(), as_json);
    Ok(match options.strict && !outcome.different.is_empty() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

async fn of_manifest(config: &Config, bucket: Arc<dyn Bucket>) -> anyhow::Result<Arc<PluginSet>> {
    let compiler = Compiler::apart(&config.plugins);
    let plugins = Plugins::load(config, compiler, bucket).await;
    match (plugins.active(), plugins.last_error()) {
        (Some(active), None) => Ok(Arc::clone(active.set())),
        (_, error) => bail!("{}", error.unwrap_or_default()),
    }
}

/// Fetches a set with its components, each by its digest, and loads it as a job does.
async fn of_gateway(
    gateway: &Gateway,
    revision: &str,
    config: &Config,
    bucket: Arc<dyn Bucket>,
) -> anyhow::Result<Arc<PluginSet>> {
    let put = async |name: String, content: Vec<u8>| {
        let content = Bytes::from(content);
        bucket
            .put(&name, content, When::Always, Durability::Synced)
            .await
    };
    let text = gateway
        .bytes(gateway.get(&format!("/plugins/sets/{revision}")))
        .await?;
    let set: Value = serde_json::from_slice(&text).context("the set is no JSON")?;
    put(format!("plugins/sets/{revision}.json"), text).await?;
    let plugins = set.get("plugins").and_then(Value::as_array);
    for plugin in plugins.into_iter().flatten() {
        let digest = plugin
            .get("digest")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let component = gateway.get(&format!("/plugins/components/{digest}"));
        let component = gateway.bytes(component).await?;
        put(format!("plugins/components/{digest}.wasm"), component).await?;
    }
    // What it was is checked against revision and digests on the way in.
    Ok(PluginSet::pinned(config, bucket, revision, Redactor::default()).await?)
}

impl Outcome {
    async fn task(
        &mut self,
        id: &str,
        gateway: &Gateway,
        set: &Arc<PluginSet>,
    ) -> anyhow::Result<()> {
        self.tasks += 1;
        let decisions = gateway.lines(&format!("/tasks/{id}/decisions")).await?;
        let Ok(inputs) = gateway.lines(&format!("/tasks/{id}/inputs")).await else {
            self.without_inputs += 1;
            return Ok(());
        };
        // A line may tell how many were dropped.
        let decisions: Vec<Decision> = decisions
            .into_iter()
            .filter_map(|line| serde_json::from_value(line).ok())
            .filter(|decision: &Decision| !decision.shadow)
            .collect();
        let past = answers(&decisions).into_values().next().unwrap_or_default();
        let again = answers(&again(inputs, set).await?)
            .into_values()
            .next()
            .unwrap_or_default();
        self.compare(id, &past, &again);
        Ok(())
    }

    fn compare(&mut self, id: &str, past: &Answers, again: &Answers) {
        for (question, said) in again {
            // Where nobody had been asked, nobody had an opinion.
            let before = past.get(question);
            self.compared += 1;
            let nothing = said.clone().without_opinion();
            let before = before.unwrap_or(&nothing);
            if !before.is_as(said) {
                self.different.push(json!({
                    "taskId": id, "stage": question.stage, "call": question.call,
                    "tool": said.tool, "from": before, "to": said,
                }));
            }
        }
    }

    fn show(&self, revision: &str, as_json: bool) {
        if as_json {
            let body = json!({
                "revision": revision, "tasks": self.tasks, "withoutInputs": self.without_inputs,
                "compared": self.compared, "different": self.different,
            });
            println!("{body:#}");
            return;
        }
        println!(
            "set {revision}: {} of {} questions of {} tasks would be answered differently",
            self.different.len(),
            self.compared,
            self.tasks,
        );
        if self.without_inputs > 0 {
            println!(
                "{} tasks were left out: what was decided on was not kept (plugins.keep_inputs)",
                self.without_inputs
            );
        }
        for other in &self.different {
            println!("{}", show::change_of_mind(other));
        }
    }
}

/// What the set says now. Calls are asked in their order, so that what plugins note of a task is as it was.
async fn again(inputs: Vec<Value>, set: &Arc<PluginSet>) -> anyhow::Result<Vec<Decision>> {
    let mut decisions = Vec::new();
    let mut task: Option<Arc<TaskView>> = None;
    let state = TaskState::default();
    // What was kept has no secrets any more.
    let clean = Redactor::default();
    for line in inputs {
        if line.get("dropped").is_some() {
            continue;
        }
        let input = serde_json::from_value(line).context("an input of another version")?;
        match (input, &task) {
            (Input::Task(recorded), _) => {
                let view = Arc::new(TaskView::from(recorded));
                for n in 0..set.validators() {
                    let validated = set.validate(n, Arc::clone(&view), &clean).await;
                    decisions.extend(validated.into_iter().flat_map(Validated::decisions));
                }
                task = Some(view);
            }
            (Input::Call(recorded), Some(task)) => {
                let call = ToolCall::from(recorded);
                let ruling = set.decide(task, call, &state, PATIENCE).await;
                decisions.extend(ruling.decisions);
            }
            (Input::Call(_), None) => bail!("the inputs begin with a call"),
        }
    }
    Ok(decisions)
}
