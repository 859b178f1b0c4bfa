//! The task's SSH key, in an `ssh-agent` that signs and never gives it out.
//!
//! The key comes to it over a pipe and is never written to a disk. It runs in the sandbox of what
//! speaks to the remote. The agent's own git reaches it through a relay that lets two requests pass:
//! which keys there are, and sign this.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::run::{RunError, Until};
use super::{PATH, private_key, program};
use crate::isolation::{Ended, Program, Sandbox, Supervised};

/// Name of the socket in the `TMPDIR` of either sandbox.
pub(super) const SOCKET: &str = "ssh-agent";
/// Longest message either way. The longest that OpenSSH takes is as long.
const MESSAGE: u32 = 256 << 10;
/// Connections of the agent's git at once.
const CONNECTIONS: usize = 16;

/// Requests that pass, and the answer to all others: draft-ietf-sshm-ssh-agent §6.
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;
const FAILURE: [u8; 5] = [0, 0, 0, 1, 5];

/// A running `ssh-agent` with one key; it ends when this drops.
#[derive(Debug)]
pub(super) struct SshAgent {
    _process: Supervised,
    /// The directory that holds its socket.
    directory: Arc<OwnedFd>,
    relay: Option<AbortHandle>,
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.abort();
        }
    }
}

impl SshAgent {
    /// Starts one in `sandbox` and gives it the key.
    pub(super) async fn start(
        sandbox: &Sandbox,
        key: &SecretString,
        until: &Until,
    ) -> Result<Self, RunError> {
        let mut process = sandbox.spawn(&tool(sandbox, "ssh-agent", &["-D", "-a", SOCKET])?)?;
        drop(process.stdin.take());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::openat(CWD, sandbox.tmp(), flags, Mode::empty())
            .map_err(std::io::Error::from)?;
        let directory = Arc::new(directory);
        let ready = async {
            while connect(&directory).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok::<(), RunError>(())
        };
        until.bound("ssh-agent", ready).await?;
        until.bound("ssh-add", add(sandbox, key)).await?;
        Ok(Self {
            _process: process,
            directory,
            relay: None,
        })
    }

    /// Lets the processes of `sandbox` use the key by a socket in their `TMPDIR`.
    pub(super) fn relay_to(&mut self, sandbox: &Sandbox) -> Result<(), RunError> {
        let listener = sandbox.listen_for_agent(SOCKET)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let directory = Arc::clone(&self.directory);
        self.relay = Some(tokio::spawn(relay_all(listener, directory)).abort_handle());
        Ok(())
    }
}

fn tool(sandbox: &Sandbox, name: &'static str, args: &[&str]) -> Result<Program, RunError> {
    let environment = [
        ("PATH", OsString::from(PATH)),
        ("HOME", sandbox.home().into()),
        ("SSH_AUTH_SOCK", SOCKET.into()),
    ];
    Ok(Program {
        path: program(name).ok_or(RunError::Missing(name))?,
        args: args.iter().map(OsString::from).collect(),
        env: environment
            .into_iter()
            .map(|(name, value)| (name.into(), value))
            .collect::<BTreeMap<_, _>>(),
        cwd: sandbox.tmp().to_owned(),
    })
}

async fn add(sandbox: &Sandbox, key: &SecretString) -> Result<(), RunError> {
    let mut adding = sandbox.spawn(&tool(sandbox, "ssh-add", &["-q", "-"])?)?;
    if let Some(mut stdin) = adding.stdin.take() {
        let text = secrecy::SecretString::from(private_key::normal(key.expose_secret()));
        let _ = stdin.write_all(text.expose_secret().as_bytes()).await;
    }
    match adding.wait().await? {
        Ended::Code(0) => Ok(()),
        // What it says may repeat a piece of the key.
        Ended::Code(code) | Ended::Signal(code) => Err(RunError::Failed {
            what: "ssh-add".to_owned(),
            code,
            complaint: "the key was not taken".to_owned(),
        }),
    }
}

/// By way of the open directory: a socket's path may have 107 bytes, and the directory's may be longer.
async fn connect(directory: &OwnedFd) -> std::io::Result<UnixStream> {
    let place = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(SOCKET);
    UnixStream::connect(place).await
}

async fn relay_all(listener: UnixListener, directory: Arc<OwnedFd>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors, say; it passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let directory = Arc::clone(&directory);
        tokio::spawn(async move {
            if let Err(error) = relay(client, &directory).await {
                tracing::debug!(%error, "a connection to the SSH agent broke");
            }
            drop(place);
        });
    }
}

async fn relay(mut client: UnixStream, directory: &OwnedFd) -> std::io::Result<()> {
    let mut agent = connect(directory).await?;
    while let Some(request) = message(&mut client).await? {
        let passes = matches!(request.get(4), Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)));
        if !passes {
            client.write_all(&FAILURE).await?;
            continue;
        }
        agent.write_all(&request).await?;
        let Some(answer) = message(&mut agent).await? else {
            return Ok(());
        };
        client.write_all(&answer).await?;
    }
    Ok(())
}

/// One message with its length before it; none at the end.
async fn message(from: &mut UnixStream) -> std::io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length == 0 || length > MESSAGE {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut message = length.to_be_bytes().to_vec();
    message.resize(length as usize + 4, 0);
    if let Some(body) = message.get_mut(4..) {
        from.read_exact(body).await?;
    }
    Ok(Some(message))
}
