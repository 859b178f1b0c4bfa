//! Commands that hand arguments of their own to others: `env`, `xargs`, `find -exec`.

use crate::Unreadable;
use crate::builtin::change_directory;
use crate::command::Operands;
use crate::reach::{is_assignment, joined};
use crate::state::State;
use crate::text::{Origin, Piece, Text};
use crate::walk::Walker;

impl Walker<'_> {
    pub(crate) fn env(&mut self, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
        let valued = ["-u", "--unset", "-C", "--chdir", "-S", "--split-string"];
        let (read, rest) = Operands::leading(arguments, &valued);
        let mut state = state.clone();
        if let Some(directory) = read.values(&["-C", "--chdir"]).last() {
            state = change_directory(std::slice::from_ref(directory), state).success;
        }
        let assigned = rest.iter().take_while(|word| is_assignment(word)).count();
        for assignment in rest.iter().take(assigned) {
            if let Some((name, value)) = assignment.split_once('=') {
                self.steering(&name.to_string(), &[value], &state);
            }
        }
        let inner = rest.get(assigned..).unwrap_or_default();
        if let Some(text) = read.values(&["-S", "--split-string"]).next() {
            let mut line = text.split();
            line.extend_from_slice(rest);
            let text = joined(&line);
            self.script("env", &text, state)?;
        } else if !inner.is_empty() {
            self.run(inner, state)?;
        }
        Ok(())
    }

    pub(crate) fn xargs(
        &mut self,
        name: &str,
        arguments: &[Text],
        state: &State,
    ) -> Result<(), Unreadable> {
        let valued = [
            "-I",
            "-n",
            "-P",
            "-L",
            "-d",
            "-a",
            "-s",
            "-E",
            "-j",
            "--max-args",
            "--max-procs",
            "--replace",
            "--arg-file",
            "--delimiter",
            "--jobs",
        ];
        let (read, inner) = Operands::leading(arguments, &valued);
        let origin = self.input.origin.unwrap_or(Origin::Local);
        let given = match &self.input.lines {
            Some(lines) if !read.has(&["-a", "--arg-file"]) => {
                lines.iter().flat_map(Text::split).collect()
            }
            _ => vec![Text::unknown(origin)],
        };
        let placeholder = read.values(&["-I"]).next().and_then(Text::known);
        let placeholder = match (placeholder, name) {
            (Some(text), _) => Some(text.to_owned()),
            (None, "parallel") => Some("{}".to_owned()),
            _ => read.has(&["-i", "--replace"]).then(|| "{}".to_owned()),
        };
        if inner.is_empty() {
            // It prints what it is given; `parallel` runs it.
            if name == "parallel" {
                self.script(name, &joined(&given), state.clone())?;
            }
            return Ok(());
        }
        let argv = match placeholder {
            Some(placeholder) => replaced(inner, &placeholder, &given),
            None => [inner, &given].concat(),
        };
        // What it reads its arguments from is not its command's standard input.
        let input = std::mem::take(&mut self.input);
        self.run(&argv, state.clone())?;
        self.input = input;
        Ok(())
    }

    pub(crate) fn find(&mut self, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
        let starts: Vec<Text> = arguments
            .iter()
            .take_while(|argument| !argument.start().starts_with(['-', '(', '!']))
            .cloned()
            .collect();
        let mut rest = arguments;
        while let Some((argument, after)) = rest.split_first() {
            rest = after;
            if !matches!(
                argument.known(),
                Some("-exec" | "-execdir" | "-ok" | "-okdir")
            ) {
                continue;
            }
            let end = after
                .iter()
                .position(|word| matches!(word.known(), Some(";" | "+")))
                .unwrap_or(after.len());
            let command = after.get(..end).unwrap_or_default();
            if !command.is_empty() {
                self.run(&with_found(command, &starts), state.clone())?;
            }
            rest = after.get(end..).unwrap_or_default();
        }
        Ok(())
    }
}

/// `{}` is something below one of the directories in which is searched.
pub(crate) fn with_found(command: &[Text], starts: &[Text]) -> Vec<Text> {
    let here = [Text::literal(".")];
    let starts = if starts.is_empty() { &here } else { starts };
    let found: Vec<Text> = starts
        .iter()
        .map(|start| {
            let mut path = start.clone();
            path.append(&Text::literal("/"));
            path.push(Piece::Name);
            path
        })
        .collect();
    replaced(command, "{}", &found)
}

/// Every `placeholder` replaced: a word of its own by all values, within a word by what is known of
/// them together.
fn replaced(command: &[Text], placeholder: &str, values: &[Text]) -> Vec<Text> {
    let mut argv = Vec::new();
    for word in command {
        if word.known() == Some(placeholder) {
            argv.extend_from_slice(values);
            continue;
        }
        let Some((before, after)) = word.known().and_then(|text| text.split_once(placeholder))
        else {
            argv.push(word.clone());
            continue;
        };
        let mut text = Text::literal(before);
        match values {
            [only] if !after.contains(placeholder) => {
                text.append(only);
                text.append(&Text::literal(after));
            }
            _ => {
                let download = values.iter().any(Text::is_download);
                text.push(Piece::Unknown(if download {
                    Origin::Download
                } else {
                    Origin::Local
                }));
            }
        }
        argv.push(text);
    }
    argv
}
