//! The specifier of a Bash rule, held against a command line.

use patterns::Wildcard;

use super::Forbids;
use crate::shell::{self, Unsure, Word, reach};

const UNSURE_LINE: &str = "the command line cannot be read with certainty; write it more plainly";

/// `npm run test:*`, `git log *`, `npm run build`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandPattern {
    /// `*`: every command line.
    Any,
    /// This command line and no other.
    Exact(String),
    /// Commands that match one of these.
    Wild(Vec<Wildcard>),
}

impl CommandPattern {
    pub(crate) fn parse(specifier: &str) -> Result<Self, String> {
        if matches!(specifier, "*" | ":*") {
            return Ok(Self::Any);
        }
        // `x:*` and `x *` say the same: the command x with or without arguments.
        let prefix = specifier
            .strip_suffix(":*")
            .or_else(|| specifier.strip_suffix(" *"));
        if let Some(prefix) = prefix.map(str::trim_end) {
            if prefix.is_empty() {
                return Err("there is no command before the `*`".into());
            }
            return Ok(Self::Wild(vec![
                Wildcard::new(prefix),
                Wildcard::new(&format!("{prefix} *")),
            ]));
        }
        Ok(match specifier.contains('*') {
            true => Self::Wild(vec![Wildcard::new(specifier)]),
            false => Self::Exact(specifier.to_owned()),
        })
    }

    fn matches(&self, command: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == command,
            Self::Wild(any) => any.iter().any(|pattern| pattern.matches(command)),
        }
    }

    /// Whether a part of the line matches, or might.
    pub(crate) fn forbids(&self, line: &str) -> Forbids {
        if *self == Self::Any || self.matches(line.trim()) {
            return Forbids::Yes;
        }
        let found = shell::parse(line).and_then(|commands| {
            if commands.iter().any(|command| self.matches(&command.raw())) {
                return Ok(true);
            }
            Ok(reach::reached(&commands)?
                .iter()
                .any(|words| self.matches_words(words)))
        });
        match found {
            Ok(true) => Forbids::Yes,
            Ok(false) => Forbids::No,
            Err(Unsure) => Forbids::Unsure(UNSURE_LINE),
        }
    }

    /// By the words without quotes, also with the bare name of a command that is given by its path.
    fn matches_words(&self, words: &[Word]) -> bool {
        let plain = shell::join(words, |word| &word.text);
        let Some((name, _)) = words.split_first() else {
            return false;
        };
        let base = reach::base_name(&name.text);
        let by_base = plain
            .strip_prefix(name.text.as_str())
            .map(|rest| format!("{base}{rest}"));
        self.matches(&plain) || by_base.is_some_and(|text| self.matches(&text))
    }
}

/// Which of the patterns allow the line together: each of its commands is simple and matches one, or
/// one states the whole line word for word.
pub(crate) fn permits(patterns: &[(usize, &CommandPattern)], line: &str) -> Option<Vec<usize>> {
    let whole = |pattern: &CommandPattern| matches!(pattern, CommandPattern::Exact(text) if text == line.trim());
    if let Some((place, _)) = patterns.iter().find(|(_, pattern)| whole(pattern)) {
        return Some(vec![*place]);
    }
    let commands = shell::parse(line).ok()?;
    let mut places = Vec::new();
    for command in &commands {
        if !command.may_be_allowed() {
            return None;
        }
        let raw = command.raw();
        let (place, _) = patterns.iter().find(|(_, pattern)| pattern.matches(&raw))?;
        if !places.contains(place) {
            places.push(*place);
        }
    }
    (!places.is_empty()).then_some(places)
}
