//! The workspace before the agent comes: its working directory and the caller's own commands.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio_util::sync::CancellationToken;

use super::Failure;
use crate::admission::Request;
use crate::isolation::{Ended, IsolationError, Program, Sandbox};
use crate::redact::Redactor;
use crate::task::{EventLog, Reason};

/// A line of a command's output that is passed on whole; the rest of a longer one is dropped.
const MAX_OUTPUT_LINE: usize = 16 * 1024;
/// The command comes by the environment: arguments can be read by every user of the machine, and the
/// text of a command may hold a secret of the caller's.
const COMMAND: &str = "GATEHOUSE_COMMAND";
const RUN_COMMAND: &str = r#"command=$GATEHOUSE_COMMAND; unset GATEHOUSE_COMMAND; eval "$command""#;
/// Lines that are repeated in the error of a command that failed.
const TAIL_LINES: usize = 5;

/// The directory in which the agent works: the workspace, or `cwdRelative` below it.
pub(super) fn working_directory(sandbox: &Sandbox, request: &Request) -> Result<PathBuf, Failure> {
    let Some(relative) = &request.cwd_relative else {
        return Ok(sandbox.workspace().to_owned());
    };
    // Admission refused absolute paths and `..`; a link of the repository's is refused here. Plain names
    // only, because the CLI is told the very path.
    let names = Path::new(relative)
        .components()
        .filter(|name| matches!(name, Component::Normal(_)));
    let directory = sandbox.workspace().join(names.collect::<PathBuf>());
    sandbox.make_dir(&directory).map_err(in_the_way)?;
    Ok(directory)
}

fn in_the_way(error: IsolationError) -> Failure {
    let of_the_path = match &error {
        IsolationError::System { source, .. } => matches!(
            Errno::from_io_error(source),
            Some(Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG)
        ),
        _ => false,
    };
    if !of_the_path {
        return Failure::fault("making the working directory", error);
    }
    Failure::told(
        Reason::Setup,
        "cwdRelative does not name a directory in this workspace: a file or a link is in its place or \
         on the way, or a name is too long",
    )
}

/// The environment of everything that runs for the caller: `environmentSecrets`.
pub(super) fn callers_environment(request: &Request) -> BTreeMap<String, String> {
    request
        .environment_secrets
        .iter()
        .map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
        .collect()
}

/// Runs `preExecutionCommands` one after another, as the agent's user and in its environment.
#[derive(Debug)]
pub(super) struct Commands<'a> {
    pub(super) sandbox: &'a Sandbox,
    pub(super) log: &'a EventLog,
    pub(super) redactor: &'a Redactor,
    pub(super) cwd: &'a Path,
    pub(super) env: BTreeMap<String, String>,
    pub(super) limit: Duration,
    pub(super) stop: CancellationToken,
}

impl Commands<'_> {
    /// The first failure ends the task with the command's number and the end of its output.
    pub(super) async fn run(&self, commands: &[String]) -> Result<(), Failure> {
        for (number, command) in (1..).zip(commands) {
            self.log
                .say(json!({"phase": "preExecution", "command": number, "state": "started"}))
                .await;
            self.run_one(number, command).await?;
        }
        Ok(())
    }

    async fn run_one(&self, number: usize, command: &str) -> Result<(), Failure> {
        let program = Program {
            path: PathBuf::from("/bin/sh"),
            args: vec![OsString::from("-c"), OsString::from(RUN_COMMAND)],
            env: self.environment(command),
            cwd: self.cwd.to_owned(),
        };
        let mut running = self
            .sandbox
            .spawn(&program)
            .map_err(|source| Failure::fault("starting a command", source))?;
        // Nobody is there to answer a command that asks.
        drop(running.stdin.take());
        let (stdout, stderr) = (running.stdout.take(), running.stderr.take());
        let read = async {
            let (mut from_stdout, mut from_stderr) = (Tail::default(), Tail::default());
            tokio::join!(
                self.pass_on(number, "stdout", stdout, &mut from_stdout),
                self.pass_on(number, "stderr", stderr, &mut from_stderr),
            );
            from_stderr.or(from_stdout)
        };
        let whole = async {
            let tail = read.await;
            (running.wait().await, tail)
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(self.limit, whole) => outcome,
            () = self.stop.cancelled() => return Ok(()),
        };
        let message = match outcome {
            Ok((Ok(Ended::Code(0)), _)) => return Ok(()),
            Ok((Ok(Ended::Code(code)), tail)) => format!("ended with exit code {code}{tail}"),
            Ok((Ok(Ended::Signal(signal)), tail)) => format!("was ended by signal {signal}{tail}"),
            Ok((Err(source), _)) => return Err(Failure::fault("waiting for a command", source)),
            Err(_elapsed) => format!("did not end within {} seconds", self.limit.as_secs()),
        };
        let message = self.redactor.text(&message);
        Err(Failure::told(
            Reason::Setup,
            format!("Pre-execution command {number} {message}"),
        ))
    }

    fn environment(&self, command: &str) -> BTreeMap<OsString, OsString> {
        let home = self.sandbox.home().as_os_str().to_owned();
        let tmp = self.sandbox.tmp().as_os_str().to_owned();
        let ours = [
            (
                OsString::from("PATH"),
                OsString::from("/usr/local/bin:/usr/bin:/bin"),
            ),
            (OsString::from("LANG"), OsString::from("C.UTF-8")),
            (OsString::from("CI"), OsString::from("true")),
            (OsString::from(COMMAND), OsString::from(command)),
            (OsString::from("HOME"), home),
            (OsString::from("TMPDIR"), tmp),
        ];
        self.env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .chain(ours)
            .collect()
    }

    async fn pass_on(
        &self,
        number: usize,
        stream: &str,
        from: Option<impl AsyncRead + Unpin>,
        tail: &mut Tail,
    ) {
        let Some(from) = from else { return };
        let mut reader = BufReader::new(from);
        loop {
            let mut line = Vec::new();
            let most = MAX_OUTPUT_LINE + self.redactor.reach();
            match read_bounded_line(&mut reader, &mut line, most).await {
                Ok(true) => {
                    let text = self.redactor.head(&line, MAX_OUTPUT_LINE);
                    let text = String::from_utf8_lossy(&text).into_owned();
                    self.log.say(json!({"phase": "preExecution", "command": number, "stream": stream, "text": text})).await;
                    tail.push(text);
                }
                Ok(false) | Err(_) => return,
            }
        }
    }
}

/// Reads up to the next newline, keeping at most `most` bytes; false at the end.
async fn read_bounded_line(
    reader: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
    most: usize,
) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = available
            .get(..end.unwrap_or(available.len()))
            .unwrap_or(available);
        let room = most.saturating_sub(line.len());
        line.extend(part.iter().take(room));
        let used = end.map_or(available.len(), |at| at + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// The last lines of an output.
#[derive(Debug, Default)]
struct Tail(VecDeque<String>);

impl Tail {
    fn push(&mut self, line: String) {
        if self.0.len() == TAIL_LINES {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    fn or(self, other: Self) -> String {
        let lines = if self.0.is_empty() { other.0 } else { self.0 };
        if lines.is_empty() {
            return String::new();
        }
        format!(": {}", Vec::from(lines).join("\n"))
    }
}
