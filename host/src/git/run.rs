//! Running git: one program, its input and output, a limit, the whole tree ended with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::PATH;
use crate::isolation::{Ended, IsolationError, Program, Sandbox, Supervised};

/// Bytes of standard error that are kept: its end.
const COMPLAINT: usize = 8 << 10;
/// Bytes of standard output that are taken where nobody says otherwise.
const OUTPUT: usize = 16 << 20;
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);

/// Why a run of git gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RunError {
    /// It said no.
    #[error("`git {what}` ended with {code}: {complaint}")]
    Failed {
        /// The subcommand.
        what: String,
        code: i32,
        /// The end of its standard error; may hold what the remote said.
        complaint: String,
    },
    /// It took longer than it may.
    #[error("`git {0}` did not end in time")]
    TimedOut(String),
    /// The task ends.
    #[error("the task was ended")]
    Stopped,
    /// It wrote more than is taken.
    #[error("`git {what}` wrote more than {most} bytes")]
    TooMuch { what: String, most: u64 },
    /// A program of the system is missing.
    #[error("`{0}` is not installed")]
    Missing(&'static str),
    /// It could not be run.
    #[error(transparent)]
    Isolation(#[from] IsolationError),
    /// A pipe or a file broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Until when everything has to be done, and what ends it before.
#[derive(Clone, Debug)]
pub(super) struct Until {
    pub(super) deadline: Instant,
    pub(super) stop: CancellationToken,
}

impl Until {
    pub(super) fn within(limit: Duration, stop: CancellationToken) -> Self {
        let deadline = Instant::now() + limit;
        Self { deadline, stop }
    }

    /// The work's result, unless time or the task is over before.
    pub(super) async fn bound<T, E: From<RunError>>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        tokio::select! {
            result = work => result,
            () = tokio::time::sleep_until(self.deadline) => Err(RunError::TimedOut(what.to_owned()).into()),
            () = self.stop.cancelled() => Err(RunError::Stopped.into()),
        }
    }
}

/// Git in one directory of one sandbox. Its environment is what stands here and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Git<'a> {
    sandbox: &'a Sandbox,
    /// Where it is another program than git.
    program: Option<PathBuf>,
    directory: PathBuf,
    environment: BTreeMap<OsString, OsString>,
    until: &'a Until,
}

impl<'a> Git<'a> {
    pub(super) fn new(sandbox: &'a Sandbox, directory: &Path, until: &'a Until) -> Self {
        let home = sandbox.home().as_os_str();
        let tmp = sandbox.tmp().as_os_str();
        let fixed = [
            ("PATH", PATH),
            ("LC_ALL", "C.UTF-8"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "false"),
            ("GIT_NO_LAZY_FETCH", "1"),
            ("GIT_ADVICE", "0"),
        ];
        let environment = fixed
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .chain([("HOME".into(), home.into()), ("TMPDIR".into(), tmp.into())])
            .collect();
        Self {
            sandbox,
            program: None,
            directory: directory.to_owned(),
            environment,
            until,
        }
    }

