//! Simple commands: assignments, redirections, and each way in which the words can be taken.

use crate::Unreadable;
use crate::ast::{Assigned, Assignment, Redirection, Word};
use crate::output;
use crate::state::State;
use crate::text::{Origin, Text};
use crate::walk::{Deed, Input, Outcome, Walk, Walker};

impl Walker<'_> {
    pub(crate) fn simple(
        &mut self,
        assignments: &[Assignment],
        words: &[Word],
        redirections: &[Redirection],
        mut state: State,
    ) -> Walk {
        let outer = self.input.clone();
        let declares = words.first().and_then(Word::bare).is_some_and(|name| {
            matches!(
                name,
                "declare" | "typeset" | "export" | "readonly" | "local"
            )
        });
        let mut ways = self.fields(words, &state)?;
        let mut set = state.clone();
        for assignment in assignments {
            let values = self.assigned(assignment, &set)?;
            self.steering(&assignment.name, &values, &state);
            if declares {
                ways.iter_mut()
                    .for_each(|argv| argv.push(Text::literal(format!("{}=", assignment.name))));
            }
            set.assign(&assignment.name, values);
        }
        if words.is_empty() || declares {
            state = set;
        }
        let targets = self.redirect(redirections, &state)?;
        let mut outcome: Option<Outcome> = None;
        for argv in ways {
            self.output = None;
            let one = if argv.is_empty() {
                Outcome::either(state.clone())
            } else {
                self.run(&argv, state.clone())?
            };
            self.output = output::of(&argv, self.input.lines.as_deref(), &state);
            outcome = Some(match outcome {
                None => one,
                Some(other) => Outcome {
                    success: other.success.join(&one.success),
                    failure: other.failure.join(&one.failure),
                },
            });
        }
        if !targets.is_empty() {
            self.output = None;
        }
        self.input = outer;
        let mut outcome = outcome.unwrap_or_else(|| Outcome::either(state));
        self.keep_downloads(&targets, &mut outcome.success);
        self.keep_downloads(&targets, &mut outcome.failure);
        Ok(outcome)
    }

    fn assigned(
        &mut self,
        assignment: &Assignment,
        state: &State,
    ) -> Result<Vec<Text>, Unreadable> {
        match &assignment.value {
            Assigned::Word(word) => {
                let values = self.single(word, state)?;
                if !assignment.append {
                    return Ok(values);
                }
                let before = state.variables.get(&assignment.name);
                let unknown = [Text::unknown(Origin::Local)];
                let before: &[Text] = before.map_or(&unknown, Vec::as_slice);
                Ok(before
                    .iter()
                    .flat_map(|before| {
                        values.iter().map(|value| {
                            let mut text = before.clone();
                            text.append(value);
                            text
                        })
                    })
                    .collect())
            }
            Assigned::Array(words) => {
                let download = self
                    .fields(words, state)?
                    .iter()
                    .flatten()
                    .any(Text::is_download);
                let origin = if download {
                    Origin::Download
                } else {
                    Origin::Local
                };
                Ok(vec![Text::unknown(origin)])
            }
        }
    }

    /// Takes standard input from redirections, and returns the files that are written to.
    pub(crate) fn redirect(
        &mut self,
        redirections: &[Redirection],
        state: &State,
    ) -> Result<Vec<Text>, Unreadable> {
        let mut targets = Vec::new();
        for redirection in redirections {
            match redirection {
                Redirection::Duplicate => {}
                Redirection::DuplicateInput => self.input = unknown_input(),
                Redirection::Write(word) => {
                    // What a `>(…)` reads is what this command prints.
                    let outer = std::mem::replace(&mut self.input, unknown_input());
                    for target in self.single(word, state)? {
                        self.note(state, Deed::Write(target.clone()));
                        targets.push(target);
                    }
                    self.input = outer;
                }
                Redirection::Read(word) | Redirection::ReadWrite(word) => {
                    for source in self.single(word, state)? {
                        self.note(state, Deed::Read(source.clone()));
                        if matches!(redirection, Redirection::ReadWrite(_)) {
                            self.note(state, Deed::Write(source.clone()));
                        }
                        let network = source.start().starts_with("/dev/tcp/");
                        if network || self.is_download(&source, state) {
                            self.origin = Origin::Download;
                        }
                        self.input = Input {
                            piped: source.start().starts_with("/dev/fd/"),
                            origin: Some(self.origin),
                            lines: None,
                        };
                    }
                }
                Redirection::HereString(word) => self.here(word, state)?,
                Redirection::HereDoc(body) => {
                    if let Some(body) = body.get() {
                        self.here(body, state)?;
                    }
                }
            }
        }
        Ok(targets)
    }

    fn here(&mut self, word: &Word, state: &State) -> Result<(), Unreadable> {
        let texts = self.single(word, state)?;
        let download = texts.iter().any(Text::is_download);
        self.input = Input {
            piped: true,
            origin: Some(if download {
                Origin::Download
            } else {
                Origin::Local
            }),
            lines: match texts.as_slice() {
                [only] => Some(vec![only.clone()]),
                _ => None,
            },
        };
        Ok(())
    }
}

/// Another command's output, of which nothing is known.
fn unknown_input() -> Input {
    Input {
        piped: true,
        origin: Some(Origin::Local),
        lines: None,
    }
}
