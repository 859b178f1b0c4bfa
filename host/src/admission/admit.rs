//! The steps of admission.

use std::fmt;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::check::{draft, parse};
use super::operators_prompts::{Places, Prompts};
use super::policies::{Candidate, Policies};
use super::request::action_key;
use super::schema::{FIELDS, find};
use super::{Refusal, Request, slash_command};
use crate::config::{Config, Task};
use crate::plugin::{Active, Decision, OptionsRefused, Pinned, Rejection, Validation};
use crate::redact::Redactor;
use crate::task::{AgentSummary, Mode, Phase, Record, Status, TaskId, names};

/// Longest words of a plugin that reach a caller, in bytes.
const LONGEST_WORDS: usize = 2000;

/// A body that passed the schema and has its defaults; validators have not seen it yet.
#[derive(Clone)]
pub struct Draft {
    /// As JSON, by API names; what is sealed.
    pub value: Map<String, Value>,
    /// The same, typed.
    pub request: Request,
    /// Which endpoint.
    pub mode: Mode,
    /// Fields that were accepted and have no effect.
    pub warnings: Vec<String>,
    /// Tools of the called command, for which the CLI asks nobody. No list that restricts: the gate
    /// does not know of it.
    pub approved_tools: Vec<String>,
}

impl Draft {
    /// The caller's, or a fresh one.
    fn task_id(&self) -> TaskId {
        match (&self.request.task_id, self.mode) {
            (Some(id), _) => id.clone(),
            (None, Mode::Sync) => TaskId::fresh_sync(),
            (None, Mode::Async) => TaskId::fresh_async(),
        }
    }
}

/// Without [`Draft::value`]: it holds the secrets in clear.
impl fmt::Debug for Draft {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Draft")
            .field("request", &self.request)
            .field("mode", &self.mode)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// Who sends a request.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The name in the record.
    pub caller: &'a str,
    /// Whose the task will be.
    pub tenant: &'a str,
}

/// What is sealed for the job.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payload {
    /// [`Draft::value`] after amendments.
    pub request: Map<String, Value>,
    /// The pinned revision.
    pub plugin_set: String,
    /// The revision that is asked beside it.
    #[serde(default)]
    pub shadow_set: Option<String>,
    /// Who called.
    pub caller: String,
    /// Whose the task is.
    #[serde(default)]
    pub tenant: String,
    /// Which endpoint.
    pub mode: Mode,
    /// Accepted at.
    pub created_at: Timestamp,
    /// [`Draft::approved_tools`].
    #[serde(default)]
    pub approved_tools: Vec<String>,
    /// As in the record.
    #[serde(default)]
    pub system_prompt_version: Option<String>,
    /// As in the record.
    #[serde(default)]
    pub append_system_prompt_version: Option<String>,
}

impl Payload {
    /// The record that a task begins with: pending, with everything but storage paths' existence.
    pub fn first_record(&self, id: TaskId, logs_path: String) -> Record {
        let shown = FIELDS.iter().filter(|field| field.shown);
        let effective = shown
            .filter_map(|field| {
                let value = self.request.get(field.name)?;
                Some((field.name.to_owned(), value.clone()))
            })
            .collect();
        let callback_url = self.request.get("callbackUrl").and_then(Value::as_str);
        let metadata = self.request.get("metadata").and_then(Value::as_object);
        let detach = self.request.get("detach").and_then(Value::as_bool);
        let labels = self.request.get("labels").and_then(Value::as_object);
        let labels = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
            .collect();
        Record {
            status: Status::Pending,
            phase: Phase::Queued,
            reason: None,
            execution_mode: self.mode,
            caller: self.caller.clone(),
            tenant: self.tenant.clone(),
            created_at: self.created_at,
            idempotency: None,
            started_at: None,
            completed_at: None,
            cancelled_at: None,
            logs_path,
            encrypted_payload_path: names::payload(&id),
            callback_url: callback_url
                .and_then(|url| url::Url::parse(url).ok())
                .map(String::from),
            labels,
            metadata: metadata.cloned(),
            effective,
            plugin_set: self.plugin_set.clone(),
            shadow_set: self.shadow_set.clone(),
            system_prompt_version: self.system_prompt_version.clone(),
            append_system_prompt_version: self.append_system_prompt_version.clone(),
            pending_approvals: 0,
            detach: detach == Some(true) || self.mode == Mode::Async,
            execution_name: None,
            attempt: 0,
            cancel: None,
            isolation: None,
            repository: None,
            error: None,
            exit_code: None,
            agent: AgentSummary::default(),
            actions: std::collections::BTreeMap::new(),
            git_commit: None,
            uploaded_files: Vec::new(),
            warnings: Vec::new(),
            last_sequence: None,
            task_id: id,
        }
    }
}

/// Without [`Payload::request`]: it holds the secrets in clear.
impl fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Payload")
            .field("plugin_set", &self.plugin_set)
            .field("caller", &self.caller)
            .field("mode", &self.mode)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// A task that may be stored and started.