    /// The same in another directory.
    pub(super) fn at(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// Another program in git's place, with the same environment.
    pub(super) fn in_its_place(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// Runs it to its end; what it wrote to standard output.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, RunError> {
        self.feed(arguments, Vec::new()).await
    }

    /// The same as text without the newline at its end.
    pub(super) async fn text(&self, arguments: &[&str]) -> Result<String, RunError> {
        let output = self.run(arguments).await?;
        Ok(String::from_utf8_lossy(&output).trim_end().to_owned())
    }

    /// Whether it ended with 0; false where it ended with 1.
    pub(super) async fn holds(&self, arguments: &[&str]) -> Result<bool, RunError> {
        match self.run(arguments).await {
            Ok(_) => Ok(true),
            Err(RunError::Failed { code: 1, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs it with this on standard input.
    pub(super) async fn feed(
        &self,
        arguments: &[&str],
        input: Vec<u8>,
    ) -> Result<Vec<u8>, RunError> {
        let mut output = Vec::new();
        let mut taken = Bounded {
            into: &mut output,
            most: OUTPUT as u64,
        };
        self.stream(arguments, input, &mut taken, |_| ()).await?;
        Ok(output)
    }

    /// Runs it with a look at each line of its standard error, progress included.
    pub(super) async fn watch(
        &self,
        arguments: &[&str],
        line: impl FnMut(&str),
    ) -> Result<(), RunError> {
        let mut output = Vec::new();
        let mut taken = Bounded {
            into: &mut output,
            most: OUTPUT as u64,
        };
        self.stream(arguments, Vec::new(), &mut taken, line).await
    }

    /// Runs it and hands its standard output on as it comes.
    pub(super) async fn stream(
        &self,
        arguments: &[&str],
        input: Vec<u8>,
        output: &mut impl Take,
        line: impl FnMut(&str),
    ) -> Result<(), RunError> {
        let what = arguments
            .iter()
            .find(|argument| argument.starts_with(|first: char| first.is_ascii_lowercase()))
            .map_or_else(String::new, |name| (*name).to_owned());
        let mut running = self.spawn(arguments)?;
        let (stdin, stdout, stderr) = (
            running.stdin.take(),
            running.stdout.take(),
            running.stderr.take(),
        );
        let work = async {
            let write = async {
                if let Some(mut stdin) = stdin {
                    // Whoever does not read to the end says why by its exit code.
                    let _ = stdin.write_all(&input).await;
                }
                Ok(())
            };
            let listen = async { Ok(listen(stderr, line).await) };
            let read = take_all(stdout, output, &what);
            let ((), (), complaint) = tokio::try_join!(write, read, listen)?;
            Ok((running.wait().await?, complaint))
        };
        let done = self.until.bound(&what, work).await;
        let (ended, complaint) = match done {
            Ok(done) => done,
            Err(error) => {
                let _ = running.terminate(GRACE).await;
                return Err(error);
            }
        };
        match ended {
            Ended::Code(0) => Ok(()),
            Ended::Code(code) => Err(RunError::Failed {
                what,
                code,
                complaint,
            }),
            Ended::Signal(signal) => Err(RunError::Failed {
                what,
                code: 128 + signal,
                complaint,
            }),
        }
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Supervised, RunError> {
        let path = match &self.program {
            Some(program) => program.clone(),
            None => super::program("git").ok_or(RunError::Missing("git"))?,
        };
        Ok(self.sandbox.spawn(&Program {
            path,
            args: arguments.iter().map(OsString::from).collect(),
            env: self.environment.clone(),
            cwd: self.directory.clone(),
        })?)
    }
}

/// Takes what a program writes, piece by piece.
pub(super) trait Take: Send {
    /// False where it wants no more.
    fn take(&mut self, piece: &[u8]) -> impl Future<Output = std::io::Result<bool>> + Send;

    /// How much it takes at most, to be told.
    fn most(&self) -> u64;
}

/// Into memory, so much at most.
pub(super) struct Bounded<'a> {
    pub(super) into: &'a mut Vec<u8>,
    pub(super) most: u64,
}

impl Take for Bounded<'_> {
    async fn take(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        let fits = (self.into.len() + piece.len()) as u64 <= self.most;
        if fits {
            self.into.extend_from_slice(piece);
        }
        Ok(fits)
    }

    fn most(&self) -> u64 {
        self.most
    }
}

async fn take_all(
    from: Option<impl AsyncRead + Unpin>,
    into: &mut impl Take,
    what: &str,
) -> Result<(), RunError> {
    let Some(mut from) = from else { return Ok(()) };
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut piece).await?;
        let read = piece.get(..length).unwrap_or_default();
        if read.is_empty() {
            return Ok(());
        }
        if !into.take(read).await? {
            let (what, most) = (what.to_owned(), into.most());
            return Err(RunError::TooMuch { what, most });
        }
    }
}

/// Reads lines that end with a newline or, as progress does, a carriage return; keeps the last of them.
async fn listen(from: Option<impl AsyncRead + Unpin>, mut line: impl FnMut(&str)) -> String {
    let Some(from) = from else {
        return String::new();
    };
    let mut from = BufReader::new(from);
    let mut kept: Vec<u8> = Vec::new();
    let mut current: Vec<u8> = Vec::new();
    while let Ok(piece) = from.fill_buf().await {
        let length = piece.len();
        if length == 0 {
            break;
        }
        for byte in piece {
            if !matches!(byte, b'\n' | b'\r') {
                // A longer line is cut.
                if current.len() < COMPLAINT {
                    current.push(*byte);
                }
                continue;
            }
            line(&String::from_utf8_lossy(&current));
            // Progress says nothing about why something failed.
            if *byte == b'\n' {
                keep(&mut kept, &current);
            }
            current.clear();
        }
        from.consume(length);
    }
    keep(&mut kept, &current);
    String::from_utf8_lossy(&kept).trim_end().to_owned()
}

fn keep(kept: &mut Vec<u8>, line: &[u8]) {
    kept.extend_from_slice(line);
    kept.push(b'\n');
    let surplus = kept.len().saturating_sub(COMPLAINT);
    kept.drain(..surplus);
}
