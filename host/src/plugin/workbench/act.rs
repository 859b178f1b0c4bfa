//! A run of a post-execution plugin: its options, then the action, with stand-ins for what it reaches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::stand_in::{Exchange, StandInRepository};
use super::{CaseInput, Told, Trial, Workbench, add, members};
use crate::plugin::{Capabilities, OptionsRefused};
use crate::redact::Redactor;

/// Files that one trial may keep.
const ARTIFACTS: u32 = 10_000;
/// Bytes of one of them.
const ARTIFACT: u64 = 1 << 30;

impl Workbench {
    pub(super) async fn act(&self, trial: &Trial, input: &CaseInput) -> Told {
        let started = Instant::now();
        if let Err(refused) = trial.set.check_options(&trial.name, &input.options).await {
            let words = match refused {
                OptionsRefused::Bad(words) | OptionsRefused::Fault(words) => words,
                OptionsRefused::Unknown(_) => "there is no such action".to_owned(),
            };
            return Told {
                outcome: members(json!({ "optionsError": words })),
                time: started.elapsed(),
                memory: None,
            };
        }
        let exchange = Arc::new(Exchange::new(input.answers.clone()));
        let repository = Arc::new(StandInRepository::new(input.host.clone()));
        let empty = self.scratch.path().to_owned();
        let secrets = stand_ins(&trial.secrets);
        let values: Vec<SecretString> = secrets.values().cloned().collect();
        let capabilities = Capabilities {
            workspace: input.workspace.clone().unwrap_or(empty),
            bucket: self.bucket.clone(),
            task: input.task.id.clone(),
            max_artifact_size: ARTIFACT,
            max_artifacts: ARTIFACTS,
            git: repository.is_there().then(|| repository.clone() as _),
            http: exchange.clone(),
            // What could not be found in an answer would not be sent.
            redactor: Arc::new(Redactor::new(&values)),
            secrets: Arc::new(secrets),
        };
        let (task, outcome) = (input.task.clone(), input.outcome.clone());
        let run = trial
            .set
            .run_action(&trial.name, task, outcome, &input.options, capabilities)
            .await;
        let mut outcome = match run.result {
            Ok(value) => json!({ "value": value }),
            // What went wrong is in the decision; the result has what callers may know.
            Err(words) => json!({ "error": run.decision.reason.unwrap_or(words) }),
        };
        let asked = if trial.has_hosts {
            Value::Array(exchange.asked())
        } else {
            repository.asked()
        };
        let kept: Vec<Value> = run.uploaded.iter().map(|file| json!(file)).collect();
        add(&mut outcome, "uploaded", json!(kept));
        add(&mut outcome, "asked", asked);
        add(&mut outcome, "cited", json!(run.decision.rule));
        if let Some(fault) = run.decision.fault {
            add(&mut outcome, "fault", json!(fault));
        }
        Told {
            outcome: members(outcome),
            time: Duration::from_micros(run.decision.micros),
            memory: None,
        }
    }
}

/// The secrets that these words grant.
pub(super) fn secrets(grants: &[String]) -> Vec<String> {
    let names = grants
        .iter()
        .filter_map(|word| word.strip_prefix("secret:"));
    names.map(str::to_owned).collect()
}

/// For every name a text that shows where the secret would stand.
fn stand_ins(names: &[String]) -> BTreeMap<String, SecretString> {
    names
        .iter()
        .map(|name| (name.clone(), format!("[secret:{name}]").into()))
        .collect()
}
