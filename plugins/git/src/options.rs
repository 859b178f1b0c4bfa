//! What the caller writes under `postExecutionActions.git`.

use options::{Members, Template, branch};

use crate::Settings;

const KNOWN: [&str; 6] = [
    "commit",
    "commitMessage",
    "push",
    "branch",
    "files",
    "conflictStrategy",
];
const MAX_MESSAGE_BYTES: usize = 64 << 10;
const MAX_BRANCH_BYTES: usize = 255;
const MAX_FILES: usize = 1000;
const MAX_FILE_BYTES: usize = 4096;

/// What to do where the remote branch has commits that ours lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The agent's commits on top, its changes winning; a new branch where that cannot be.
    Auto,
    /// A failure.
    Fail,
}

/// Options that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) commit: bool,
    pub(crate) message: Option<Template>,
    pub(crate) push: bool,
    pub(crate) branch: Option<Template>,
    pub(crate) files: Option<Vec<String>>,
    pub(crate) on_conflict: Conflict,
}

impl Options {
    /// Reads and checks options.
    ///
    /// # Errors
    /// A sentence for the caller that names the member and what was expected.
    pub fn read(text: &str, settings: &Settings) -> Result<Self, String> {
        let members = Members::read(text, &KNOWN)?;
        let on_conflict = match members.text("conflictStrategy", 16)? {
            None | Some("auto") => Conflict::Auto,
            Some("fail") => Conflict::Fail,
            Some(_) => return Err("conflictStrategy: expected auto or fail".to_owned()),
        };
        Ok(Self {
            commit: members.truth("commit")?,
            message: members
                .text("commitMessage", MAX_MESSAGE_BYTES)?
                .filter(|text| !text.trim().is_empty())
                .map(Template::new),
            push: members.truth("push")?,
            branch: named_branch(&members, settings)?,
            files: members.texts("files", MAX_FILES, MAX_FILE_BYTES)?,
            on_conflict,
        })
    }
}

fn named_branch(members: &Members, settings: &Settings) -> Result<Option<Template>, String> {
    let Some(text) = members.text("branch", MAX_BRANCH_BYTES)? else {
        return Ok(None);
    };
    let template = Template::strict(text).map_err(|sentence| format!("branch: {sentence}"))?;
    let sample = template.sample();
    branch::check(&sample).map_err(|sentence| format!("branch: {sentence}"))?;
    if template.is_plain() && settings.protecting(&sample).is_some() {
        return Err(PROTECTED.to_owned());
    }
    Ok(Some(template))
}

pub(crate) const PROTECTED: &str = "branch: is protected here and never pushed to; name another, or none, and a new branch is pushed";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn texts_and_lists_end_at_their_documented_bounds() {
        let taken = |options: Value| {
            let settings = Settings::read("{}")?;
            Options::read(&options.to_string(), &settings).map(|_| ())
        };
        let x = |length: usize| "x".repeat(length);
        for (name, at, above) in [
            (
                "commitMessage",
                json!(x(64 << 10)),
                json!(x((64 << 10) + 1)),
            ),
            ("branch", json!(x(244)), json!(x(245))),
            ("files", json!(vec!["a"; 1000]), json!(vec!["a"; 1001])),
            ("files", json!([x(4096)]), json!([x(4097)])),
        ] {
            assert_eq!(taken(json!({ name: at })), Ok(()), "{name}");
            let refused = taken(json!({ name: above })).err().unwrap_or_default();
            assert!(refused.starts_with(name), "{name}: {refused:?}");
        }
    }
}
