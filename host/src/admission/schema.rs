//! Every field of a request: name, kind, bounds, default. `docs/reference/request.md` tells their
//! meaning, and a test keeps the two together.

use serde_json::Value;

use super::{Refusal, forms, nested};
use crate::config::Task;
use crate::task::Mode;

/// One argument of a program may be 128 KiB long on Linux; texts that become one stay well below.
pub(super) const ARGUMENT: usize = 100_000;

/// One field of the request's body.
pub(super) struct Field {
    /// By its API name.
    pub(super) name: &'static str,
    /// What it may hold.
    pub(super) kind: Kind,
    /// Its value is a secret: no plugin sees it, no amendment touches it.
    pub(super) secret: bool,
    /// The caller's alone: no amendment touches it.
    pub(super) fixed: bool,
    /// Shown in the record as it applies.
    pub(super) shown: bool,
    /// The only endpoint that takes it, and what the other says.
    pub(super) only: Option<(Mode, &'static str)>,
    /// What a request gets that does not say.
    pub(super) default: Option<fn(&Task) -> Option<Value>>,
}

/// What a field may hold.
pub(super) enum Kind {
    /// Text of so many bytes and this form. Empty text counts as absent.
    Text(usize, forms::Form),
    /// One of these words. Empty text counts as absent.
    Choice(&'static [&'static str]),
    /// True or false.
    Truth,
    /// A whole number from 1 to the ceiling.
    Whole(fn(&Task) -> u32),
    /// An amount of money above zero.
    Amount(f64),
    /// So many texts, each of so many bytes and this form.
    Texts(usize, usize, forms::Form),
    /// An object, with what it must look like.
    Object(fn(&str, &Value) -> Result<(), Refusal>),
}

pub(super) static FIELDS: [Field; 38] = [
    field("prompt", Kind::Text(1_000_000, forms::prompt)),
    field("anthropicApiKey", Kind::Text(4096, forms::token)).secret(),
    field("anthropicOAuthToken", Kind::Text(4096, forms::token)).secret(),
    field("systemPrompt", Kind::Text(ARGUMENT, forms::prose)),
    field("appendSystemPrompt", Kind::Text(ARGUMENT, forms::prose)),
    // Together they become one argument.
    field("allowedTools", Kind::Texts(200, 500, forms::tool))
        .shown()
        .default(|task| {
            let configured = &task.allowed_tools;
            (!configured.is_empty()).then(|| configured.as_slice().into())
        }),
    field("disallowedTools", Kind::Texts(200, 500, forms::tool)).shown(),
    field(
        "permissionMode",
        Kind::Choice(&[
            "default",
            "acceptEdits",
            "plan",
            "dontAsk",
            "bypassPermissions",
        ]),
    )
    .shown()
    .default(|task| Some(task.permission_mode.as_str().into())),
    field("maxTurns", Kind::Whole(|task| task.max_turns_limit))
        .shown()
        .default(|task| Some(task.max_turns.into())),
    field(
        "timeoutMinutes",
        Kind::Whole(|task| task.timeout_minutes_limit),
    )
    .shown()
    .default(|task| Some(task.timeout_minutes.into())),
    field("maxBudgetUsd", Kind::Amount(1_000_000.0)).shown(),
    field("model", Kind::Text(128, forms::model))
        .shown()
        .default(|task| task.model.clone().map(Value::from)),
    field("fallbackModel", Kind::Text(128, forms::model)).shown(),
    field("cwdRelative", Kind::Text(1024, forms::relative_path)).shown(),
    field(
        "preExecutionCommands",
        Kind::Texts(50, 8 << 10, forms::prose),
    ),
    field("postExecutionActions", Kind::Object(nested::actions)),
    field("environmentSecrets", Kind::Object(nested::environment)).secret(),
    field("metadata", Kind::Object(nested::metadata)),
    field("mcpConfig", Kind::Object(nested::mcp_config)),
    field(
        "requiredMcpServers",
        Kind::Texts(64, 64, forms::server_name),
    ),
    field("subagents", Kind::Object(nested::subagents)),
    field("slashCommands", Kind::Object(nested::slash_commands)),
    field("gitRepo", Kind::Text(2048, forms::repository)).shown(),
    field("gitBranch", Kind::Text(255, forms::branch)).shown(),
    field("gitDepth", Kind::Whole(|_| 10_000)).shown(),
    field("gitSubmodules", Kind::Truth).shown(),
    field("gitLfs", Kind::Truth).shown(),
    field("sshKey", Kind::Text(16 << 10, forms::private_key)).secret(),
    field("gitToken", Kind::Text(4096, forms::token)).secret(),
    field("gitAccess", Kind::Choice(&["agent", "none"])).shown(),
    field("repoConfig", Kind::Choice(&["none", "memory", "full"])).shown(),
    field("envFile", Kind::Choice(&["outside", "workspace", "none"])).shown(),
    field("outputSchema", Kind::Object(nested::output_schema)),
    field("labels", Kind::Object(nested::labels)),
    field("callbackUrl", Kind::Text(2048, forms::callback_url))
        .fixed()
        .only(
            Mode::Async,
            "is only for /run-async: /run answers with the events and the report itself",
        ),
    field("taskId", Kind::Text(128, forms::task_id))
        .fixed()
        .only(
            Mode::Async,
            "is only for /run-async: /run makes its own and sends it as X-Task-Id",
        ),
    field("detach", Kind::Truth),
    field("useNamedPipe", Kind::Truth),
];