pub struct Admitted {
    /// Pending, with everything but storage paths' existence.
    pub record: Record,
    /// [`Payload`] as JSON, to be sealed.
    pub payload: Zeroizing<Vec<u8>>,
    /// What each validator said.
    pub decisions: Vec<Decision>,
}

/// Without [`Admitted::payload`]: it holds the secrets in clear.
impl fmt::Debug for Admitted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Admitted")
            .field("record", &self.record)
            .field("decisions", &self.decisions)
            .finish_non_exhaustive()
    }
}

/// Checks requests by the configuration's limits and defaults.
#[derive(Clone, Debug)]
pub struct Admission {
    task: Task,
    prompts: Places,
}

impl Admission {
    /// Goes by `[task]`.
    pub fn new(config: &Config) -> Self {
        Self {
            task: config.task.clone(),
            prompts: Places::of(config),
        }
    }

    /// Steps 1 and 2: JSON, unknown fields, types, ranges, defaults, the credential rule, the command
    /// that the prompt calls.
    pub fn check(&self, body: &[u8], mode: Mode) -> Result<Draft, Refusal> {
        slash_command::settle(draft(parse(body)?, mode, &self.task)?, &self.task)
    }

    /// Step 3: the operator's system prompts, validators in order, amendments checked again, options of post-execution actions
    /// checked by their plugins. `logs_uri(id)` tells where the events will lie.
    pub async fn admit(
        &self,
        draft: Draft,
        sender: Sender<'_>,
        plugins: &Active,
        logs_uri: impl Fn(&str) -> String + Send,
    ) -> Result<Admitted, Refusal> {
        let id = draft.task_id();
        let Pinned { set, shadow } = plugins.pin(&id);
        self.admit_by(id, draft, sender, &*set, shadow.as_deref(), logs_uri)
            .await
    }

    async fn admit_by<P: Policies>(
        &self,
        id: TaskId,
        mut draft: Draft,
        sender: Sender<'_>,
        plugins: &P,
        shadow: Option<&P>,
        logs_uri: impl Fn(&str) -> String + Send,
    ) -> Result<Admitted, Refusal> {
        let caller = sender.caller;
        let prompts = Prompts::fill(&mut draft.value, &self.prompts).await?;
        draft.request = Request::from_admitted(&draft.value)?;
        let (mut decisions, mut beside) = (Vec::new(), Vec::new());
        let tried = async {
            if let Some(shadow) = shadow {
                // Whatever it says is recorded, and counts for nothing.
                let _ = self
                    .ask(&id, draft.clone(), caller, shadow, &mut beside)
                    .await;
            }
        };
        let asked = self.ask(&id, draft.clone(), caller, plugins, &mut decisions);
        let (asked, ()) = tokio::join!(asked, tried);
        draft = asked?;
        decisions.append(&mut beside);
        let known = plugins.actions();
        for action in &draft.request.post_execution_actions {
            let field = format!("postExecutionActions.{}", action.key);
            let known = known.iter().find(|known| known.plugin == action.plugin);
            if known.is_some_and(|known| known.standing.is_some()) {
                let sentence = "is carried out for every task here, with options of the operator's";
                return Err(Refusal::invalid(&field, sentence));
            }
            if known.is_some_and(|known| known.needs_repository) && draft.request.git_repo.is_none()
            {
                return Err(Refusal::at("required", &field, "needs gitRepo"));
            }
            let outcome = plugins.check_options(&action.plugin, &action.options).await;
            outcome.map_err(|refused| options_refused(refused, &field))?;
        }
        let versions = [
            prompts.version("systemPrompt", &draft.value),
            prompts.version("appendSystemPrompt", &draft.value),
        ];
        let pinned = (plugins.revision(), shadow.map(P::revision));
        admitted(id, draft, versions, sender, pinned, decisions, logs_uri)
    }

    /// Asks the validators in order. What each said is in `decisions`, also where one refuses.
    async fn ask<P: Policies>(
        &self,
        id: &TaskId,
        mut draft: Draft,
        caller: &str,
        plugins: &P,
        decisions: &mut Vec<Decision>,
    ) -> Result<Draft, Refusal> {
        let redactor = Redactor::new(&draft.request.secrets());
        for n in 0..plugins.validators() {
            let candidate = Candidate {
                id,
                mode: draft.mode,
                caller,
                request: &draft.value,
                redactor: &redactor,
            };
            let Some(validated) = plugins.validate(n, candidate).await else {
                continue;
            };
            let decision = &validated.decision;
            let refused = match validated.validation.clone() {
                Validation::Reject(rejection) => Some(rejected(rejection, decision)),
                Validation::Accept => None,
                Validation::Amend(patch) => {
                    match self.amend(draft.clone(), &patch, &decision.plugin) {
                        Ok(amended) => {
                            draft = amended;
                            None
                        }
                        Err(refusal) => Some(refusal),
                    }
                }
            };
            decisions.extend(validated.decisions());
            if let Some(refusal) = refused {
                return Err(refusal);
            }
        }
        Ok(draft)
    }

