//! The specifier of a rule about files, held against the file that a call names.

use patterns::PathPattern;

use super::Forbids;
use crate::call::{Access, Call, Target, below};

const UNSURE_PATH: &str = "the path cannot be told";

/// `./src/**`, `*.md`, `//abs/**`, `~/x`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePattern {
    pattern: PathPattern,
    anchor: Anchor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    /// Below the directory in which the agent works.
    Cwd,
    /// Below `/`.
    Root,
    /// Below a home that is not known here: permits nothing, forbids at any place.
    Home,
}

impl FilePattern {
    pub(crate) fn parse(specifier: &str) -> Result<Self, String> {
        let (anchor, text) = if let Some(rest) = specifier.strip_prefix("//") {
            (Anchor::Root, rest)
        } else if let Some(rest) = specifier.strip_prefix("~/") {
            (Anchor::Home, rest)
        } else if specifier.starts_with('~') {
            return Err("`~name` is not supported".into());
        } else {
            (Anchor::Cwd, specifier)
        };
        let mut pattern = PathPattern::new(text)?;
        // As in .gitignore: a bare name means a file of that name wherever it lies.
        let bare = anchor == Anchor::Cwd && !text.trim_end_matches('/').contains('/');
        if bare || anchor == Anchor::Home {
            pattern = pattern.at_any_depth();
        }
        Ok(Self { pattern, anchor })
    }

    /// The path's names as the pattern sees them.
    fn view<'a>(&self, call: &Call, path: &'a str) -> Option<Vec<&'a str>> {
        match self.anchor {
            Anchor::Cwd => below(&call.cwd, path),
            Anchor::Root | Anchor::Home => below("/", path),
        }
    }

    pub(crate) fn permits(&self, call: &Call) -> bool {
        let Target::Path { real, .. } = call.target() else {
            return false;
        };
        if self.anchor == Anchor::Home {
            return false;
        }
        self.view(call, real).is_some_and(|path| {
            self.pattern.covers(&path)
                || (call.access() == Some(Access::Search) && self.pattern.covers_inside(&path))
        })
    }

    pub(crate) fn forbids(&self, call: &Call) -> Forbids {
        let Target::Path { real, named } = call.target() else {
            return Forbids::Unsure(UNSURE_PATH);
        };
        let hit = |path: &str| match self.view(call, path) {
            Some(path) => self.pattern.covers(&path) || self.searches_into(call, &path),
            // A search from above reaches everything that the pattern names.
            None => call.tool == "Grep" && below(path, &call.cwd).is_some(),
        };
        if hit(real) || hit(named) {
            Forbids::Yes
        } else {
            Forbids::No
        }
    }

    /// Grep shows what is in the files below its path; the other searches only show names.
    fn searches_into(&self, call: &Call, path: &[&str]) -> bool {
        match call.tool.as_str() {
            "Grep" => self.pattern.reaches_into(path),
            "Glob" | "LS" => self.pattern.covers_inside(path),
            _ => false,
        }
    }
}
