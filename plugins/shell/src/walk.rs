//! Goes through the tree as the shell would, and notes what it would do.

use std::rc::Rc;

use crate::Unreadable;
use crate::ast::{AndOr, Command, Join, Kind, List, Pipeline};
use crate::parser;
use crate::state::State;
use crate::text::{Origin, Text};

/// Commands that a line may run, counted as often as they are looked at.
const MAX_STEPS: u32 = 4000;
/// Scripts within scripts, functions within functions.
const MAX_DEPTH: u8 = 10;

/// Where the line is run.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Root of the workspace.
    pub workspace: &'a str,
    /// Where the shell starts.
    pub cwd: &'a str,
}

/// Something that the line would do, or might.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The directories in which the shell may stand then.
    pub cwds: Vec<Text>,
    /// What.
    pub deed: Deed,
}

/// What a line does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A command with its arguments. What runs another command is there beside it.
    Run(Vec<Text>),
    /// A redirection writes to this file.
    Write(Text),
    /// A redirection reads this file.
    Read(Text),
    /// A program text that nobody can tell is run.
    Script {
        /// By whom: `bash`, `eval`, `source`, `python3`.
        by: String,
        /// Where it comes from.
        origin: Origin,
    },
}

/// What the line would do, or might, in order; some of it twice.
///
/// # Errors
/// The line cannot be read.
pub fn events(line: &str, context: Context<'_>) -> Result<Vec<Event>, Unreadable> {
    let list = parser::parse(line)?;
    let mut walker = Walker {
        context,
        events: Vec::new(),
        origin: Origin::Local,
        input: Input::default(),
        output: None,
        depth: 0,
        steps: 0,
    };
    walker.list(&list, State::at(context.cwd))?;
    Ok(walker.events)
}

/// Standard input.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input {
    /// Another command's output.
    pub(crate) piped: bool,
    pub(crate) origin: Option<Origin>,
    /// What is on it, where that can be told.
    pub(crate) lines: Option<Vec<Text>>,
}

pub(crate) struct Walker<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) events: Vec<Event>,
    /// Whether something was downloaded in the pipeline or substitution that is walked.
    pub(crate) origin: Origin,
    pub(crate) input: Input,
    /// What the last command printed.
    pub(crate) output: Option<Vec<Text>>,
    pub(crate) depth: u8,
    steps: u32,
}

/// The shell afterwards, told apart by how the command ended.
pub(crate) struct Outcome {
    pub(crate) success: State,
    pub(crate) failure: State,
}

impl Outcome {
    /// It can end both ways and changed the shell in both.
    pub(crate) fn either(state: State) -> Self {
        Self {
            success: state.clone(),
            failure: state,
        }
    }

    pub(crate) fn any(self) -> State {
        self.success.join(&self.failure)
    }
}

pub(crate) type Walk = Result<Outcome, Unreadable>;

