//! One command: what it does to the shell, and which commands it runs in turn.

use std::rc::Rc;

use crate::Unreadable;
use crate::command::{Operands, base_name};
use crate::path::resolve;
use crate::script::{download_targets, is_downloader};
use crate::state::State;
use crate::text::{Origin, Piece, Text};
use crate::walk::{Deed, Outcome, Walker};

/// Shells, whose programs are read here.
const SHELLS: [&str; 10] = [
    "sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "rbash", "hush", "fish",
];
/// Interpreters, whose programs are not, with the options that give a program or a module.
const INTERPRETERS: [(&str, &[&str]); 13] = [
    ("python", &["-c", "-m"]),
    ("pypy", &["-c", "-m"]),
    ("perl", &["-e", "-E", "-n", "-p"]),
    ("ruby", &["-e", "-n", "-p"]),
    ("node", &["-e", "-p", "--eval", "--print"]),
    ("nodejs", &["-e", "-p", "--eval", "--print"]),
    ("php", &["-r"]),
    ("lua", &["-e"]),
    ("deno", &[]),
    ("bun", &["-e"]),
    ("tclsh", &[]),
    ("pwsh", &["-c", "-Command"]),
    ("osascript", &["-e"]),
];
/// Commands that run the command in their arguments: options that take a value, and how many words
/// stand before it.
const WRAPPERS: [(&str, &[&str], usize); 24] = [
    (
        "sudo",
        &[
            "-u", "-g", "-h", "-p", "-C", "-r", "-t", "-T", "-U", "-D", "-R", "--user", "--group",
        ],
        0,
    ),
    ("doas", &["-u", "-C"], 0),
    ("pkexec", &["--user"], 0),
    ("command", &[], 0),
    ("builtin", &[], 0),
    ("exec", &["-a"], 0),
    ("nohup", &[], 0),
    ("setsid", &[], 0),
    ("nice", &["-n", "--adjustment"], 0),
    ("ionice", &["-c", "-n"], 0),
    ("chrt", &[], 1),
    ("taskset", &[], 1),
    ("timeout", &["-k", "-s", "--kill-after", "--signal"], 1),
    (
        "stdbuf",
        &["-i", "-o", "-e", "--input", "--output", "--error"],
        0,
    ),
    ("time", &["-f", "-o", "--format", "--output"], 0),
    ("watch", &["-n", "--interval"], 0),
    ("unshare", &[], 0),
    ("chroot", &[], 1),
    ("strace", &["-o", "-e", "-s"], 0),
    ("ltrace", &["-o", "-e"], 0),
    ("busybox", &[], 0),
    ("toybox", &[], 0),
    ("caffeinate", &[], 0),
    ("coproc", &[], 0),
];

type Run = Result<Outcome, Unreadable>;

