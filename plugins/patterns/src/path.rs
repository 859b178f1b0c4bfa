//! Paths with `*`, `?` and `**`.

use crate::Wildcard;
use crate::sequence::{self, Token};

/// A relative path in which `*` and `?` stay within one name and `**` stands for any number of
/// names. It is held against a path cut into its names by [`segments`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<Token<Wildcard>>);

/// The names of a path, without empty ones and `.`.
pub fn segments(path: &str) -> Vec<&str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .collect()
}

impl PathPattern {
    /// Reads a pattern; leading and doubled slashes say nothing here.
    ///
    /// # Errors
    /// A sentence about what is not supported: `..`, `[classes]`, a leading `!`, nothing at all.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.starts_with('!') {
            return Err(
                r"a pattern cannot be negated; write \! for a name that starts with it".into(),
            );
        }
        if unescaped_bracket(pattern) {
            return Err(
                r"classes such as [a-z] are not supported; write \[ for the character".into(),
            );
        }
        let names = segments(pattern);
        if names.contains(&"..") {
            return Err("`..` is not supported; write the path without it".into());
        }
        if names.is_empty() {
            return Err("the pattern names no path".into());
        }
        let tokens = names.into_iter().map(|name| match name {
            "**" => Token::Many,
            name => Token::One(Wildcard::of_name(name)),
        });
        Ok(Self(tokens.collect()))
    }

    /// The same pattern at any depth: `**/` before it.
    #[must_use]
    pub fn at_any_depth(mut self) -> Self {
        self.0.insert(0, Token::Many);
        self
    }

    /// Whether this very path matches.
    pub fn matches(&self, path: &[&str]) -> bool {
        hits(&self.0, path)
    }

    /// Whether the path matches or lies in a directory that does.
    pub fn covers(&self, path: &[&str]) -> bool {
        (1..=path.len()).any(|end| path.get(..end).is_some_and(|start| hits(&self.0, start)))
    }

    /// Whether everything that could lie in the directory `path` is covered.
    pub fn covers_inside(&self, path: &[&str]) -> bool {
        // A name that no pattern spells out: only a wildcard matches it.
        let mut inside = path.to_vec();
        inside.push("\0");
        self.covers(&inside)
    }

    /// Whether something that could lie in the directory `path` is covered.
    pub fn reaches_into(&self, path: &[&str]) -> bool {
        (0..self.0.len()).any(|end| self.0.get(..end).is_some_and(|start| hits(start, path)))
    }
}

fn hits(pattern: &[Token<Wildcard>], path: &[&str]) -> bool {
    sequence::matches(pattern, path, |expected, name| expected.matches(name))
}

fn unescaped_bracket(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.chars().any(|c| {
        let found = matches!(c, '[' | ']') && !escaped;
        escaped = c == '\\' && !escaped;
        found
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::new(text).unwrap()
    }

    #[test]
    fn a_star_stays_within_one_name_and_two_stars_do_not() {
        assert!(pattern("acme/*").matches(&segments("acme/x")));
        assert!(!pattern("acme/*").matches(&segments("acme/x/y")));
        assert!(pattern("acme/**").matches(&segments("acme/x/y")));
        assert!(pattern("a/**/z").matches(&segments("a/z")));
        assert!(pattern("a/?.rs").matches(&segments("a/b.rs")));
    }

    #[test]
    fn a_directory_that_matches_covers_what_lies_in_it() {
        assert!(pattern("src").covers(&segments("src/a/b.rs")));
        assert!(!pattern("src").covers(&segments("srcs/a")));
        assert!(!pattern("src/**/*.rs").covers(&segments("src/a.txt")));
        assert!(pattern(".env").at_any_depth().covers(&segments("a/b/.env")));
    }

    #[test]
    fn what_may_lie_in_a_directory_is_told_apart_from_all_of_it() {
        assert!(pattern("src/**").covers_inside(&segments("src")));
        assert!(!pattern("src/*.rs").covers_inside(&segments("src")));
        assert!(pattern("src/*.rs").reaches_into(&segments("src")));
        assert!(pattern("secrets/key").reaches_into(&[]));
        assert!(!pattern("secrets/key").reaches_into(&segments("src")));
        assert!(pattern("**/.env").reaches_into(&segments("src/a")));
    }

    #[test]
    fn what_is_not_supported_is_an_error() {
        for bad in ["", "/", "a/../b", "[ab]", "!x", "."] {
            assert!(PathPattern::new(bad).is_err(), "{bad}");
        }
        assert!(pattern(r"app/\[id\]/x").matches(&segments("app/[id]/x")));
    }
}
