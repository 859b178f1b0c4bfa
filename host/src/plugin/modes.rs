//! Whether a plugin's word counts, and for which tasks it is another way.

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TaskView;
use crate::git::RepositoryUrl;

/// Exceptions of one plugin, and bytes of one pattern.
const MOST: usize = 32;
const PATTERN: usize = 256;

/// Whether a plugin's word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// It counts.
    #[default]
    Enforce,
    /// It runs and is logged, and changes nothing.
    Monitor,
    /// It is loaded and not asked.
    Off,
}

impl Enforcement {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Monitor => "monitor",
            Self::Off => "off",
        }
    }
}

/// Another mode for some tasks: those for which everything holds that is said. Patterns are globs, in
/// which `*` stands for any characters, `/` included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeFor {
    /// What holds for them.
    pub mode: Enforcement,
    /// Who called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The repository as `host/path`, whatever it is reached by: no scheme, no user, no `.git`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// A label as `name=value`; the name is exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The model; of a task that names none, the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// [`ModeFor`]s in order, ready to be asked.
#[derive(Debug, Default)]
pub(super) struct Modes {
    exceptions: Vec<Exception>,
}

#[derive(Debug)]
struct Exception {
    mode: Enforcement,
    caller: Option<GlobMatcher>,
    repository: Option<GlobMatcher>,
    label: Option<(String, GlobMatcher)>,
    model: Option<GlobMatcher>,
}

impl Modes {
    /// # Errors
    /// What was expected, for the operator.
    pub(super) fn read(texts: &[ModeFor]) -> Result<Self, String> {
        if texts.len() > MOST {
            return Err(format!("a plugin has at most {MOST} modes for some tasks"));
        }
        let exceptions = texts
            .iter()
            .map(Exception::read)
            .collect::<Result<_, _>>()?;
        Ok(Self { exceptions })
    }

    /// The mode of the first exception that is meant for this task.
    pub(super) fn of(&self, task: &TaskView) -> Option<Enforcement> {
        let meant = |exception: &&Exception| exception.means(task);
        self.exceptions.iter().find(meant).map(|found| found.mode)
    }

    /// Whether some task sees a mode other than `off`.
    pub(super) fn ever_on(&self) -> bool {
        let on = |exception: &Exception| exception.mode != Enforcement::Off;
        self.exceptions.iter().any(on)
    }
}

impl Exception {
    fn read(text: &ModeFor) -> Result<Self, String> {
        let ModeFor {
            mode,
            caller,
            repository,
            label,
            model,
        } = text;
        if [caller, repository, label, model]
            .iter()
            .all(|it| it.is_none())
        {
            return Err(
                "modes: say for which tasks by caller, repository, label or model; for all of them the \
                 plugin's own `mode` holds"
                    .to_owned(),
            );
        }
        let label = match label.as_deref().map(|label| label.split_once('=')) {
            None => None,
            Some(Some((name, value))) if !name.is_empty() => {
                Some((name.to_owned(), pattern("label", value)?))
            }
            Some(_) => {
                return Err(
                    "modes: label is to be `name=value`, such as `team=payments`".to_owned(),
                );
            }
        };
        let read = |key: &str, text: &Option<String>| {
            text.as_deref().map(|text| pattern(key, text)).transpose()
        };
        if repository.as_deref().is_some_and(|it| it.contains("://")) {
            return Err(
                "modes: repository is to be `host/path` without a scheme, such as `github.com/acme/*`"
                    .to_owned(),
            );
        }
        Ok(Self {
            mode: *mode,
            caller: read("caller", caller)?,
            repository: read("repository", repository)?,
            label,
            model: read("model", model)?,
        })
    }

    fn means(&self, task: &TaskView) -> bool {
        let field = |name: &str| task.request.get(name).and_then(Value::as_str);
        let fits = |wanted: &Option<GlobMatcher>, text: &dyn Fn() -> Option<String>| {
            wanted
                .as_ref()
                .is_none_or(|wanted| text().is_some_and(|text| wanted.is_match(text)))
        };
        let label = || {
            let Some((name, value)) = &self.label else {
                return true;
            };
            let labels = task.request.get("labels");
            let label = labels
                .and_then(|labels| labels.get(name))
                .and_then(Value::as_str);
            label.is_some_and(|label| value.is_match(label))
        };
        fits(&self.caller, &|| Some(task.caller.clone()))
            && fits(&self.repository, &|| field("gitRepo").and_then(place))
            && label()
            && fits(&self.model, &|| {
                Some(field("model").unwrap_or_default().to_owned())
            })
    }
}

