//! What the shell would expand: variables, arithmetic, substitutions.

use super::parser::{Parser, parse_into};
use super::{Unsure, Word};

impl Parser<'_> {
    /// What starts with a dollar sign.
    pub(super) fn dollar(
        &mut self,
        word: &mut Word,
        not_simple: &mut bool,
        quoted: bool,
    ) -> Result<(), Unsure> {
        self.at += 1;
        match self.peek() {
            Some('(') => {
                *not_simple = true;
                word.expands = true;
                self.at += 1;
                if self.peek() == Some('(') {
                    return self.arithmetic();
                }
                self.nested(|inner| inner.list(Some(')')))
            }
            Some('{') => {
                word.expands = true;
                self.at += 1;
                self.parameter(not_simple)
            }
            Some('\'') if !quoted => {
                // Its escapes can spell any character, so nothing is known of the text.
                *not_simple = true;
                word.expands = true;
                self.at += 1;
                while let Some(c) = self.peek() {
                    self.at += if c == '\\' { 2 } else { 1 };
                    if c == '\'' {
                        return Ok(());
                    }
                }
                Err(Unsure)
            }
            Some('"') if !quoted => {
                self.at += 1;
                self.double_quoted(Some('"'), word, not_simple)
            }
            Some('[') => Err(Unsure),
            Some(c) if c.is_ascii_alphanumeric() || "_?$!#@*-".contains(c) => {
                word.expands = true;
                word.text.push('$');
                Ok(())
            }
            _ => {
                word.text.push('$');
                Ok(())
            }
        }
    }

    /// `$((…))` behind its first bracket: numbers, names and operators only.
    fn arithmetic(&mut self) -> Result<(), Unsure> {
        self.at += 1;
        let mut open = 0_u32;
        loop {
            let c = self.peek().ok_or(Unsure)?;
            self.at += 1;
            match c {
                '(' => open += 1,
                // Both brackets close together, or it was a subshell in a substitution.
                ')' if open == 0 => return if self.take(')') { Ok(()) } else { Err(Unsure) },
                ')' => open -= 1,
                c if c.is_ascii_alphanumeric() || "_+-*/%<>=!&|^~?:, $".contains(c) => {
                    if c == '$'
                        && !self
                            .peek()
                            .is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
                    {
                        return Err(Unsure);
                    }
                }
                _ => return Err(Unsure),
            }
        }
    }

    /// `${…}` behind its brace. A bare name is harmless; what else may stand there can hold
    /// substitutions or make commands of values.
    fn parameter(&mut self, not_simple: &mut bool) -> Result<(), Unsure> {
        let mut bare = true;
        let mut ignored = Word::default();
        loop {
            let c = self.peek().ok_or(Unsure)?;
            match c {
                '}' => {
                    self.at += 1;
                    *not_simple |= !bare;
                    return Ok(());
                }
                '\\' => self.at += 2,
                '\'' => {
                    self.at += 1;
                    self.single_quoted(&mut ignored.text)?;
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(Some('"'), &mut ignored, not_simple)?;
                }
                '$' => self.deeper(|inner| inner.dollar(&mut ignored, not_simple, true))?,
                '`' => self.backticks(&mut ignored, not_simple)?,
                _ => self.at += 1,
            }
            bare &= c.is_ascii_alphanumeric() || c == '_';
        }
    }

    pub(super) fn backticks(
        &mut self,
        word: &mut Word,
        not_simple: &mut bool,
    ) -> Result<(), Unsure> {
        self.at += 1;
        *not_simple = true;
        word.expands = true;
        let mut inner = String::new();
        loop {
            let c = self.peek().ok_or(Unsure)?;
            self.at += 1;
            match c {
                '`' => break,
                '\\' => {
                    let escaped = self.peek().ok_or(Unsure)?;
                    self.at += 1;
                    if !matches!(escaped, '`' | '\\' | '$') {
                        inner.push('\\');
                    }
                    inner.push(escaped);
                }
                other => inner.push(other),
            }
        }
        parse_into(&inner, self.depth + 1, self.commands)
    }
}
