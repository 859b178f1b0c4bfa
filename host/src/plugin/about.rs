//! What a plugin's author says of it: `plugin.toml` in a directory, a layer of an artifact. What it asks for
//! is told to the operator and grants nothing; what is granted stands in the operator's manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Grants;
use super::manifest::valid_name;
use super::registry::ABOUT;
use super::source::layout_error;
use crate::wasm::{LoadError, World, read_bounded};

/// The file in a directory.
pub(super) const FILE: &str = "plugin.toml";
/// The component beside it, where it names none.
const COMPONENT: &str = "plugin.wasm";
/// Begins the version of the contract.
const PACKAGE: &str = "gatehouse:plugin@";
/// Bytes of a version, and of a description.
const LONGEST_VERSION: usize = 64;
const LONGEST_DESCRIPTION: usize = 1024;

/// What a plugin is and asks for, by its author's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// What it is called where nobody calls it otherwise.
    pub name: String,
    /// The author's, of this build.
    pub version: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// What it is for.
    pub world: World,
    /// What it was built against, e.g. `gatehouse:plugin@0.1.0`.
    pub contract: String,
    /// The file beside this one; in directories only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// Grants that it asks for, as words of the manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<String>,
    /// Limits that it does well with, as in the manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, String>,
}

impl About {
    /// Reads `plugin.toml`, or the layer of an artifact.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, LoadError> {
        let wrong = |what: String| layout_error(format!("its {FILE} {what}"));
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
        let about: Self = toml::from_str(text)
            .map_err(|error| wrong(format!("cannot be read: {}", error.message())))?;
        if !valid_name(&about.name) {
            return Err(wrong(
                "has a name that no manifest takes: 1 to 64 lower-case letters, digits and hyphens"
                    .to_owned(),
            ));
        }
        let printable = |text: &str| !text.chars().any(char::is_control);
        let version = &about.version;
        if version.is_empty() || version.len() > LONGEST_VERSION || !printable(version) {
            return Err(wrong(format!(
                "has no version of 1 to {LONGEST_VERSION} bytes"
            )));
        }
        if about.description.len() > LONGEST_DESCRIPTION || !printable(&about.description) {
            return Err(wrong(format!(
                "has a description of more than one line or {LONGEST_DESCRIPTION} bytes"
            )));
        }
        let contract = about.contract.strip_prefix(PACKAGE);
        if contract.is_none_or(|version| !is_version(version)) {
            return Err(wrong(format!(
                "has a contract that is not `{PACKAGE}0.1.0` or such"
            )));
        }
        if about
            .component
            .as_deref()
            .is_some_and(|name| !is_file_name(name))
        {
            return Err(wrong(
                "has a component that is no name of a file beside it".to_owned(),
            ));
        }
        Grants::parse(&about.grants)
            .map_err(|error| wrong(format!("asks for what nobody can give: {error}")))?;
        Ok(about)
    }

    /// As a layer, or as `plugin.toml`.
    pub fn to_toml(&self) -> Result<String, LoadError> {
        toml::to_string(self)
            .map_err(|error| layout_error(format!("{FILE} cannot be written: {error}")))
    }

    /// Whether it is what the manifest's entry says.
    pub(super) fn check(&self, world: World) -> Result<(), LoadError> {
        if self.world == world {
            return Ok(());
        }
        let message = format!(
            "`{}` {} is a {} plugin by its author's word, and the manifest has it as {}",
            self.name,
            self.version,
            self.world.as_str(),
            world.as_str()
        );
        Err(LoadError::new("plugin-wrong-world", message))
    }
}

fn is_version(text: &str) -> bool {
    let mut parts = text.split('.');
    let numbers =
        parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    numbers && text.split('.').count() == 3 && text.len() <= LONGEST_VERSION
}

fn is_file_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|last| last == name) && !name.contains('\0')
}

/// A directory with a plugin: what its author says, and the component's file.
pub(super) fn of_directory(directory: &Path) -> Result<(About, PathBuf), LoadError> {
    let file = directory.join(FILE);
    let shown = file.display();
    let text = read_bounded(&file, ABOUT)
        .map_err(|error| {
            layout_error(format!(
                "`{}` is a directory, and its {FILE} cannot be read: {error}. Name the component's file, or write \
                 one by `gatehouse plugin pull`",
                directory.display()
            ))
        })?
        .ok_or_else(|| layout_error(format!("`{shown}` is no file of at most {ABOUT} bytes")))?;
    let about = About::parse(&text)?;
    let component = directory.join(about.component.as_deref().unwrap_or(COMPONENT));
    Ok((about, component))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WHOLE: &str = "name = \"shell-guard\"\nversion = \"1.2.0\"\ndescription = \"Judges.\"\n\
                         world = \"post-execution\"\ncontract = \"gatehouse:plugin@0.1.0\"\n\
                         grants = [\"workspace\"]\n\n[limits]\nmemory = \"64MiB\"\n";

    #[test]
    fn what_is_written_is_what_was_read() {
        let about = About::parse(WHOLE.as_bytes()).unwrap();
        assert_eq!(about.to_toml().unwrap(), WHOLE);
        assert!(about.check(World::PostExecution).is_ok());
        assert_eq!(
            about.check(World::Validator).unwrap_err().code,
            "plugin-wrong-world"
        );
    }

    #[test]
    fn what_says_something_impossible_is_refused() {
        for (from, to) in [
            ("shell-guard", "Shell Guard"),
            ("1.2.0\"\ndesc", "\"\ndesc"),
            ("Judges.", "Judges\\u001b[2J"),
            ("post-execution", "gateway"),
            ("gatehouse:plugin@0.1.0", "gatehouse:plugin@latest"),
            ("\"workspace\"", "\"everything\""),
            ("version =", "versio ="),
            ("name =", "component = \"../x.wasm\"\nname ="),
        ] {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            let error = About::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code, "plugin-layout", "{text}");
        }
    }
}
