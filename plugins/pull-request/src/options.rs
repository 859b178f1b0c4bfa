//! What the caller writes under `postExecutionActions.pullRequest`.

use options::{Members, Template, branch};

const KNOWN: [&str; 4] = ["title", "body", "draft", "base"];
const MAX_TITLE_BYTES: usize = 1024;
const MAX_BODY_BYTES: usize = 60_000;
const MAX_BASE_BYTES: usize = 255;

/// Options that were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) title: Option<Template>,
    pub(crate) body: Option<Template>,
    pub(crate) draft: bool,
    pub(crate) base: Option<Template>,
}

impl Options {
    /// Reads and checks options.
    ///
    /// # Errors
    /// A sentence for the caller that names the member and what was expected.
    pub fn read(text: &str) -> Result<Self, String> {
        let members = Members::read(text, &KNOWN)?;
        let title = members.text("title", MAX_TITLE_BYTES)?;
        if title.is_some_and(|title| title.trim().is_empty() || title.contains(['\n', '\r'])) {
            return Err("title: expected one line of text".to_owned());
        }
        let base = match members.text("base", MAX_BASE_BYTES)? {
            Some(text) => {
                let template =
                    Template::strict(text).map_err(|sentence| format!("base: {sentence}"))?;
                branch::check(&template.sample())
                    .map_err(|sentence| format!("base: {sentence}"))?;
                Some(template)
            }
            None => None,
        };
        Ok(Self {
            title: title.map(Template::new),
            body: members.text("body", MAX_BODY_BYTES)?.map(Template::new),
            draft: members.truth("draft")?,
            base,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn texts_end_at_their_documented_bounds() {
        let taken = |options: Value| Options::read(&options.to_string()).map(|_| ());
        for (name, most) in [("title", 1024), ("body", 60_000), ("base", 244)] {
            let of = |length: usize| json!({ name: "x".repeat(length) });
            assert_eq!(taken(of(most)), Ok(()), "{name}");
            let refused = taken(of(most + 1)).err().unwrap_or_default();
            assert!(refused.starts_with(name), "{name}: {refused:?}");
        }
    }
}