/// `host/path` of a repository, so that a pattern holds for whatever a caller reaches it by.
fn place(repository: &str) -> Option<String> {
    let url = RepositoryUrl::parse(repository).ok()?;
    let path = url.path_at_server().trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some(format!("{}/{path}", url.host))
}

fn pattern(key: &str, text: &str) -> Result<GlobMatcher, String> {
    if text.len() > PATTERN {
        return Err(format!("modes: {key} is longer than {PATTERN} bytes"));
    }
    let glob = GlobBuilder::new(text).backslash_escape(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("modes: {key} is no pattern: {}", error.kind()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::task::Mode;

    fn task(caller: &str, request: Value) -> TaskView {
        let request = request.as_object().unwrap();
        let at = jiff::Timestamp::UNIX_EPOCH;
        TaskView::new("t".parse().unwrap(), Mode::Sync, caller, at, request)
    }

    fn modes(texts: Value) -> Result<Modes, String> {
        Modes::read(&serde_json::from_value::<Vec<ModeFor>>(texts).unwrap())
    }

    #[test]
    fn the_first_that_is_meant_for_the_task_holds() {
        let modes = modes(json!([
            {"mode": "off", "caller": "ci-*", "model": "haiku*"},
            {"mode": "monitor", "caller": "ci-*"},
        ]))
        .unwrap();
        let mode = |caller: &str, model: &str| modes.of(&task(caller, json!({"model": model})));
        assert_eq!(mode("ci-7", "haiku-4"), Some(Enforcement::Off));
        assert_eq!(mode("ci-7", "opus"), Some(Enforcement::Monitor));
        assert_eq!(mode("ops", "haiku-4"), None);
        assert!(modes.ever_on());
    }

    #[test]
    fn a_repository_is_the_same_by_every_way_to_it() {
        let modes = modes(json!([{"mode": "off", "repository": "git.example/acme/*"}])).unwrap();
        let meant = |repository: &str| {
            modes
                .of(&task("c", json!({"gitRepo": repository})))
                .is_some()
        };
        for repository in [
            "https://git.example/acme/app.git",
            "ssh://git@git.example/acme/app.git",
            "git@git.example:acme/app.git",
            "https://GIT.example/acme/deep/app",
        ] {
            assert!(meant(repository), "{repository}");
        }
        for repository in [
            "https://git.example/other/app",
            "https://git.example/acme/../other/app",
            "https://other.example/git.example/acme/app",
            "https://git.example.evil/acme/app",
        ] {
            assert!(!meant(repository), "{repository}");
        }
        assert_eq!(modes.of(&task("c", json!({}))), None);
    }

    #[test]
    fn a_label_has_to_be_there() {
        let modes = modes(json!([{"mode": "monitor", "label": "team=pay*"}])).unwrap();
        let meant = |labels: Value| modes.of(&task("c", json!({"labels": labels}))).is_some();
        assert!(meant(json!({"team": "payments"})));
        assert!(!meant(json!({"team": "ops"})));
        assert!(!meant(json!({"squad": "payments"})));
        assert!(!meant(json!({})));
    }

    #[test]
    fn what_means_every_task_or_none_is_a_mistake() {
        for (text, expected) in [
            (json!({"mode": "off"}), "say for which tasks"),
            (json!({"mode": "off", "label": "team"}), "name=value"),
            (json!({"mode": "off", "label": "=x"}), "name=value"),
            (json!({"mode": "off", "caller": "[a"}), "no pattern"),
            (
                json!({"mode": "off", "repository": "https://a/b"}),
                "without a scheme",
            ),
            (json!({"mode": "off", "caller": "a".repeat(257)}), "longer"),
        ] {
            let error = modes(json!([text])).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
