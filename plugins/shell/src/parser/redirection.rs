//! Redirections and here-documents.

use std::cell::OnceCell;
use std::rc::Rc;

use super::{Announced, Parser, Read};
use crate::Unreadable;
use crate::ast::{Atom, Redirection, Word};

impl Parser {
    pub(super) fn redirection(&mut self) -> Read<Redirection> {
        let operators = [
            "&>>", "&>", "<<<", "<<-", "<<", "<>", "<&", "<", ">>", ">|", ">&", ">",
        ];
        let operator = operators
            .into_iter()
            .find(|operator| self.take(operator))
            .ok_or(Unreadable("a redirection is not understood"))?;
        while matches!(self.peek(), Some(' ' | '\t')) || self.looking_at("\\\n") {
            self.at += if self.peek() == Some('\\') { 2 } else { 1 };
        }
        let target = self.some_word()?;
        let descriptor = target
            .bare()
            .is_some_and(|text| text.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
        Ok(match operator {
            "<&" if descriptor && !matches!(target.bare(), Some("0" | "-")) => {
                Redirection::DuplicateInput
            }
            "<&" | ">&" if descriptor => Redirection::Duplicate,
            "<" | "<&" => Redirection::Read(target),
            "<>" => Redirection::ReadWrite(target),
            "<<<" => Redirection::HereString(target),
            "<<" | "<<-" => self.announce(&target, operator == "<<-")?,
            _ => Redirection::Write(target),
        })
    }

    fn announce(&mut self, target: &Word, strip_tabs: bool) -> Read<Redirection> {
        let mut delimiter = String::new();
        let mut literal = false;
        for atom in &target.0 {
            let Atom::Text { text, quoted } = atom else {
                return Err(Unreadable(
                    "the delimiter of a here-document is not understood",
                ));
            };
            delimiter.push_str(text);
            literal |= quoted;
        }
        let body = Rc::new(OnceCell::new());
        self.heredocs.push(Announced {
            delimiter,
            strip_tabs,
            literal,
            body: Rc::clone(&body),
        });
        Ok(Redirection::HereDoc(body))
    }

    /// The bodies that were announced on the line that just ended.
    pub(super) fn heredoc_bodies(&mut self) -> Read<()> {
        for heredoc in std::mem::take(&mut self.heredocs) {
            let body = self.body_text(&heredoc)?;
            let mut word = Word::default();
            if heredoc.literal {
                word.0.push(Atom::Text {
                    text: body,
                    quoted: true,
                });
            } else {
                Self::new(&body, self.depth + 1)?.double_quoted(false, &mut word)?;
            }
            // Each is announced once and read once.
            let _ = heredoc.body.set(word);
        }
        Ok(())
    }

    fn body_text(&mut self, heredoc: &Announced) -> Read<String> {
        let mut body = String::new();
        loop {
            if self.peek().is_none() {
                return Err(Unreadable("a here-document is not closed"));
            }
            let mut line = String::new();
            // Where something is expanded, a backslash joins two lines, and a joined one ends nothing.
            let mut joined = false;
            while let Some(c) = self.peek() {
                self.at += 1;
                match c {
                    '\n' if !heredoc.literal && odd_backslashes(&line) => {
                        joined = true;
                        line.push('\n');
                    }
                    '\n' => break,
                    c => line.push(c),
                }
            }
            let seen = match heredoc.strip_tabs {
                true => line.trim_start_matches('\t'),
                false => &line,
            };
            if !joined && seen == heredoc.delimiter {
                return Ok(body);
            }
            if joined && seen.replace("\\\n", "") == heredoc.delimiter {
                return Err(Unreadable("a here-document ends with joined lines"));
            }
            body.push_str(seen);
            body.push('\n');
        }
    }
}

fn odd_backslashes(line: &str) -> bool {
    line.len().wrapping_sub(line.trim_end_matches('\\').len()) % 2 == 1
}