impl Walker<'_> {
    pub(crate) fn note(&mut self, state: &State, deed: Deed) {
        self.events.push(Event {
            cwds: state.cwds.clone(),
            deed,
        });
    }

    pub(crate) fn nested<T>(
        &mut self,
        walk: impl FnOnce(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<T, Unreadable> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Unreadable("it is nested too deeply"));
        }
        let result = walk(self)?;
        self.depth -= 1;
        Ok(result)
    }

    pub(crate) fn list(&mut self, list: &List, state: State) -> Walk {
        let mut outcome = Outcome {
            failure: state.unreached(),
            success: state,
        };
        for item in &list.0 {
            let mut before = outcome.any();
            if before.cwds.is_empty() {
                // Behind `exit`. It is looked at all the same.
                before.cwds = vec![Text::unknown(Origin::Local)];
            }
            outcome = match item.background {
                true => {
                    self.and_or(item, before.clone())?;
                    Outcome::either(before)
                }
                false => self.and_or(item, before)?,
            };
        }
        Ok(outcome)
    }

    fn and_or(&mut self, item: &AndOr, state: State) -> Walk {
        let mut outcome = self.pipeline(&item.first, state)?;
        for (join, pipeline) in &item.rest {
            let (goes_on, stays) = match join {
                Join::And => (outcome.success, outcome.failure),
                Join::Or => (outcome.failure, outcome.success),
            };
            let next = self.pipeline(pipeline, goes_on)?;
            outcome = match join {
                Join::And => Outcome {
                    success: next.success,
                    failure: next.failure.join(&stays),
                },
                Join::Or => Outcome {
                    success: next.success.join(&stays),
                    failure: next.failure,
                },
            };
        }
        Ok(outcome)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, mut state: State) -> Walk {
        // What is read from the input is handed on.
        let given = self.input.origin.unwrap_or(Origin::Local);
        let outer = std::mem::replace(&mut self.origin, given);
        let mut outcome = if let [only] = pipeline.commands.as_slice() {
            self.command(only, state)?
        } else {
            let input = self.input.clone();
            for (place, command) in pipeline.commands.iter().enumerate() {
                if place > 0 {
                    self.input = Input {
                        piped: true,
                        origin: Some(self.origin),
                        lines: self.output.take(),
                    };
                }
                self.output = None;
                // Each part is a shell of its own; what it downloaded stays in its files.
                let after = self.command(command, state.clone())?.any();
                after
                    .downloads
                    .into_iter()
                    .for_each(|file| state.add_download(file));
            }
            self.input = input;
            Outcome::either(state)
        };
        self.origin = outer.max(self.origin);
        if pipeline.negated {
            std::mem::swap(&mut outcome.success, &mut outcome.failure);
        }
        Ok(outcome)
    }

    pub(crate) fn command(&mut self, command: &Command, state: State) -> Walk {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(Unreadable("it does too much"));
        }
        if let Kind::Simple { assignments, words } = &command.kind {
            return self.simple(assignments, words, &command.redirections, state);
        }
        let outer = self.input.clone();
        let targets = self.redirect(&command.redirections, &state)?;
        let mut outcome = self.nested(|walker| walker.compound(&command.kind, state))?;
        self.output = None;
        self.input = outer;
        self.keep_downloads(&targets, &mut outcome.success);
        self.keep_downloads(&targets, &mut outcome.failure);
        Ok(outcome)
    }

    fn compound(&mut self, kind: &Kind, mut state: State) -> Walk {
        match kind {
            Kind::Subshell(list) => {
                let after = self.list(list, state.clone())?.any();
                after
                    .downloads
                    .into_iter()
                    .for_each(|file| state.add_download(file));
                Ok(Outcome::either(state))
            }
            Kind::Group(list) => self.list(list, state),
            Kind::If(branches, otherwise) => {
                let mut ends: Option<State> = None;
                let mut add = |after: State| {
                    ends = Some(match ends.take() {
                        Some(before) => before.join(&after),
                        None => after,
                    });
                };
                for (condition, body) in branches {
                    let outcome = self.list(condition, state)?;
                    add(self.list(body, outcome.success)?.any());
                    state = outcome.failure;
                }
                match otherwise {
                    Some(list) => add(self.list(list, state)?.any()),
                    None => add(state),
                }
                Ok(Outcome::either(
                    ends.unwrap_or_else(|| State::at(self.context.cwd)),
                ))
            }
            Kind::Loop(condition, body) => self.repeat(state, |walker, state| {
                let outcome = walker.list(condition, state)?;
                let after = walker.list(body, outcome.success)?.any();
                Ok(after.join(&outcome.failure))
            }),
            Kind::For(name, words, body) => {
                let values: Vec<Text> = match words {
                    Some(words) => self.fields(words, &state)?.concat(),
                    None => state
                        .arguments
                        .clone()
                        .unwrap_or_else(|| vec![Text::unknown(Origin::Local)]),
                };
                self.repeat(state, |walker, mut state| {
                    state.assign(name, values.clone());
                    Ok(walker.list(body, state)?.any())
                })
            }
            Kind::Case(word, arms) => {
                self.single(word, &state)?;
                let mut after = state.clone();
                for arm in arms {
                    after = self.list(arm, state.clone())?.any().join(&after);
                }
                Ok(Outcome::either(after))
            }
            Kind::Function(name, body) => {
                if state.functions.contains_key(name) {
                    return Err(Unreadable("a function is defined twice"));
                }
                state.functions.insert(name.clone(), Rc::clone(body));
                Ok(Outcome::either(state))
            }
            Kind::Test(words) => {
                for word in words {
                    self.single(word, &state)?;
                }
                Ok(Outcome::either(state))
            }
            Kind::Arithmetic | Kind::Simple { .. } => Ok(Outcome::either(state)),
        }
    }

    /// A body that runs any number of times: until it changes nothing more, or what it changes is forgotten.
    fn repeat(
        &mut self,
        state: State,
        mut body: impl FnMut(&mut Self, State) -> Result<State, Unreadable>,
    ) -> Walk {
        let once = state.clone().join(&body(self, state.clone())?);
        if once.is_like(&state) {
            return Ok(Outcome::either(once));
        }
        let twice = once.clone().join(&body(self, once.clone())?);
        if twice.is_like(&once) {
            return Ok(Outcome::either(twice));
        }
        let forgotten = once.forget(&twice);
        let after = body(self, forgotten.clone())?;
        Ok(Outcome::either(forgotten.join(&after)))
    }
}
