//! What starts with a dollar sign or a backtick.

use super::simple::is_name;
use super::{Parser, Read, parse_at};
use crate::Unreadable;
use crate::ast::{Atom, List, Trim, Word};

const OPEN_BRACE: &str = "`${` is not closed";
const ARITHMETIC: &str = "arithmetic with more than names and numbers is not understood";

impl Parser {
    pub(super) fn dollar(&mut self, word: &mut Word, quoted: bool) -> Read<()> {
        self.at += 1;
        self.not_continued()?;
        match self.peek() {
            Some('(') if self.peek_after(1) == Some('(') => {
                self.at += 2;
                self.arithmetic()?;
                word.0.push(Atom::Name);
            }
            Some('(') => {
                self.at += 1;
                let list = self.nested()?;
                word.0.push(Atom::Substitution { list, quoted });
            }
            Some('{') => {
                self.at += 1;
                let atom = self.deeper(|inner| inner.parameter(quoted))?;
                word.0.push(atom);
            }
            Some('\'') if !quoted => {
                self.at += 1;
                self.ansi_quoted(word)?;
            }
            Some('"') if !quoted => {
                self.at += 1;
                self.double_quoted(true, word)?;
            }
            Some('[') => return Err(Unreadable("`$[` is not understood")),
            Some(c) if c.is_ascii_digit() || "?$!#@*-".contains(c) => {
                self.at += 1;
                word.0.push(variable(c.into(), quoted, false));
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let name = self.name_characters();
                self.not_continued()?;
                word.0.push(variable(name, quoted, true));
            }
            // Unquoted, so that braces are not taken for harmless beside it.
            _ => word.push('$', quoted),
        }
        Ok(())
    }

    /// The shell joins lines before it looks for the end of a name.
    fn not_continued(&self) -> Read<()> {
        match self.looking_at("\\\n") {
            true => Err(Unreadable("a line is continued within a variable")),
            false => Ok(()),
        }
    }

    fn name_characters(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if !c.is_ascii_alphanumeric() && c != '_' {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        name
    }

    /// Arithmetic behind its two brackets: numbers, names and operators only. A subscript could run
    /// a command.
    pub(super) fn arithmetic(&mut self) -> Read<()> {
        let mut open = 0_u32;
        loop {
            match self.next("a bracket is not closed")? {
                '(' => open += 1,
                ')' if open == 0 => {
                    return match self.take(")") {
                        true => Ok(()),
                        false => Err(Unreadable(ARITHMETIC)),
                    };
                }
                ')' => open -= 1,
                '$' => {
                    let braced = self.take("{");
                    let name = self.name_characters();
                    if !is_name(&name) || (braced && !self.take("}")) {
                        return Err(Unreadable(ARITHMETIC));
                    }
                }
                c if c.is_ascii_alphanumeric() || "_+-*/%<>=!&|^~?:, ;\t\n".contains(c) => {}
                _ => return Err(Unreadable(ARITHMETIC)),
            }
        }
    }

    /// `${…}` behind its brace.
    fn parameter(&mut self, quoted: bool) -> Read<Atom> {
        let start = self.at;
        let special = self.peek().filter(|c| "?$!#@*-".contains(*c));
        let name = match special {
            Some(c) if self.peek_after(1) == Some('}') => {
                self.at += 1;
                c.into()
            }
            _ => self.name_characters(),
        };
        if self.take("}") && !name.is_empty() {
            return Ok(variable(name, quoted, false));
        }
        if !name.is_empty()
            && let Some(trim) = self.trim()
        {
            return Ok(Atom::Variable {
                name,
                trim: Some(trim),
                quoted,
                bare: false,
            });
        }
        self.at = start;
        let mut lists = Vec::new();
        let mut inner = Word::default();
        loop {
            match self.peek().ok_or(Unreadable(OPEN_BRACE))? {
                '}' => {
                    self.at += 1;
                    gather(&inner, &mut lists);
                    return Ok(Atom::Opaque(lists));
                }
                '\\' => self.at += 2,
                // In double quotes a single quote is text to some operators and not to others.
                '\'' if quoted => return Err(Unreadable("a quote in `${…}` is not understood")),
                '\'' => {
                    self.at += 1;
                    while self.next(OPEN_BRACE)? != '\'' {}
                }
                '"' => {
                    self.at += 1;
                    self.double_quoted(true, &mut inner)?;
                }
                '$' => self.dollar(&mut inner, true)?,
                '`' => self.backticks(&mut inner, true)?,
                // A subscript is arithmetic, and `@P` and `!x` make commands of values.
                '@' if self.looking_at("@P") => {
                    return Err(Unreadable("`${…@P}` is not understood"));
                }
                _ => self.at += 1,
            }
        }
    }

    /// `%text}` and `##*/}`; other cuts are not followed.
    fn trim(&mut self) -> Option<Trim> {
        let start = self.at;
        if self.take("##*/}") {
            return Some(Trim::Directories);
        }
        if !self.take("%") {
            return None;
        }
        self.take("%");
        let mut suffix = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '}' => return Some(Trim::Suffix(suffix)),
                c if c.is_ascii_alphanumeric() || "._-/".contains(c) => suffix.push(c),
                _ => break,
            }
        }
        self.at = start;
        None
    }

    pub(super) fn backticks(&mut self, word: &mut Word, quoted: bool) -> Read<()> {
        self.at += 1;
        let mut inner = String::new();
        loop {
            match self.next("a backtick is not closed")? {
                '`' => break,
                '\\' => {
                    let escaped = self.next("a backtick is not closed")?;
                    let dropped = matches!(escaped, '`' | '\\' | '$') || (quoted && escaped == '"');
                    if !dropped {
                        inner.push('\\');
                    }
                    inner.push(escaped);
                }
                c => inner.push(c),
            }
        }
        let list = parse_at(&inner, self.depth + 1)?;
        word.0.push(Atom::Substitution { list, quoted });
        Ok(())
    }
}

fn variable(name: String, quoted: bool, bare: bool) -> Atom {
    Atom::Variable {
        name,
        trim: None,
        quoted,
        bare,
    }
}

/// Every list that the word may run.
fn gather(word: &Word, lists: &mut Vec<List>) {
    for atom in &word.0 {
        match atom {
            Atom::Substitution { list, .. } | Atom::Process(list) => lists.push(list.clone()),
            Atom::Opaque(inner) => lists.extend(inner.iter().cloned()),
            Atom::Text { .. } | Atom::Variable { .. } | Atom::Name => {}
        }
    }
}
