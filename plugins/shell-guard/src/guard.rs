//! The rules, in the order in which they are asked.

use serde::Deserialize;
use shell::{Context, Deed, Event, Origin, Place, Text, Unreadable, base_name, events, resolve};

use crate::{Settings, credentials, git, writes};

/// Programs that act with another user's rights.
const PRIVILEGED: [&str; 9] = [
    "sudo", "sudoedit", "su", "doas", "pkexec", "runuser", "run0", "gosu", "su-exec",
];
/// Places that are written to without anything being kept.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/stdout",
    "/dev/stderr",
    "/dev/tty",
    "/dev/zero",
    "/dev/full",
];

/// One tool call, as the host tells it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Call {
    /// `Bash`, …
    pub tool: String,
    /// A JSON object, as text.
    pub input: String,
    /// Root of the workspace.
    pub workspace: String,
    /// Where the shell starts.
    pub cwd: String,
}

/// Why a call is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule, for the operator.
    pub cited: String,
    /// What to do instead, for the agent.
    pub reason: String,
}

impl Denial {
    fn new(rule: &str, what: &str, reason: String) -> Self {
        let what: String = what.chars().take(80).collect();
        Self {
            cited: format!("{rule} {what}").trim_end().to_owned(),
            reason,
        }
    }
}

/// Decides on one call; none where no rule is about it.
pub fn decide(settings: &Settings, call: &Call) -> Option<Denial> {
    if !settings.judges(&call.tool) {
        return None;
    }
    let input: serde_json::Value = serde_json::from_str(&call.input).unwrap_or_default();
    let Some(line) = input.get("command").and_then(serde_json::Value::as_str) else {
        // Without a command there is nothing to run: what stops or asks for output has none.
        let harmless = input.get("command").is_none() && input.is_object();
        return (!harmless).then(|| {
            let reason = "the command must be a text".to_owned();
            Denial::new("unreadable", "", reason)
        });
    };
    let context = Context {
        workspace: &call.workspace,
        cwd: &call.cwd,
    };
    match events(line, context) {
        Err(Unreadable(why)) => {
            let reason = format!(
                "the command line cannot be read with certainty: {why}. Write it more plainly, or as several commands"
            );
            Some(Denial::new("unreadable", why, reason))
        }
        Ok(events) => events
            .iter()
            .find_map(|event| judge(settings, &call.workspace, event)),
    }
}

fn judge(settings: &Settings, workspace: &str, event: &Event) -> Option<Denial> {
    match &event.deed {
        Deed::Script { by, origin } => script(settings, by, *origin),
        Deed::Write(target) => written(settings, workspace, event, "a redirection", target),
        Deed::Read(source) => {
            if settings.download_and_run && is_network(source) {
                let reason =
                    "bash's own network files are not used here; use curl to fetch something"
                        .to_owned();
                return Some(Denial::new("download_and_run", "/dev/tcp", reason));
            }
            credential(settings, event, source)
        }
        Deed::Run(argv) => run(settings, workspace, event, argv),
    }
}

fn script(settings: &Settings, by: &str, origin: Origin) -> Option<Denial> {
    if origin == Origin::Download {
        return settings.download_and_run.then(|| {
            let reason = format!(
                "{by} would run what the command line downloads. Save it to a file in the workspace, read it, and run it with a second command once you know what it does"
            );
            Denial::new("download_and_run", by, reason)
        });
    }
    settings.opaque_scripts.then(|| {
        let reason = format!(
            "{by} would run a text that is put together while it runs, so nobody can tell what it does. Write the command out, or write it to a script in the workspace and run that by its name"
        );
        Denial::new("opaque_scripts", by, reason)
    })
}

fn run(settings: &Settings, workspace: &str, event: &Event, argv: &[Text]) -> Option<Denial> {
    let (first, arguments) = argv.split_first()?;
    let Some(name) = first.known().map(base_name) else {
        return settings.unknown_commands.then(|| {
            let reason = format!(
                "the shell makes up the name of the command {first}, so nobody can tell what it runs. Write the name out"
            );
            Denial::new("unknown_commands", &first.to_string(), reason)
        });
    };
    if settings.privileges && PRIVILEGED.contains(&name) {
        let reason = format!(
            "{name} is not to be used here: the task has all the rights that it gets. Install what you need in the workspace or for the own user, or say in your answer what is missing"
        );
        return Some(Denial::new("privileges", name, reason));
    }
    for target in writes::of(name, arguments) {
        let denial = written(settings, workspace, event, name, &target);
        if denial.is_some() {
            return denial;
        }
    }
    if settings.credentials && credentials::looks_into(name) {
        let named = credentials::named(name, arguments);
        let denial = named
            .iter()
            .find_map(|path| credential(settings, event, path));
        if denial.is_some() {
            return denial;
        }
    }
    if settings.env_dump && dumps_environment(name, arguments) {
        let reason = format!(
            "{name} would print the whole environment, secrets among it. Ask for the one variable that you need: echo \"$NAME\""
        );
        return Some(Denial::new("env_dump", name, reason));
    }
    if settings.destructive_git
        && name == "git"
        && let Some(what) = git::destroys(arguments)
    {
        let reason = format!(
            "git {what} destroys what cannot be brought back. Commit on top of what is there, or push to a new branch"
        );
        return Some(Denial::new("destructive_git", what, reason));
    }
    None
}

