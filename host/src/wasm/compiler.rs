//! Components are compiled in a process of their own: they come from strangers, and one may be made to
//! take all memory and processor time that there is.
//!
//! The child keeps that from the gateway, and no more than that. It stays our user, because what it gives
//! back is run as machine code here: whoever had it in hand would have the gateway.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::LoadError;
use super::output::cut;
use crate::config;

/// The command of our binary that is the child.
pub(crate) const COMMAND: &str = "compile-component";

/// Bytes of machine code, in memory and on disk. The largest component seen (Python, 18 MiB) compiles to
/// 32 MiB.
pub(super) const MAX_CODE: u64 = 256 << 20;

/// Threads of one compilation. Each has a stack and an arena of its own in the address space that is
/// limited, so they must not be as many as a large machine has processors.
const THREADS: u32 = 4;

/// Seconds on the clock beside ten for each of processor time: the machine may be busy with other things.
const PATIENCE: u64 = 20;

/// Bytes of what a child says before it fails.
const COMPLAINT: usize = 2048;

/// Where and within which bounds components are compiled. Clones take turns.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// None: in this process.
    apart: Option<Bounds>,
    turn: Arc<Semaphore>,
}

/// What one compilation may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of address space.
    pub(crate) memory: u64,
    /// Of processors, over all threads, in whole seconds.
    pub(crate) seconds: u64,
}

impl Compiler {
    /// In a child of this binary, within `plugins.compile_memory` and `plugins.compile_time`.
    pub fn apart(settings: &config::Plugins) -> Self {
        let bounds = Bounds {
            memory: settings.compile_memory,
            seconds: settings.compile_time.as_secs().max(1),
        };
        Self::new(Some(bounds))
    }

    /// In this process and without bounds: for benchmarks and tests, whose binary has no such command.
    pub fn here() -> Self {
        Self::new(None)
    }

    fn new(apart: Option<Bounds>) -> Self {
        Self {
            apart,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// One compilation at a time: each takes what processors there are, and what waits may find done what
    /// it waited for. None only once the semaphore is closed, which nobody does.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.turn.acquire().await.ok()
    }

    /// The machine code of a component, for [`wasmtime::component::Component::deserialize`].
    pub(super) async fn compile(
        &self,
        engine: &wasmtime::Engine,
        bytes: Arc<[u8]>,
    ) -> Result<Vec<u8>, LoadError> {
        if let Some(bounds) = self.apart {
            return bounds.compile(&bytes).await;
        }
        let engine = engine.clone();
        tokio::task::spawn_blocking(move || engine.precompile_component(&bytes))
            .await
            .map_err(|_| failed("the compiler broke off"))?
            .map_err(|error| invalid(&format!("{error:#}")))
    }
}

fn failed(message: impl Into<String>) -> LoadError {
    LoadError::new("plugin-compile-failed", message)
}

fn invalid(why: &str) -> LoadError {
    failed(format!("this component is not valid: {why}"))
}

impl Bounds {
    async fn compile(self, bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
        let child = self
            .spawn()
            .map_err(|error| failed(format!("the compiler cannot be started: {error}")))?;
        let patience = self.seconds.saturating_mul(10).saturating_add(PATIENCE);
        // On timeout the child is dropped, and killed with that.
        let ended = tokio::time::timeout(Duration::from_secs(patience), talk(child, bytes)).await;
        let Ok(ended) = ended else {
            return Err(failed(format!(
                "it is not compiled after {patience} s, ten times plugins.compile_time and {PATIENCE} s"
            )));
        };
        let (status, code, complaint) =
            ended.map_err(|error| failed(format!("the compiler cannot be followed: {error}")))?;
        if code.len() as u64 > MAX_CODE {
            return Err(failed(format!(
                "its machine code is larger than {} MiB",
                MAX_CODE >> 20
            )));
        }
        match status {
            Some(status) if status.success() => Ok(code),
            status => Err(self.fault(status, &complaint)),
        }
    }

    fn spawn(self) -> std::io::Result<Child> {
        // Not the path of the binary: that may be replaced while we run, and what another version
        // compiles is of no use here.
        Command::new("/proc/self/exe")
            .arg0("gatehouse")
            .arg(COMMAND)
            .arg(std::process::id().to_string())
            .arg(self.memory.to_string())
            .arg(self.seconds.to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS.to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }

    /// Which bound was hit, or what else is wrong.
    fn fault(self, status: Option<ExitStatus>, complaint: &str) -> LoadError {
        let complaint = cut(complaint.trim(), COMPLAINT);
        let signal = status.and_then(|status| status.signal());
        let invalid_component = status.and_then(|status| status.code()) == Some(INVALID);
        match signal.and_then(|signal| Signal::try_from(signal).ok()) {
            _ if invalid_component => invalid(complaint),
            Some(Signal::SIGXCPU) => failed(format!(
                "to compile it takes more than {} s of processor time (plugins.compile_time)",
                self.seconds
            )),
            // The words of the standard library where an allocation fails, and where a buffer cannot grow.
            _ if complaint.contains("memory allocation") || complaint.contains("out of memory") => {
                failed(format!(
                    "to compile it takes more than {} MiB of memory (plugins.compile_memory)",
                    self.memory >> 20
                ))
            }
            Some(signal) => failed(format!(
                "the compiler was ended by {signal}, as where the machine has no memory left: {complaint}"
            )),
            None => failed(format!("the compiler broke off: {complaint}")),
        }
    }
}

/// Exit code of a child that was given no valid component.
pub(crate) const INVALID: i32 = 2;

/// Hands the component over and takes what the child gives for it: how it ended (none where it is to be
/// given up), its code and its complaint.
async fn talk(
    mut child: Child,
    bytes: &[u8],
) -> std::io::Result<(Option<ExitStatus>, Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let give = async {
        if let Some(mut stdin) = stdin {
            // A child that has ended by itself says more than this would.
            let _ = stdin.write_all(bytes).await;
        }
    };
    let ((), code, complaint) = tokio::join!(
        give,
        take(stdout, MAX_CODE + 1),
        take(stderr, 2 * COMPLAINT as u64)
    );
    let (code, complaint) = (code?, complaint?);
    let status = if code.len() as u64 > MAX_CODE {
        None
    } else {
        Some(child.wait().await?)
    };
    let complaint = String::from_utf8_lossy(&complaint).into_owned();
    Ok((status, code, complaint))
}

async fn take(from: Option<impl AsyncRead + Unpin>, most: u64) -> std::io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    if let Some(from) = from {
        from.take(most).read_to_end(&mut taken).await?;
    }
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_component_is_compiled_at_a_time() {
        let compiler = Compiler::here();
        let other = compiler.clone();
        let first = compiler.turn().await;
        assert!(other.turn.try_acquire().is_err(), "clones take turns");
        drop(first);
        assert!(other.turn().await.is_some());
    }
}