impl Walker<'_> {
    /// Runs a command by its arguments, of which there is at least one.
    pub(crate) fn run(&mut self, argv: &[Text], state: State) -> Run {
        self.nested(|walker| walker.run_one(argv, state))
    }

    fn run_one(&mut self, argv: &[Text], mut state: State) -> Run {
        let Some((first, arguments)) = argv.split_first() else {
            return Ok(Outcome::either(state));
        };
        self.note(&state, Deed::Run(argv.to_vec()));
        let Some(named) = first.known().map(str::to_owned) else {
            return Ok(Outcome::either(state));
        };
        if let Some(body) = state.functions.get(&named).map(Rc::clone) {
            let outer = state.arguments.replace(arguments.to_vec());
            let mut outcome = self.command(&body, state)?;
            outcome.success.arguments.clone_from(&outer);
            outcome.failure.arguments = outer;
            return Ok(outcome);
        }
        let name = base_name(&named);
        if named.contains('/') && self.is_download(first, &state) {
            self.opaque(name, Origin::Download, &state);
        }
        if arguments
            .iter()
            .any(|argument| self.is_download(argument, &state))
        {
            self.origin = Origin::Download;
        }
        let openssl =
            name == "openssl" && arguments.first().and_then(Text::known) == Some("s_client");
        if is_downloader(name) || openssl {
            self.origin = Origin::Download;
            self.keep_downloads(&download_targets(name, arguments), &mut state);
            return Ok(Outcome::either(state));
        }
        if let Some(outcome) = self.builtin(name, arguments, &mut state)? {
            return Ok(outcome);
        }
        if SHELLS.contains(&name) {
            self.shell(name, arguments, &state)?;
        } else if name == "tee" {
            let files = Operands::read(arguments, &[]).operands;
            self.keep_downloads(&files, &mut state);
        } else if let Some((_, valued, before)) = WRAPPERS.iter().find(|(known, ..)| *known == name)
        {
            return self.wrapper(name, arguments, (valued, *before), state);
        } else {
            self.other(name, arguments, &state)?;
        }
        Ok(Outcome::either(state))
    }

    /// What changes the shell itself. None: the command is no builtin of this kind.
    fn builtin(
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
                if let Some(file) = arguments.first() {
                    self.script_file("source", file, &after);
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

    fn shell(&mut self, name: &str, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
        let (read, rest) = Operands::leading(arguments, &["-o", "-O", "--rcfile", "--init-file"]);
        // A shell of its own does not have this one's variables.
        let mut inner = state.clone();
        inner.variables.clear();
        inner.functions.clear();
        for file in read.values(&["--rcfile", "--init-file"]) {
            self.script_file(name, file, state);
        }
        if read.has(&["-c"]) {
            if let Some((text, arguments)) = rest.split_first() {
                inner.arguments = Some(arguments.iter().skip(1).cloned().collect());
                self.script(name, text, inner)?;
            }
            return Ok(());
        }
        match rest.first() {
            Some(file) if !read.has(&["-s"]) && !is_input(file) => {
                self.script_file(name, file, state)
            }
            _ => self.script_on_input(name, inner)?,
        }
        Ok(())
    }

    fn wrapper(
        &mut self,
        name: &str,
        arguments: &[Text],
        (valued, before): (&[&str], usize),
        state: State,
    ) -> Run {
        let (read, rest) = Operands::leading(arguments, valued);
        if name == "command" && read.has(&["-v", "-V"]) {
            return Ok(Outcome::either(state));
        }
        let rest = rest.get(before..).unwrap_or_default();
        // `sudo A=b cmd`.
        let assigned = rest.iter().take_while(|word| is_assignment(word)).count();
        let inner = rest.get(assigned..).unwrap_or_default();
        if inner.is_empty() {
            if name == "sudo" && read.has(&["-s", "-i", "--shell", "--login"]) {
                self.script_on_input("sudo", state.clone())?;
            }
            return Ok(Outcome::either(state));
        }
        if name == "watch" {
            return self.script(name, &joined(inner), state);
        }
        let outcome = self.run(inner, state)?;
        Ok(outcome)
    }

    fn other(&mut self, name: &str, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
        match name {
            "env" => self.env(arguments, state)?,
            "xargs" | "parallel" => self.xargs(name, arguments, state)?,
            "find" => self.find(arguments, state)?,
            "fd" | "fdfind" => {
                let at = arguments.iter().position(|a| {
                    matches!(a.known(), Some("-x" | "-X" | "--exec" | "--exec-batch"))
                });
                if let Some(command) = at
                    .and_then(|at| arguments.get(at + 1..))
                    .filter(|c| !c.is_empty())
                {
                    self.run(&with_found(command, &[Text::literal(".")]), state.clone())?;
                }
            }
            "su" | "runuser" | "script" | "flock" => {
                let read = Operands::read(arguments, &["-c", "--command", "-s", "--shell"]);
                for text in read.values(&["-c", "--command"]) {
                    self.script(name, text, state.clone())?;
                }
                if name == "flock"
                    && let Some(command) = read.operands.get(1..).filter(|c| !c.is_empty())
                {
                    self.run(command, state.clone())?;
                }
                if matches!(name, "su" | "runuser") && !read.has(&["-c", "--command"]) {
                    self.script_on_input(name, state.clone())?;
                }
            }
            _ => self.interpreter(name, arguments, state),
        }
        Ok(())
    }

    /// Only what was downloaded is noted: other programs of these languages are not read here.
    fn interpreter(&mut self, name: &str, arguments: &[Text], state: &State) {
        let plain = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
        let Some((_, inline)) = INTERPRETERS.iter().find(|(known, _)| *known == plain) else {
            return;
        };
        let (read, rest) = Operands::leading(
            arguments,
            &["-c", "-m", "-W", "-X", "-r", "--require", "-e"],
        );
        for program in read.values(inline) {
            if program.is_download() {
                self.opaque(name, Origin::Download, state);
            }
        }
        if read.has(inline) {
            return;
        }
        let skip = usize::from(matches!(rest.first().and_then(Text::known), Some("run")));
        match rest.get(skip) {
            Some(file) if !is_input(file) => {
                if self.is_download(file, state) {
                    self.opaque(name, Origin::Download, state);
                }
            }
            _ if self.input.origin == Some(Origin::Download) => {
                self.opaque(name, Origin::Download, state);
            }
            _ => {}
        }
    }

    fn env(&mut self, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
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

    fn xargs(&mut self, name: &str, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
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

    fn find(&mut self, arguments: &[Text], state: &State) -> Result<(), Unreadable> {
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

fn is_input(file: &Text) -> bool {
    matches!(
        file.known(),
        Some("-" | "/dev/stdin" | "/dev/fd/0" | "/proc/self/fd/0")
    )
}

pub(crate) fn is_assignment(word: &Text) -> bool {
    word.start().split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

fn joined(words: &[Text]) -> Text {
    let mut text = Text::default();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            text.append(&Text::literal(" "));
        }
        text.append(word);
    }
    text
}

/// `{}` is something below one of the directories in which is searched.
fn with_found(command: &[Text], starts: &[Text]) -> Vec<Text> {
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

/// `cd`: where it succeeds it stands elsewhere, where it fails it stands where it stood.
fn change_directory(arguments: &[Text], state: State) -> Outcome {
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
