#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::config::{Sources, load};
use crate::plugin::{Action, ActionWhen, StandingAction, Validated};

/// A set of validators that answer by script, and one action, `upload-files`.
#[derive(Default)]
struct Scripted {
    answers: Vec<Validation>,
    fault: bool,
    options: Option<OptionsRefused>,
    actions: Vec<Action>,
    options_seen: Mutex<Vec<Value>>,
    seen: Mutex<Vec<Value>>,
}

#[async_trait]
impl Policies for Scripted {
    fn revision(&self) -> &str {
        "r1"
    }

    fn validators(&self) -> usize {
        self.answers.len()
    }

    async fn validate(&self, n: usize, candidate: Candidate<'_>) -> Option<Validated> {
        self.seen
            .lock()
            .unwrap()
            .push(Value::Object(candidate.request.clone()));
        let decision = Decision {
            at: Timestamp::now(),
            stage: "validation".into(),
            plugin: format!("validator-{n}"),
            group: None,
            causes: Vec::new(),
            digest: "d".into(),
            revision: "r1".into(),
            mode: "enforce".into(),
            verdict: "accept".into(),
            enforced: true,
            reason: None,
            rule: None,
            fault: self.fault.then(|| "trapped".into()),
            call: None,
            tool: None,
            input_sha256: None,
            approval: None,
            micros: 1,
            memory: 0,
            shadow: false,
        };
        Some(Validated {
            validation: self.answers[n].clone(),
            decision,
            members: Vec::new(),
        })
    }

    fn actions(&self) -> Vec<Action> {
        self.actions.clone()
    }

    async fn check_options(&self, plugin: &str, options: &Value) -> Result<(), OptionsRefused> {
        self.options_seen.lock().unwrap().push(options.clone());
        match &self.options {
            Some(refused) => Err(refused.clone()),
            None if plugin == "upload-files" => Ok(()),
            None => Err(OptionsRefused::Unknown(vec!["upload-files".into()])),
        }
    }
}

const ANYBODY: Sender<'_> = Sender {
    caller: "anonymous",
    tenant: "",
};

async fn admit(fields: Value, mode: Mode, plugins: &Scripted) -> Result<Admitted, Refusal> {
    let admission = Admission::new(&load(&Sources::default()).unwrap());
    let mut body = json!({ "prompt": "x", "anthropicApiKey": "s3cr3t" });
    if mode == Mode::Async {
        body["callbackUrl"] = "https://example.com/hook?token=t".into();
    }
    json_patch::merge(&mut body, &fields);
    let draft = admission.check(body.to_string().as_bytes(), mode)?;
    admission
        .admit_by(draft.task_id(), draft, ANYBODY, plugins, None, |id| {
            format!("gs://b/sessions/{id}/")
        })
        .await
}

fn scripted(answers: impl IntoIterator<Item = Validation>) -> Scripted {
    Scripted {
        answers: answers.into_iter().collect(),
        ..Scripted::default()
    }
}

fn payload(admitted: &Admitted) -> Payload {
    serde_json::from_slice(&admitted.payload).unwrap()
}

#[tokio::test]
async fn an_admitted_task_is_pending_pinned_and_shows_what_applies() {
    let fields = json!({
        "taskId": "t-1", "metadata": { "a": 1 }, "environmentSecrets": { "T": "s3cr3t-2" }, "useNamedPipe": true,
        "postExecutionActions": { "uploadFiles": {} }
    });
    let admitted = admit(fields, Mode::Async, &scripted([Validation::Accept]))
        .await
        .unwrap();
    let record = &admitted.record;
    assert_eq!(record.task_id.as_str(), "t-1");
    assert_eq!(
        (record.status, record.phase),
        (Status::Pending, Phase::Queued)
    );
    assert_eq!(record.logs_path, "gs://b/sessions/t-1/");
    assert_eq!(record.encrypted_payload_path, "tasks/t-1/payload.enc");
    assert_eq!(
        record.callback_url.as_deref(),
        Some("https://example.com/hook?token=t")
    );
    assert_eq!(
        Value::Object(record.effective.clone()),
        json!({ "permissionMode": "default", "maxTurns": 6, "timeoutMinutes": 55 })
    );
    assert_eq!(record.plugin_set, "r1");
    assert!(record.detach && record.warnings[0].starts_with("useNamedPipe"));
    assert_eq!(admitted.decisions.len(), 1);
    assert!(!serde_json::to_string(record).unwrap().contains("s3cr3t"));
    assert!(!format!("{admitted:?}").contains("s3cr3t"));

    let payload = payload(&admitted);
    assert_eq!(
        (payload.plugin_set.as_str(), payload.created_at),
        ("r1", record.created_at)
    );
    assert_eq!(payload.request["environmentSecrets"]["T"], "s3cr3t-2");
    assert_eq!(
        Request::from_admitted(&payload.request).unwrap().max_turns,
        6
    );
}

