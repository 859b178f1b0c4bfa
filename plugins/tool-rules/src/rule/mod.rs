//! One rule in the CLI's syntax: `Tool` or `Tool(specifier)`.
//!
//! A rule is asked one of two questions, and in doubt they are answered differently: does it
//! *permit* a call (only where that is certain), does it *forbid* one (also where it might).

mod command;
mod file;

use patterns::{Wildcard, url};

use crate::call::Call;
use command::CommandPattern;
use file::FilePattern;

/// A rule that was read.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// As it was written.
    pub(crate) text: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// `*`: every tool.
    Any,
    /// `Read`: the tools that it stands for, whatever their input.
    Tool(String),
    /// `Bash(npm run test:*)`.
    Command(CommandPattern),
    /// `Edit(./src/**)`.
    File(String, FilePattern),
    /// `WebFetch(domain:example.com)`.
    Domain(String),
    /// `Agent(reviewer)`, `Skill(pdf)`.
    Named(String, Wildcard),
    /// `mcp__server`, `mcp__server__get_*`.
    Mcp(String),
}

/// Whether a rule forbids a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forbids {
    No,
    Yes,
    /// It cannot be told, so it does; the text says what could not be.
    Unsure(&'static str),
}

const UNSURE_INPUT: &str = "the input cannot be read";
const UNSURE_URL: &str = "the URL's host cannot be told with certainty";

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// A sentence that tells what is wrong, without the rule's text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (tool, specifier) = match text.split_once('(') {
            None => (text, None),
            Some((tool, rest)) => {
                let inner = rest.strip_suffix(')').ok_or("the bracket is not closed")?;
                (tool, Some(inner.trim()))
            }
        };
        if text.len() > 4096 {
            return Err("a rule has at most 4096 bytes".into());
        }
        let kind = match specifier {
            None => bare(tool)?,
            Some("") => return Err("there is nothing in the brackets".into()),
            Some(specifier) => with_specifier(tool, specifier)?,
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// Whether the rule allows the call for certain. A command line is no matter of one rule: see
    /// [`permits`].
    fn permits(&self, call: &Call) -> bool {
        match &self.kind {
            Kind::Any => true,
            Kind::Tool(name) => covers_tool(name, &call.tool),
            Kind::Command(pattern) => is_shell(&call.tool) && *pattern == CommandPattern::Any,
            Kind::File(name, pattern) => covers_tool(name, &call.tool) && pattern.permits(call),
            Kind::Domain(pattern) => {
                call.tool == "WebFetch"
                    && host(call).is_some_and(|host| url::host_fits(pattern, &host))
            }
            Kind::Named(tool, pattern) => {
                covers_tool(tool, &call.tool)
                    && argument(call).is_some_and(|name| pattern.matches(&name))
            }
            Kind::Mcp(name) => {
                let of_server = || match (&call.mcp_server, server_of(name)) {
                    (Some(server), Some(named)) => normal(server) == named || named.contains('*'),
                    _ => true,
                };
                *name == call.tool || (mcp_fits(name, &call.tool) && of_server())
            }
        }
    }

    /// Whether the rule denies the call.
    pub(crate) fn forbids(&self, call: &Call) -> Forbids {
        let certain = |found| if found { Forbids::Yes } else { Forbids::No };
        match &self.kind {
            Kind::Any => Forbids::Yes,
            Kind::Tool(name) => certain(covers_tool(name, &call.tool)),
            Kind::Mcp(name) => certain(mcp_fits(name, &call.tool)),
            Kind::Command(pattern) if is_shell(&call.tool) => {
                match call.input().and_then(|input| input.command) {
                    Some(line) => pattern.forbids(&line),
                    None => Forbids::Unsure(UNSURE_INPUT),
                }
            }
            Kind::File(name, pattern) if covers_tool(name, &call.tool) => pattern.forbids(call),
            Kind::Domain(pattern) if call.tool == "WebFetch" => match host(call) {
                Some(host) => certain(url::host_fits(pattern, &host)),
                None => Forbids::Unsure(UNSURE_URL),
            },
            Kind::Named(tool, pattern) if covers_tool(tool, &call.tool) => match argument(call) {
                Some(name) => certain(pattern.matches(&name)),
                None => Forbids::Unsure(UNSURE_INPUT),
            },
            _ => Forbids::No,
        }
    }
}