    /// Applies a validator's merge patch. The result has to pass everything that a caller's request
    /// has to; what is the caller's alone cannot be patched.
    fn amend(&self, draft_before: Draft, patch: &Value, plugin: &str) -> Result<Draft, Refusal> {
        let invalid = |detail: String| {
            let message =
                "the request was amended by a policy of this service into one that it cannot take";
            Refusal::new(503, "validator-amendment-invalid", message)
                .detail(format!("validator `{plugin}`: {detail}"))
        };
        let Some(changes) = patch.as_object() else {
            return Err(invalid("its amendment is no JSON object".to_owned()));
        };
        let untouchable =
            |name: &&String| find(name).is_some_and(|field| field.secret || field.fixed);
        if let Some(name) = changes.keys().find(untouchable) {
            return Err(invalid(format!("its amendment touches {name}")));
        }
        let Draft {
            value,
            mode,
            mut warnings,
            approved_tools,
            ..
        } = draft_before;
        let mut amended = Value::Object(value);
        json_patch::merge(&mut amended, patch);
        let Value::Object(amended) = amended else {
            return Err(invalid("its amendment leaves no object".to_owned()));
        };
        let mut after =
            draft(amended, mode, &self.task).map_err(|refusal| invalid(refusal.message))?;
        // What was true before is told already.
        after.warnings.retain(|warning| !warnings.contains(warning));
        warnings.append(&mut after.warnings);
        Ok(Draft {
            warnings,
            approved_tools,
            ..after
        })
    }
}

fn rejected(rejection: Rejection, decision: &Decision) -> Refusal {
    let Rejection {
        code,
        message,
        field,
        details,
    } = rejection;
    let stable = (1..=64).contains(&code.len())
        && code
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let code = if stable {
        code
    } else {
        "rejected-by-policy".to_owned()
    };
    tracing::info!(
        plugin = decision.by(),
        code,
        fault = decision.fault,
        "a validator refused a request"
    );
    Refusal {
        // A plugin that could not answer says nothing about the request.
        status: if decision.fault.is_some() { 503 } else { 403 },
        code,
        field: field.map(|field| cut(&field)),
        message: cut(&message),
        details: details.filter(|details| details.to_string().len() <= 16 << 10),
        detail: decision.reason.clone(),
    }
}

fn options_refused(refused: OptionsRefused, field: &str) -> Refusal {
    match refused {
        OptionsRefused::Unknown(known) if known.is_empty() => Refusal::at(
            "unknown-field",
            field,
            "names no action: there are none here",
        ),
        OptionsRefused::Unknown(known) => {
            let known: Vec<_> = known.iter().map(|plugin| action_key(plugin)).collect();
            let message = format!("names no action; there are: {}", known.join(", "));
            Refusal::at("unknown-field", field, message)
        }
        OptionsRefused::Bad(words) => Refusal::invalid(
            field,
            format!("is not what its plugin takes: {}", cut(&words)),
        ),
        OptionsRefused::Fault(detail) => {
            let message = format!("{field} cannot be checked: its plugin does not answer");
            Refusal::new(503, "plugin-unavailable", message)
                .field(field)
                .detail(detail)
        }
    }
}

fn cut(words: &str) -> String {
    words
        .get(..words.floor_char_boundary(LONGEST_WORDS))
        .unwrap_or_default()
        .to_owned()
}

fn admitted(
    id: TaskId,
    draft: Draft,
    [system_prompt_version, append_system_prompt_version]: [Option<String>; 2],
    sender: Sender<'_>,
    (revision, shadow): (&str, Option<&str>),
    decisions: Vec<Decision>,
    logs_uri: impl Fn(&str) -> String,
) -> Result<Admitted, Refusal> {
    let now = Timestamp::now();
    // Milliseconds, as callers know it.
    let created_at = now.round(Unit::Millisecond).unwrap_or(now);
    let payload = Payload {
        request: draft.value,
        plugin_set: revision.to_owned(),
        shadow_set: shadow.map(str::to_owned),
        caller: sender.caller.to_owned(),
        tenant: sender.tenant.to_owned(),
        mode: draft.mode,
        created_at,
        approved_tools: draft.approved_tools,
        system_prompt_version,
        append_system_prompt_version,
    };
    let logs_path = logs_uri(id.as_str());
    let record = Record {
        warnings: draft.warnings,
        ..payload.first_record(id, logs_path)
    };
    let payload = serde_json::to_vec(&payload).map_err(|error| {
        Refusal::new(500, "internal", "the request cannot be stored").detail(error.to_string())
    })?;
    Ok(Admitted {
        record,
        payload: Zeroizing::new(payload),
        decisions,
    })
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
