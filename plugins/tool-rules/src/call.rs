//! A tool call, and what rules need to know of it.

use patterns::segments;
use serde::Deserialize;

/// The lists that a request states.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Lists {
    /// Restricts where it is not empty.
    pub allowed_tools: Vec<String>,
    /// Wins over every list of allowed tools.
    pub disallowed_tools: Vec<String>,
}

/// One tool call, as the host tells it. Paths are absolute; `workspace` and `cwd` hold no link.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Call {
    /// `Bash`, `Write`, `mcp__server__tool`, …
    pub tool: String,
    /// A JSON object, as text.
    pub input: String,
    /// Root of the workspace.
    pub workspace: String,
    /// Where the agent works.
    pub cwd: String,
    /// What the input names, made absolute.
    pub path: Option<String>,
    /// The same with links resolved.
    pub real_path: Option<String>,
    /// The server of an MCP tool.
    pub mcp_server: Option<String>,
}

/// The members of an input that rules look at. An input in which one of them is no text cannot be
/// judged: [`Call::input`] is none then.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Input {
    pub(crate) command: Option<String>,
    pub(crate) url: Option<String>,
    pub(crate) pattern: Option<String>,
    pub(crate) subagent_type: Option<String>,
    pub(crate) skill: Option<String>,
}

/// What a call does with the file that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Write,
    Read,
    /// Reads or lists whatever lies in a directory.
    Search,
}

/// The files that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    /// The path with links resolved, and as it was named.
    Path { real: &'a str, named: &'a str },
    /// The tool works on files, and it cannot be told on which.
    Unknown,
}

impl Call {
    pub(crate) fn input(&self) -> Option<Input> {
        serde_json::from_str(&self.input).ok()
    }

    /// None where the tool is not one of the CLI's own file tools.
    pub(crate) fn access(&self) -> Option<Access> {
        Some(match self.tool.as_str() {
            "Write" | "Edit" | "MultiEdit" | "NotebookEdit" => Access::Write,
            "Read" | "NotebookRead" => Access::Read,
            "Glob" | "Grep" | "LS" => Access::Search,
            _ => return None,
        })
    }

    pub(crate) fn target(&self) -> Target<'_> {
        if self.tool == "Glob"
            && !self
                .input()
                .is_some_and(|input| stays_below(input.pattern.as_deref()))
        {
            return Target::Unknown;
        }
        match (&self.real_path, &self.path) {
            (Some(real), named) if is_plain(real) => Target::Path {
                real,
                named: named.as_ref().unwrap_or(real),
            },
            (None, None) if self.access() == Some(Access::Search) => Target::Path {
                real: &self.cwd,
                named: &self.cwd,
            },
            _ => Target::Unknown,
        }
    }
}

/// Whether the pattern of a Glob call cannot leave the directory that the call names.
fn stays_below(pattern: Option<&str>) -> bool {
    pattern.is_some_and(|pattern| {
        !pattern.starts_with(['/', '~'])
            && !["..", "{/", ",/"].iter().any(|part| pattern.contains(part))
    })
}

/// The names of `path` below `base`; none where it does not lie there.
pub(crate) fn below<'a>(base: &str, path: &'a str) -> Option<Vec<&'a str>> {
    if !is_plain(base) || !is_plain(path) {
        return None;
    }
    let mut names = segments(path);
    let base = segments(base);
    names
        .starts_with(&base)
        .then(|| names.split_off(base.len()))
}

/// Absolute and without `..`, as the host promises paths to be.
fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !segments(path).contains(&"..")
}
