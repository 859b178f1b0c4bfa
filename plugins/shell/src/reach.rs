//! One command: what it does to the shell, and which commands it runs in turn.

use std::rc::Rc;

use crate::Unreadable;
use crate::carriers;
use crate::command::{Operands, base_name};
use crate::script::{download_targets, is_downloader};
use crate::state::State;
use crate::text::{Origin, Text};
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
                    self.run(
                        &carriers::with_found(command, &[Text::literal(".")]),
                        state.clone(),
                    )?;
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
        let downloaded = match rest.get(skip) {
            Some(file) if !is_input(file) => self.is_download(file, state),
            _ => self.input.origin == Some(Origin::Download),
        };
        if downloaded {
            self.opaque(name, Origin::Download, state);
        }
    }
}

/// Standard input, or another descriptor that the line opened.
pub(crate) fn is_input(file: &Text) -> bool {
    let start = file.start();
    let descriptor = ["/dev/fd/", "/proc/self/fd/"]
        .iter()
        .any(|directory| start.starts_with(directory));
    matches!(file.known(), Some("-" | "/dev/stdin")) || (descriptor && file.known().is_some())
}

pub(crate) fn is_assignment(word: &Text) -> bool {
    word.start().split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

pub(crate) fn joined(words: &[Text]) -> Text {
    let mut text = Text::default();
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            text.append(&Text::literal(" "));
        }
        text.append(word);
    }
    text
}