#[tokio::test]
async fn ids_are_fresh_where_none_is_given_and_tell_the_endpoint() {
    let sync = admit(json!({}), Mode::Sync, &Scripted::default())
        .await
        .unwrap()
        .record;
    assert!(sync.task_id.as_str().starts_with("sync-") && !sync.detach);
    let first = admit(json!({}), Mode::Async, &Scripted::default())
        .await
        .unwrap()
        .record;
    let second = admit(json!({}), Mode::Async, &Scripted::default())
        .await
        .unwrap()
        .record;
    assert!(!first.task_id.as_str().starts_with("sync-"));
    assert_ne!(first.task_id, second.task_id);
}

#[tokio::test]
async fn an_amendment_is_what_the_next_validator_and_the_job_see() {
    let plugins = scripted([
        Validation::Amend(json!({ "maxTurns": 3, "model": "haiku", "metadata": { "team": "a" } })),
        Validation::Amend(json!({ "model": null, "metadata": { "by": "b" } })),
    ]);
    let admitted = admit(json!({ "metadata": { "ticket": 1 } }), Mode::Sync, &plugins)
        .await
        .unwrap();
    assert_eq!(plugins.seen.lock().unwrap()[1]["maxTurns"], 3);
    assert_eq!(
        Value::Object(admitted.record.effective.clone()),
        json!({ "permissionMode": "default", "maxTurns": 3, "timeoutMinutes": 55 })
    );
    assert_eq!(
        payload(&admitted).request["metadata"],
        json!({ "ticket": 1, "team": "a", "by": "b" })
    );
    assert_eq!(payload(&admitted).request["anthropicApiKey"], "s3cr3t");
}

#[tokio::test]
async fn an_amendment_that_breaks_the_schema_or_touches_what_is_the_callers_is_our_fault() {
    for patch in [
        json!({ "maxTurns": 100_000 }),
        json!({ "unknown": 1 }),
        json!({ "prompt": null }),
        json!({ "gitRepo": "file:///etc" }),
        json!({ "gitLfs": "yes" }),
        json!({ "anthropicApiKey": "k2" }),
        json!({ "environmentSecrets": { "A": "1" } }),
        json!({ "sshKey": null }),
        json!({ "taskId": "t-2" }),
        json!({ "callbackUrl": "https://evil.example/" }),
        json!(["no object"]),
        json!(null),
    ] {
        let plugins = scripted([Validation::Amend(patch.clone())]);
        let refusal = admit(json!({}), Mode::Async, &plugins).await.unwrap_err();
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (503, "validator-amendment-invalid"),
            "{patch}"
        );
        assert!(
            refusal
                .detail
                .unwrap()
                .starts_with("validator `validator-0`")
        );
    }
}

#[tokio::test]
async fn a_rejection_reaches_the_caller_in_the_validators_words_and_ends_the_round() {
    let rejection = Rejection {
        code: "repo-not-allowed".into(),
        message: "only our repositories".into(),
        field: Some("gitRepo".into()),
        details: Some(json!({ "see": "handbook" })),
    };
    let plugins = scripted([Validation::Reject(rejection.clone()), Validation::Accept]);
    let refusal = admit(json!({}), Mode::Sync, &plugins).await.unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (403, "repo-not-allowed")
    );
    assert_eq!(
        (refusal.message.as_str(), refusal.field.as_deref()),
        ("only our repositories", Some("gitRepo"))
    );
    assert_eq!(refusal.details, Some(json!({ "see": "handbook" })));
    assert_eq!(plugins.seen.lock().unwrap().len(), 1);

    let loud = Rejection {
        code: "No such\ncode".into(),
        message: "é".repeat(10_000),
        ..rejection.clone()
    };
    let refusal = admit(json!({}), Mode::Sync, &scripted([Validation::Reject(loud)]))
        .await
        .unwrap_err();
    assert_eq!(refusal.code, "rejected-by-policy");
    assert!(refusal.message.len() <= LONGEST_WORDS);

    let faulty = Scripted {
        fault: true,
        ..scripted([Validation::Reject(rejection)])
    };
    assert_eq!(
        admit(json!({}), Mode::Sync, &faulty)
            .await
            .unwrap_err()
            .status,
        503
    );
}

