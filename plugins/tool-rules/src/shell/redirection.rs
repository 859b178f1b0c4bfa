//! Redirections, here-documents and process substitutions.

use super::parser::{Draft, Parser};
use super::{Unsure, Word};

/// A here-document that was announced.
pub(super) struct Heredoc {
    delimiter: String,
    strip_tabs: bool,
    literal: bool,
}

impl Parser<'_> {
    /// A redirection, a here-document, or a process substitution.
    pub(super) fn redirection(&mut self, draft: &mut Draft) -> Result<(), Unsure> {
        let start = self.at;
        self.take('&');
        while matches!(self.peek(), Some('<' | '>')) {
            self.at += 1;
        }
        let operator: String = self
            .chars
            .get(start..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        if matches!(operator.as_str(), "<" | ">") && self.peek() == Some('(') {
            self.at += 1;
            draft.not_simple = true;
            self.nested(|inner| inner.list(Some(')')))?;
            draft.words.push(Word {
                raw: format!("{operator}()"),
                text: String::new(),
                expands: true,
            });
            return Ok(());
        }
        let strip_tabs = operator == "<<" && self.take('-');
        let duplicates = matches!(operator.as_str(), "<" | ">") && self.take('&');
        if operator == ">" && !duplicates {
            self.take('|');
        }
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.at += 1;
        }
        let target = self.word(&mut draft.not_simple)?;
        if target.raw.is_empty() {
            return Err(Unsure);
        }
        match operator.as_str() {
            "<<" => {
                draft.not_simple = true;
                let literal = target.raw.contains(['\'', '"', '\\']);
                self.heredocs.push(Heredoc {
                    delimiter: target.text,
                    strip_tabs,
                    literal,
                });
            }
            "<" | ">" | ">>" | "&>" | "&>>" => {
                let own = duplicates && target.raw.chars().all(|c| c.is_ascii_digit() || c == '-');
                draft.not_simple |= !own && target.raw != "/dev/null";
            }
            "<<<" | "<>" => draft.not_simple = true,
            _ => return Err(Unsure),
        }
        Ok(())
    }

    /// The bodies that were announced on the line that just ended.
    pub(super) fn heredoc_bodies(&mut self) -> Result<(), Unsure> {
        for heredoc in std::mem::take(&mut self.heredocs) {
            let mut body = String::new();
            loop {
                if self.peek().is_none() {
                    return Err(Unsure);
                }
                let mut line = String::new();
                while let Some(c) = self.peek() {
                    self.at += 1;
                    if c == '\n' {
                        break;
                    }
                    line.push(c);
                }
                let seen = if heredoc.strip_tabs {
                    line.trim_start_matches('\t')
                } else {
                    &line
                };
                if seen == heredoc.delimiter {
                    break;
                }
                body.push_str(&line);
                body.push('\n');
            }
            if !heredoc.literal {
                self.expanded_body(&body)?;
            }
        }
        Ok(())
    }

    /// Substitutions in a body run like those in double quotes.
    fn expanded_body(&mut self, body: &str) -> Result<(), Unsure> {
        let mut inner = Parser {
            chars: body.chars().collect(),
            at: 0,
            depth: self.depth + 1,
            commands: self.commands,
            heredocs: Vec::new(),
        };
        inner.double_quoted(None, &mut Word::default(), &mut false)
    }
}