fn is_network(path: &Text) -> bool {
    path.start().starts_with("/dev/tcp/") || path.start().starts_with("/dev/udp/")
}

fn written(
    settings: &Settings,
    workspace: &str,
    event: &Event,
    by: &str,
    target: &Text,
) -> Option<Denial> {
    if settings.download_and_run && is_network(target) {
        let reason =
            "bash's own network files are not used here; use curl to send something".to_owned();
        return Some(Denial::new("download_and_run", "/dev/tcp", reason));
    }
    let device = target.known().is_some_and(|path| DEVICES.contains(&path));
    if !settings.confine_writes || device || target.start().starts_with("/dev/fd/") {
        return None;
    }
    let mut unknown = target.has_unknown();
    for cwd in &event.cwds {
        match resolve(target, cwd) {
            Place::Unknown => unknown = true,
            place if place.is_below(workspace) => {}
            place
                if settings
                    .writable
                    .iter()
                    .any(|directory| place.is_below(directory)) => {}
            _ => {
                let mut reason = format!(
                    "{by} would write to {target}, outside the workspace. Write below {workspace} instead, for temporary files too"
                );
                if event.cwds.len() > 1 {
                    reason.push_str(
                        ". Where `cd` fails, the shell stands somewhere else; write `cd DIR && …` for what must run there only",
                    );
                }
                return Some(Denial::new(
                    "confine_writes",
                    &format!("{by} {target}"),
                    reason,
                ));
            }
        }
    }
    (unknown && settings.unknown_targets).then(|| {
        let reason = format!(
            "{by} would write to {target}, and nobody can tell where that is. Write the path out, relative to the workspace"
        );
        Denial::new("unknown_targets", &format!("{by} {target}"), reason)
    })
}

fn credential(settings: &Settings, event: &Event, path: &Text) -> Option<Denial> {
    if !settings.credentials {
        return None;
    }
    let file = event
        .cwds
        .iter()
        .find_map(|cwd| credentials::matched(&resolve(path, cwd), &settings.credential_files))?;
    let reason = format!(
        "{path} may hold credentials ({file}), which are not for the agent. What the task needs is in its environment or in the repository; say in your answer what is missing"
    );
    Some(Denial::new("credentials", &file, reason))
}

fn dumps_environment(name: &str, arguments: &[Text]) -> bool {
    let plain = |text: &Text| text.known().unwrap_or_default().to_owned();
    match name {
        "printenv" => arguments
            .iter()
            .all(|argument| argument.start().starts_with('-')),
        // With a command it prints nothing; assignments alone do not make one.
        "env" => arguments
            .iter()
            .all(|argument| argument.start().starts_with('-') || argument.start().contains('=')),
        "set" => arguments.is_empty(),
        "export" | "declare" | "typeset" => {
            arguments.is_empty()
                || arguments
                    .iter()
                    .all(|a| matches!(plain(a).as_str(), "-p" | "-x" | "-px" | "-xp"))
        }
        "compgen" => arguments
            .iter()
            .any(|a| plain(a) == "-e" || plain(a) == "-v"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::SCHEMA;
    use serde_json::json;

    #[test]
    fn every_case_folder_comes_out_as_expected() {
        let result = cases::run(env!("CARGO_MANIFEST_DIR"), 60, |case| {
            let call = case.read("call")?;
            // Folders state the input as JSON and leave out what most of them share.
            let text =
                |name: &str, otherwise: &str| call[name].as_str().unwrap_or(otherwise).to_owned();
            let call = Call {
                tool: text("tool", "Bash"),
                input: call["input"].to_string(),
                workspace: text("workspace", "/work/task"),
                cwd: text("cwd", "/work/task"),
            };
            let settings = case.read("settings")?.to_string();
            if let Err(error) = Settings::check(&settings) {
                return Ok(json!({ "settingsError": error }));
            }
            Ok(match decide(&Settings::read(&settings)?, &call) {
                None => json!({ "decision": "abstain" }),
                Some(Denial { cited, reason }) => {
                    json!({ "decision": "deny", "cited": cited, "reason": reason })
                }
            })
        });
        assert_eq!(result, Ok(()));
    }

    #[test]
    fn the_schema_s_defaults_are_the_settings_defaults() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let defaults = schema["properties"].as_object().unwrap();
        let defaults: serde_json::Map<_, _> = defaults
            .iter()
            .map(|(name, member)| (name.clone(), member["default"].clone()))
            .collect();
        let read: Settings = serde_json::from_value(defaults.into()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
    }
}