const fn field(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        secret: false,
        fixed: false,
        shown: false,
        only: None,
        default: None,
    }
}

impl Field {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn fixed(mut self) -> Self {
        self.fixed = true;
        self
    }

    const fn shown(mut self) -> Self {
        self.shown = true;
        self
    }

    const fn only(mut self, mode: Mode, sentence: &'static str) -> Self {
        self.only = Some((mode, sentence));
        self
    }

    const fn default(mut self, default: fn(&Task) -> Option<Value>) -> Self {
        self.default = Some(default);
        self
    }

    /// Null says nothing, and neither does empty text: callers leave fields out in all three ways.
    pub(super) fn is_absent(&self, value: &Value) -> bool {
        let text = matches!(self.kind, Kind::Text(..) | Kind::Choice(_));
        value.is_null() || (text && value.as_str() == Some(""))
    }

    /// Type, range and form.
    pub(super) fn check(&self, value: &Value, task: &Task) -> Result<(), Refusal> {
        match &self.kind {
            Kind::Text(bytes, form) => text(self.name, value, *bytes, *form),
            Kind::Choice(words) => {
                let word = value
                    .as_str()
                    .ok_or_else(|| Refusal::wrong_type(self.name, "text"))?;
                let known = words.contains(&word);
                known.then_some(()).ok_or_else(|| {
                    Refusal::invalid(self.name, format!("must be one of {}", words.join(", ")))
                })
            }
            Kind::Truth => value
                .as_bool()
                .map(|_| ())
                .ok_or_else(|| Refusal::wrong_type(self.name, "true or false")),
            Kind::Whole(ceiling) => whole(self.name, value, ceiling(task)),
            Kind::Amount(ceiling) => {
                let amount = value
                    .as_f64()
                    .ok_or_else(|| Refusal::wrong_type(self.name, "a number"))?;
                let within = amount > 0.0 && amount <= *ceiling;
                within.then_some(()).ok_or_else(|| {
                    Refusal::out_of_range(
                        self.name,
                        format!("must be above 0 and at most {ceiling}"),
                    )
                })
            }
            Kind::Texts(items, bytes, form) => texts(self.name, value, *items, *bytes, *form),
            Kind::Object(check) => check(self.name, value),
        }
    }
}

/// The field of this name.
pub(super) fn find(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|field| field.name == name)
}

/// Whether a setting would do as the request's field `name`; else what was expected.
pub(crate) fn acceptable(name: &str, value: &Value) -> Result<(), String> {
    let outcome = match find(name).map(|field| &field.kind) {
        Some(Kind::Text(bytes, form)) => text(name, value, *bytes, *form),
        Some(Kind::Texts(items, bytes, form)) => texts(name, value, *items, *bytes, *form),
        _ => Ok(()),
    };
    outcome.map_err(|refusal| refusal.message)
}

/// Text within a bound and of a form; empty text is up to the form.
pub(super) fn text(
    path: &str,
    value: &Value,
    most_bytes: usize,
    form: forms::Form,
) -> Result<(), Refusal> {
    let text = value
        .as_str()
        .ok_or_else(|| Refusal::wrong_type(path, "text"))?;
    if text.len() > most_bytes {
        return Err(Refusal::out_of_range(
            path,
            format!("must be at most {most_bytes} bytes long"),
        ));
    }
    form(text).map_err(|sentence| Refusal::invalid(path, sentence))
}

fn texts(
    path: &str,
    value: &Value,
    most: usize,
    most_bytes: usize,
    form: forms::Form,
) -> Result<(), Refusal> {
    let items = value
        .as_array()
        .ok_or_else(|| Refusal::wrong_type(path, "a list of texts"))?;
    if items.len() > most {
        return Err(Refusal::out_of_range(
            path,
            format!("must have at most {most} entries"),
        ));
    }
    items.iter().enumerate().try_for_each(|(index, item)| {
        let path = format!("{path}[{index}]");
        if item.as_str() == Some("") {
            return Err(Refusal::invalid(&path, "must not be empty"));
        }
        text(&path, item, most_bytes, form)
    })
}

fn whole(path: &str, value: &Value, ceiling: u32) -> Result<(), Refusal> {
    let expected = format!("must be a whole number from 1 to {ceiling}");
    match value.as_u64() {
        Some(number) if (1..=u64::from(ceiling)).contains(&number) => Ok(()),
        Some(_) => Err(Refusal::out_of_range(path, expected)),
        None if value.is_i64() => Err(Refusal::out_of_range(path, expected)),
        None => Err(Refusal::at(
            "wrong-type",
            path,
            format!("{expected}, without fraction or exponent"),
        )),
    }
}