#[tokio::test]
async fn options_of_actions_are_judged_by_their_plugins_before_anything_starts() {
    let outcome = async |actions: Value, options: Option<OptionsRefused>| {
        let plugins = Scripted {
            options,
            ..Scripted::default()
        };
        let refusal = admit(
            json!({ "postExecutionActions": actions }),
            Mode::Sync,
            &plugins,
        )
        .await
        .unwrap_err();
        (
            refusal.status,
            refusal.code,
            refusal.field.unwrap(),
            refusal.message,
        )
    };
    let (status, code, field, message) = outcome(json!({ "uploadFile": {} }), None).await;
    assert_eq!(
        (status, code.as_str(), field.as_str()),
        (400, "unknown-field", "postExecutionActions.uploadFile")
    );
    assert!(message.ends_with("there are: uploadFiles"), "{message}");

    let (status, code, field, _) = outcome(json!({ "git": { "commit": true } }), None).await;
    assert_eq!(
        (status, code.as_str(), field.as_str()),
        (400, "unknown-field", "postExecutionActions.git")
    );

    let bad = Some(OptionsRefused::Bad("globPatterns is missing".into()));
    let (status, code, field, message) = outcome(json!({ "uploadFiles": {} }), bad).await;
    assert_eq!(
        (status, code.as_str(), field.as_str()),
        (400, "invalid-value", "postExecutionActions.uploadFiles")
    );
    assert!(message.contains("globPatterns is missing"));

    let fault = Some(OptionsRefused::Fault("trapped".into()));
    let (status, code, _, message) = outcome(json!({ "uploadFiles": {} }), fault).await;
    assert_eq!((status, code.as_str()), (503, "plugin-unavailable"));
    assert!(!message.contains("trapped"));
}

#[tokio::test]
async fn when_is_the_hosts_and_its_plugin_never_sees_it() {
    let plugins = Scripted::default();
    let actions = json!({ "uploadFiles": { "when": "failure", "globPatterns": ["a"] } });
    let fields = json!({ "postExecutionActions": actions });
    let admitted = admit(fields, Mode::Sync, &plugins).await.unwrap();
    let seen = plugins.options_seen.lock().unwrap().clone();
    assert_eq!(seen, [json!({ "globPatterns": ["a"] })]);
    // The job reads the same from what was sealed.
    let request = Request::from_admitted(&payload(&admitted).request).unwrap();
    let action = &request.post_execution_actions[0];
    assert_eq!(action.when, ActionWhen::Failure);
    assert_eq!(action.options, json!({ "globPatterns": ["a"] }));

    for when in [json!("sometimes"), json!(true), json!("Success")] {
        let fields = json!({ "postExecutionActions": { "uploadFiles": { "when": when } } });
        let refusal = admit(fields, Mode::Sync, &plugins).await.unwrap_err();
        assert_eq!(refusal.code, "invalid-value");
        let field = refusal.field.unwrap();
        assert_eq!(field, "postExecutionActions.uploadFiles.when");
        assert!(refusal.message.contains("success, failure, always"));
    }
}

#[tokio::test]
async fn an_action_that_needs_a_repository_or_is_the_operators_is_refused_by_name() {
    let action = |needs_repository, standing| Scripted {
        actions: vec![Action {
            plugin: "upload-files".into(),
            needs_repository,
            commits: needs_repository,
            required: false,
            standing,
        }],
        ..Scripted::default()
    };
    let fields = json!({ "postExecutionActions": { "uploadFiles": {} } });
    let refusal = admit(fields.clone(), Mode::Sync, &action(true, None))
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (400, "required"),
        "{refusal:?}"
    );
    let (field, words) = (refusal.field.unwrap(), refusal.message);
    assert_eq!(field, "postExecutionActions.uploadFiles");
    assert_eq!(words, "postExecutionActions.uploadFiles needs gitRepo");

    let standing = StandingAction {
        when: ActionWhen::Always,
        options: json!({}),
    };
    let refusal = admit(fields, Mode::Sync, &action(false, Some(standing)))
        .await
        .unwrap_err();
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (400, "invalid-value")
    );
    assert!(refusal.message.contains("for every task"));
}
