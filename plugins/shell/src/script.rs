//! Program texts: what a shell reads from an argument, a file or its standard input.

use crate::path::resolve;
use crate::state::State;
use crate::text::{Origin, Text};
use crate::walk::{Deed, Input, Outcome, Walker};
use crate::{Unreadable, parser};

/// Programs that download; what they print is not to be run.
const DOWNLOADERS: [&str; 20] = [
    "curl", "wget", "wget2", "fetch", "aria2c", "lynx", "links", "w3m", "http", "https", "xh",
    "curlie", "nc", "ncat", "netcat", "socat", "ftp", "tftp", "telnet", "s_client",
];

impl Walker<'_> {
    /// Runs a program text in the shell as it stands.
    pub(crate) fn script(
        &mut self,
        by: &str,
        text: &Text,
        state: State,
    ) -> Result<Outcome, Unreadable> {
        match text.known() {
            Some(text) => {
                let list = parser::parse(text)?;
                self.nested(|walker| walker.list(&list, state))
            }
            None => {
                let origin = match text.is_download() {
                    true => Origin::Download,
                    false => Origin::Local,
                };
                self.opaque(by, origin, &state);
                Ok(Outcome::either(state))
            }
        }
    }

    pub(crate) fn opaque(&mut self, by: &str, origin: Origin, state: &State) {
        self.note(
            state,
            Deed::Script {
                by: by.to_owned(),
                origin,
            },
        );
    }

    /// Runs what is on standard input; nothing where that is a terminal or a file of the workspace.
    pub(crate) fn script_on_input(&mut self, by: &str, state: State) -> Result<(), Unreadable> {
        let input = std::mem::take(&mut self.input);
        match input {
            Input {
                lines: Some(lines), ..
            } => {
                for line in lines {
                    self.script(by, &line, state.clone())?;
                }
            }
            Input {
                origin: Some(Origin::Download),
                ..
            } => self.opaque(by, Origin::Download, &state),
            Input { piped: true, .. } => self.opaque(by, Origin::Local, &state),
            Input { .. } => {}
        }
        Ok(())
    }

    /// Notes a script file that nobody can tell, or that was downloaded by this line.
    pub(crate) fn script_file(&mut self, by: &str, file: &Text, state: &State) {
        if self.is_download(file, state) {
            self.opaque(by, Origin::Download, state);
        } else if file.has_unknown() {
            self.opaque(by, Origin::Local, state);
        }
    }

    pub(crate) fn is_download(&self, file: &Text, state: &State) -> bool {
        file.is_download()
            || state
                .cwds
                .iter()
                .any(|cwd| state.downloads.contains(&resolve(file, cwd).text()))
    }

    /// What was downloaded into these files is known as such from here on.
    pub(crate) fn keep_downloads(&self, files: &[Text], state: &mut State) {
        if self.origin == Origin::Local {
            return;
        }
        for cwd in state.cwds.clone() {
            for file in files {
                let file = resolve(file, &cwd).text();
                if !file.has_unknown() {
                    state.add_download(file);
                }
            }
        }
    }

    /// Values of variables that make a shell run something at its start.
    pub(crate) fn steering(&mut self, name: &str, values: &[Text], state: &State) {
        if matches!(name, "BASH_ENV" | "ENV") {
            for value in values {
                self.script_file(name, value, state);
            }
        } else if matches!(name, "PROMPT_COMMAND" | "PS4" | "PS0") {
            let download = values.iter().any(Text::is_download);
            let origin = if download {
                Origin::Download
            } else {
                Origin::Local
            };
            self.opaque(name, origin, state);
        }
    }
}

pub(crate) fn is_downloader(name: &str) -> bool {
    DOWNLOADERS.contains(&name)
}

/// The files in which a download ends up.
pub(crate) fn download_targets(name: &str, arguments: &[Text]) -> Vec<Text> {
    use crate::command::Operands;
    let last_part = |url: &Text| {
        let url = url.to_string();
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let part = path.rsplit('/').next().unwrap_or_default();
        Text::literal(part)
    };
    match name {
        "curl" => {
            let valued = [
                "-o",
                "--output",
                "-H",
                "--header",
                "-d",
                "--data",
                "-X",
                "--request",
                "-u",
                "-A",
                "-e",
                "-b",
                "-F",
                "-T",
                "-x",
                "-m",
                "-w",
                "-K",
                "--retry",
                "--output-dir",
                "--connect-timeout",
                "--max-time",
            ];
            let read = Operands::read(arguments, &valued);
            let mut files: Vec<Text> = read.values(&["-o", "--output"]).cloned().collect();
            if read.has(&["-O", "--remote-name", "--remote-name-all"]) {
                files.extend(read.operands.iter().map(last_part));
            }
            files
        }
        "wget" | "wget2" => {
            let valued = [
                "-O",
                "--output-document",
                "-P",
                "--directory-prefix",
                "-U",
                "-t",
                "-T",
                "-o",
                "--header",
            ];
            let read = Operands::read(arguments, &valued);
            let named: Vec<Text> = read.values(&["-O", "--output-document"]).cloned().collect();
            match named.is_empty() {
                true => read.operands.iter().map(last_part).collect(),
                false => named,
            }
        }
        "aria2c" => Operands::read(arguments, &["-o", "--out", "-d", "--dir"])
            .values(&["-o", "--out"])
            .cloned()
            .collect(),
        _ => Vec::new(),
    }
}
