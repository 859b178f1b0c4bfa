//! Builtins that change the shell itself: where it stands, what its variables hold, what it runs later.

use crate::Unreadable;
use crate::command::Operands;
use crate::path::resolve;
use crate::reach::is_input;
use crate::state::State;
use crate::text::{Origin, Piece, Text};
use crate::walk::{Outcome, Walker};

impl Walker<'_> {
    /// What changes the shell itself. None: the command is no builtin of this kind.
    pub(crate) fn builtin(
        &mut self,
        name: &str,
        arguments: &[Text],
        state: &mut State,
    ) -> Result<Option<Outcome>, Unreadable> {
        let after = std::mem::replace(state, State::at(""));
        Ok(Some(match name {
            "cd" | "pushd" => change_directory(arguments, after),
            "popd" => {
                let mut moved = after.clone();
                moved.cwds = vec![Text::unknown(Origin::Local)];
                Outcome {
                    success: moved,
                    failure: after,
                }
            }
            "exit" => Outcome::either(after.unreached()),
            "eval" => {
                let mut text = Text::default();
                for argument in arguments {
                    text.append(argument);
                    text.append(&Text::literal(" "));
                }
                self.script("eval", &text, after)?
            }
            "source" | "." => {
                match arguments.first() {
                    Some(file) if is_input(file) => {
                        self.script_on_input("source", after.clone())?
                    }
                    Some(file) => self.script_file("source", file, &after),
                    None => {}
                }
                // It may change anything, but it is a file of the workspace that could be run anyway.
                Outcome::either(after)
            }
            "trap" if arguments.len() > 1 => {
                if let Some(text) = arguments.first() {
                    self.script("trap", text, after.clone())?;
                }
                Outcome::either(after)
            }
            "alias" | "enable" | "hash"
                if arguments
                    .iter()
                    .any(|a| a.start().contains('=') || a.start().starts_with('-')) =>
            {
                return Err(Unreadable("it changes what the names of commands mean"));
            }
            "set" | "shift" => {
                let mut after = after;
                after.arguments = match arguments.split_first() {
                    Some((first, rest)) if first.known() == Some("--") => Some(rest.to_vec()),
                    None if name == "shift" => {
                        after.arguments.map(|all| all.into_iter().skip(1).collect())
                    }
                    Some((first, _)) if name == "set" && first.start().starts_with(['-', '+']) => {
                        after.arguments
                    }
                    _ => None,
                };
                Outcome::either(after)
            }
            "read" | "mapfile" | "readarray" => {
                let mut after = after;
                let origin = self.input.origin.unwrap_or(Origin::Local);
                let values = match &self.input.lines {
                    Some(lines) if name == "read" => lines.clone(),
                    _ => vec![Text::unknown(origin)],
                };
                let names =
                    Operands::read(arguments, &["-p", "-d", "-n", "-N", "-t", "-u", "-a", "-i"])
                        .operands;
                let alone = names.len() == 1;
                for variable in names.iter().filter_map(Text::known) {
                    let values = if alone {
                        values.clone()
                    } else {
                        vec![Text::unknown(origin)]
                    };
                    after.assign(variable, values);
                }
                if names.is_empty() {
                    after.assign(
                        if name == "read" { "REPLY" } else { "MAPFILE" },
                        vec![Text::unknown(origin)],
                    );
                }
                Outcome::either(after)
            }
            "printf" if arguments.first().and_then(Text::known) == Some("-v") => {
                let mut after = after;
                let download = arguments.iter().any(Text::is_download);
                let origin = if download {
                    Origin::Download
                } else {
                    Origin::Local
                };
                if let Some(variable) = arguments.get(1).and_then(Text::known) {
                    after.assign(variable, vec![Text::unknown(origin)]);
                }
                Outcome::either(after)
            }
            _ => {
                *state = after;
                return Ok(None);
            }
        }))
    }
}

/// `cd`: where it succeeds it stands elsewhere, where it fails it stands where it stood.
pub(crate) fn change_directory(arguments: &[Text], state: State) -> Outcome {
    let (_, rest) = Operands::leading(arguments, &[]);
    let mut moved = state.clone();
    let home = {
        let mut text = Text::default();
        text.push(Piece::Home);
        text
    };
    let target = match rest.first() {
        None => home,
        Some(target)
            if target.known() == Some("-") || arguments.iter().any(|a| a.known() == Some("-")) =>
        {
            Text::unknown(Origin::Local)
        }
        Some(target) => target.clone(),
    };
    moved.cwds = Vec::new();
    for cwd in &state.cwds {
        let place = resolve(&target, cwd).text();
        if !moved.cwds.contains(&place) {
            moved.cwds.push(place);
        }
    }
    if state.variables.contains_key("CDPATH") {
        moved.cwds = vec![Text::unknown(Origin::Local)];
    }
    Outcome {
        success: moved,
        failure: state,
    }
}
