//! A program that runs, seen from the job.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::guard::Notice;
use super::scope::Scope;
use super::{IsolationError, system};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// A running program. Dropping it kills the whole tree.
#[derive(Debug)]
pub struct Supervised {
    /// Its standard input; dropped to close it.
    pub stdin: Option<ChildStdin>,
    /// Taken by whoever reads it.
    pub stdout: Option<ChildStdout>,
    /// Taken by whoever reads it.
    pub stderr: Option<ChildStderr>,
    /// When this closes the guard kills everything.
    control: OwnedWriteHalf,
    end: watch::Receiver<Option<Notice>>,
    /// Cancelled where the guard does not do what it is told.
    deaf: CancellationToken,
}

/// All that guard and guard-exec ever write is far below this.
const MOST_NOTICES: u64 = 64 * 1024;

/// A guard that was told to kill and lives on for so long is stopped or hangs.
const GUARD_PATIENCE: Duration = Duration::from_secs(10);

impl Supervised {
    pub(super) fn new(
        mut guard: Child,
        stdin: OwnedFd,
        control: UnixStream,
        scope: Scope,
    ) -> io::Result<Self> {
        control.set_nonblocking(true)?;
        let (notices, control) = tokio::net::UnixStream::from_std(control)?.into_split();
        let stdin = ChildStdin::from_std(std::process::ChildStdin::from(stdin))?;
        let (stdout, stderr) = (guard.stdout.take(), guard.stderr.take());
        let (told, end) = watch::channel(None);
        let deaf = CancellationToken::new();
        let given_up = deaf.clone();
        tokio::spawn(async move {
            let _ = told.send(Some(follow(guard, notices, scope, given_up).await));
        });
        Ok(Self {
            stdin: Some(stdin),
            stdout,
            stderr,
            control,
            end,
            deaf,
        })
    }

    /// Waits for the program's end; its descendants are dead when this returns. Cancel-safe.
    ///
    /// # Errors
    /// Where the program could not be started.
    pub async fn wait(&mut self) -> Result<Ended, IsolationError> {
        let told = self
            .end
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|told| told.clone());
        match told {
            Some(Notice::Ended(code)) => Ok(Ended::Code(code)),
            Some(Notice::Signalled(signal)) => Ok(Ended::Signal(signal)),
            Some(Notice::Failed { step, errno }) => {
                Err(system(step)(io::Error::from_raw_os_error(errno)))
            }
            None => Err(system("follow the guard")(io::Error::other(
                "the runtime is ending",
            ))),
        }
    }

    /// TERM to the tree, KILL after `grace`; returns when nothing of it is left. A guard that does not
    /// obey is killed as well.
    ///
    /// # Errors
    /// As for [`Supervised::wait`].
    pub async fn terminate(&mut self, grace: Duration) -> Result<Ended, IsolationError> {
        // A guard that is gone hears nothing, and nothing is left then.
        let _ = self.control.write_all(b"terminate\n").await;
        if let Ok(ended) = tokio::time::timeout(grace, self.wait()).await {
            return ended;
        }
        let _ = self.control.write_all(b"kill\n").await;
        if let Ok(ended) = tokio::time::timeout(GUARD_PATIENCE, self.wait()).await {
            return ended;
        }
        self.deaf.cancel();
        self.wait().await
    }
}

/// Listens to the guard until it is gone, and takes its place should it have been killed, by us where
/// it is `deaf`.
async fn follow(
    mut guard: Child,
    notices: OwnedReadHalf,
    scope: Scope,
    deaf: CancellationToken,
) -> Notice {
    let mut told = None;
    let mut lines = BufReader::new(notices.take(MOST_NOTICES)).lines();
    let listening = async {
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                // Why it was not started says more than how guard-exec ended.
                Ok(notice) if !matches!(told, Some(Notice::Failed { .. })) => told = Some(notice),
                _ => {}
            }
        }
    };
    tokio::select! {
        () = listening => {}
        () = deaf.cancelled() => {
            tracing::error!("a guard does not obey and is killed");
            // It fails only where the guard is gone.
            let _ = guard.start_kill();
        }
    }
    let status = guard.wait().await;
    if status.is_ok_and(|status| status.success()) && told.is_some() {
        return told.unwrap_or(Notice::Signalled(9));
    }
    tracing::error!("a guard did not end well; killing what it guarded");
    // The program itself died with the guard; this is for what it had started.
    match tokio::task::spawn_blocking(move || scope.kill()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "what a guard left could not be killed"),
        Err(error) => tracing::error!(%error, "what a guard left could not be killed"),
    }
    told.unwrap_or(Notice::Signalled(9))
}