/// Which rules of a list allow the call together, by their places; none where they do not. More than
/// one only where a command line consists of several commands.
pub(crate) fn permits(rules: &[Rule], call: &Call) -> Option<Vec<usize>> {
    if let Some(found) = rules.iter().position(|rule| rule.permits(call)) {
        return Some(vec![found]);
    }
    if !is_shell(&call.tool) {
        return None;
    }
    let line = call.input()?.command?;
    let patterns = rules
        .iter()
        .enumerate()
        .filter_map(|(place, rule)| match &rule.kind {
            Kind::Command(pattern) => Some((place, pattern)),
            _ => None,
        });
    command::permits(&patterns.collect::<Vec<_>>(), &line)
}

fn bare(tool: &str) -> Result<Kind, String> {
    if tool == "*" {
        return Ok(Kind::Any);
    }
    if tool.starts_with("mcp__") {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '*' | '.' | ':');
        return match tool.chars().all(fine) && tool.len() > "mcp__".len() {
            true => Ok(Kind::Mcp(tool.to_owned())),
            false => {
                Err("a rule for MCP is mcp__server, mcp__server__tool or mcp__server__*".into())
            }
        };
    }
    is_name(tool)?;
    Ok(Kind::Tool(tool.to_owned()))
}

fn with_specifier(tool: &str, specifier: &str) -> Result<Kind, String> {
    is_name(tool)?;
    Ok(match tool {
        "Bash" => Kind::Command(CommandPattern::parse(specifier)?),
        "Read" | "Edit" | "Write" | "MultiEdit" | "NotebookEdit" | "NotebookRead" | "Glob"
        | "Grep" | "LS" => Kind::File(tool.to_owned(), FilePattern::parse(specifier)?),
        "WebFetch" => Kind::Domain(domain(specifier)?),
        "Agent" | "Task" | "Skill" => Kind::Named(tool.to_owned(), Wildcard::new(specifier)),
        _ if tool.starts_with("mcp__") => return Err("rules for MCP tools have no brackets".into()),
        _ => return Err(format!("rules for {tool} have no brackets")),
    })
}

fn is_name(tool: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match tool.starts_with(|c: char| c.is_ascii_alphabetic()) && tool.chars().all(fine) {
        true => Ok(()),
        false => Err("expected one rule such as `Read` or `Bash(git log *)`".into()),
    }
}

fn domain(specifier: &str) -> Result<String, String> {
    let pattern = specifier
        .strip_prefix("domain:")
        .ok_or("expected WebFetch(domain:example.com)")?
        .trim();
    let name = pattern.strip_prefix("*.").unwrap_or(pattern);
    match pattern == "*" || url::plain_host(name).is_some() {
        true => Ok(pattern.trim_end_matches('.').to_owned()),
        false => Err("expected a host such as example.com or *.example.com".into()),
    }
}

fn is_shell(tool: &str) -> bool {
    covers_tool("Bash", tool)
}

/// Rules for one tool stand for those with the same power: who may edit a file may write it.
fn covers_tool(rule: &str, tool: &str) -> bool {
    rule == tool
        || match rule {
            "Bash" => tool == "Monitor",
            "Edit" => matches!(tool, "Write" | "MultiEdit" | "NotebookEdit"),
            "Read" => matches!(tool, "NotebookRead" | "Glob" | "Grep" | "LS"),
            "Agent" => tool == "Task",
            "Task" => tool == "Agent",
            _ => false,
        }
}

fn host(call: &Call) -> Option<String> {
    url::host(&call.input()?.url?, &["http", "https"])
}

/// The name by which an Agent or Skill call says whom it wants.
fn argument(call: &Call) -> Option<String> {
    let input = call.input()?;
    if call.tool == "Skill" {
        input.skill
    } else {
        input.subagent_type
    }
}

/// `mcp__server` stands for `mcp__server__*`.
fn mcp_fits(rule: &str, tool: &str) -> bool {
    let pattern = Wildcard::new(rule);
    let all = Wildcard::new(&format!("{rule}__*"));
    pattern.matches(tool) || (tool.starts_with("mcp__") && all.matches(tool))
}

fn server_of(rule: &str) -> Option<&str> {
    rule.strip_prefix("mcp__")
        .map(|rest| rest.split_once("__").map_or(rest, |(server, _)| server))
}

/// A server's name as it stands in the names of its tools.
fn normal(server: &str) -> String {
    server
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .collect()
}
