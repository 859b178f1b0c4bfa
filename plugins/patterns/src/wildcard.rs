//! Text with `*` for any characters.

use crate::sequence::{self, Token};

/// A text in which `*` stands for any number of characters; `\*` is a star and `\\` a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wildcard(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// Nothing in it stands for anything else. Most patterns are so, and every call reads all of them.
    Plain(String),
    Wild(Vec<Token<Option<char>>>),
}

impl Wildcard {
    /// Every text is a pattern.
    pub fn new(pattern: &str) -> Self {
        Self::read(pattern, false)
    }

    /// The same with `?` for one character, as names in paths have it.
    pub(crate) fn of_name(pattern: &str) -> Self {
        Self::read(pattern, true)
    }

    fn read(pattern: &str, question_marks: bool) -> Self {
        if !pattern.contains(['*', '?', '\\']) {
            return Self(Kind::Plain(pattern.to_owned()));
        }
        let mut tokens = Vec::new();
        let mut chars = pattern.chars().peekable();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Many,
                '?' if question_marks => Token::One(None),
                '\\' => {
                    match chars.next_if(|next| matches!(next, '*' | '?' | '\\' | '[' | ']' | '!')) {
                        Some(escaped) => Token::One(Some(escaped)),
                        None => Token::One(Some('\\')),
                    }
                }
                other => Token::One(Some(other)),
            });
        }
        Self(Kind::Wild(tokens))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        let tokens = match &self.0 {
            Kind::Plain(pattern) => return pattern == text,
            Kind::Wild(tokens) => tokens,
        };
        let text: Vec<char> = text.chars().collect();
        sequence::matches(tokens, &text, |expected, c| {
            expected.is_none_or(|expected| expected == *c)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_takes_any_characters_also_none() {
        let pattern = Wildcard::new("git * main");
        assert!(pattern.matches("git push origin main"));
        assert!(pattern.matches("git  main"));
        assert!(!pattern.matches("git main"));
        assert!(!pattern.matches("git push origin maint"));
    }

    #[test]
    fn an_escaped_star_is_a_star_and_a_question_mark_is_text() {
        assert!(Wildcard::new(r"ls \*").matches("ls *"));
        assert!(!Wildcard::new(r"ls \*").matches("ls x"));
        assert!(Wildcard::new("what?").matches("what?"));
        assert!(!Wildcard::new("what?").matches("whats"));
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let pattern = Wildcard::new(&"a*".repeat(200));
        assert!(!pattern.matches(&format!("{}b", "a".repeat(199))));
    }
}
