//! The place in which one task's programs run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::fs::MemfdFlags;

use super::confinement::Confinement;
use super::guard::{ORDER, Order, PROGRAM_STDIN};
use super::scope::{Record, Scope};
use super::uid_pool::Slot;
use super::{Facts, IsolationError, Supervised, beneath, cgroup, leftovers, removal, system};

/// What to run. The environment is exactly `env`.
#[derive(Clone)]
pub struct Program {
    /// Absolute.
    pub path: PathBuf,
    /// Holds no secret: every user of the machine can read it.
    pub args: Vec<OsString>,
    /// All of it.
    pub env: BTreeMap<OsString, OsString>,
    /// Absolute, inside the sandbox's directories.
    pub cwd: PathBuf,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be secret.
        let names: Vec<&OsString> = self.env.keys().collect();
        let mut shown = formatter.debug_struct("Program");
        shown
            .field("path", &self.path)
            .field("args", &self.args)
            .field("env", &names);
        shown.field("cwd", &self.cwd).finish()
    }
}

/// A place of a task: directories, uid, cgroup. Dropped last of all.
///
/// `{work_root}/{name}` belongs to the service, so that the agent cannot put a link in place of one of
/// the three directories in it; those belong to the agent and are closed to everybody else.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    facts: Arc<Facts>,
    scope: Scope,
    workspace: PathBuf,
    home: PathBuf,
    tmp: PathBuf,
    /// Programs started, to name their cgroups.
    started: AtomicU32,
    _slot: Option<Slot>,
}

impl Sandbox {
    pub(super) fn open(facts: &Arc<Facts>, name: String) -> Result<Self, IsolationError> {
        let slot = facts.uids.as_ref().map(super::UidPool::take).transpose()?;
        let uid = slot.as_ref().map(|slot| slot.uid);
        let directory = facts.work_root.join(&name);
        let group = facts.groups.as_ref().map(|groups| groups.of_sandbox(&name));
        let scope = Scope {
            uid,
            cgroup: group,
            directory,
        };
        // Before anything stands that it tells of.
        let record = Record {
            scope: scope.clone(),
        };
        record
            .write(&facts.data_dir, &name)
            .map_err(system("write a sandbox's record"))?;

        let make = |path: &Path, mode| DirBuilder::new().mode(mode).create(path);
        make(&scope.directory, 0o711).map_err(system("make a task's directory"))?;
        let inner = |part| {
            let path = scope.directory.join(part);
            make(&path, 0o700)?;
            std::os::unix::fs::chown(&path, uid, uid)?;
            Ok(path)
        };
        let made = |result: io::Result<PathBuf>| result.map_err(system("make a task's directory"));
        let (workspace, home, tmp) = (
            made(inner("workspace"))?,
            made(inner("home"))?,
            made(inner("tmp"))?,
        );
        if let Some(group) = &scope.cgroup {
            match std::fs::create_dir(group) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other.map_err(system("make a task's cgroup"))?,
            }
        }
        let facts = facts.clone();
        Ok(Self {
            name,
            facts,
            scope,
            workspace,
            home,
            tmp,
            started: AtomicU32::new(0),
            _slot: slot,
        })
    }

    /// The agent's working tree.
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// The agent's `HOME`.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The agent's `TMPDIR`.
    pub fn tmp(&self) -> &Path {
        &self.tmp
    }

    /// Whether programs run as root, which some refuse.
    pub fn runs_as_root(&self) -> bool {
        self.scope.uid.is_none() && nix::unistd::geteuid().is_root()
    }

    /// Where the agent's user finds `binary`; see [`super::Isolation::reachable_binary`].
    ///
    /// # Errors
    /// Where the file cannot be read or a copy not be made.
    pub async fn reachable_binary(&self, binary: &Path) -> Result<PathBuf, IsolationError> {
        let (isolation, binary) = (
            super::Isolation {
                facts: self.facts.clone(),
            },
            binary.to_owned(),
        );
        let found = tokio::task::spawn_blocking(move || isolation.reachable_binary(&binary)).await;
        found.unwrap_or_else(|error| Err(system("find the binary")(io::Error::other(error))))
    }

    /// Writes a file that the agent may read: mode 0600, owned by its uid, parents made. `path` lies
    /// inside one of the directories above. A link on the way is refused, not followed.
    ///
    /// # Errors
    /// Where the path leads elsewhere or the disk refuses.
    pub fn write_for_agent(&self, path: &Path, content: &[u8]) -> Result<(), IsolationError> {
        let written = self
            .base(path)
            .and_then(|base| beneath::write(base, path, content, self.scope.uid));
        written.map_err(system(format!("write {}", path.display())))
    }

    /// An empty file that the agent may read, to be filled by whoever gets it; replaces one that is
    /// there.
    ///
    /// # Errors
    /// As for [`Sandbox::write_for_agent`].
    pub fn create_for_agent(&self, path: &Path) -> Result<std::fs::File, IsolationError> {
        let created = self
            .base(path)
            .and_then(|base| beneath::create(base, path, self.scope.uid));
        created.map_err(system(format!("create {}", path.display())))
    }

    /// Gives the agent a file of another sandbox of the same task, at `path` as for
    /// [`Sandbox::write_for_agent`]: a second name for it, so that neither size nor number of files
    /// matters. The agent can read it if everybody can, and change or take away only its name.
    ///
    /// # Errors
    /// As for [`Sandbox::write_for_agent`], or where something of that name is there.
    pub fn link_for_agent(&self, file: &Path, path: &Path) -> Result<(), IsolationError> {
        let linked = self
            .base(path)
            .and_then(|base| beneath::link(base, path, file, self.scope.uid));
        linked.map_err(system(format!("link {}", path.display())))
    }

    /// A socket in the agent's `TMPDIR` that only the agent and the service can connect to.
    ///
    /// # Errors
    /// Where something of that name is there or the disk refuses.
    pub fn listen_for_agent(
        &self,
        name: &str,
    ) -> Result<std::os::unix::net::UnixListener, IsolationError> {
        beneath::listen(&self.tmp, name, self.scope.uid).map_err(system("make a socket"))
    }

    /// Makes a directory that the agent owns, parents too.
    ///
    /// # Errors
    /// As for [`Sandbox::write_for_agent`].
    pub fn make_dir(&self, path: &Path) -> Result<(), IsolationError> {
        let made = self
            .base(path)
            .and_then(|base| beneath::make_dir(base, path, self.scope.uid));
        made.map_err(system(format!("make {}", path.display())))
    }

    fn base(&self, path: &Path) -> io::Result<&Path> {
        let bases = [&self.workspace, &self.home, &self.tmp];
        let base = bases.into_iter().find(|base| path.starts_with(base));
        base.map(PathBuf::as_path)
            .ok_or_else(|| io::Error::other("the path leads out of the sandbox"))
    }

    /// Starts a program under the guard: own session, uid, limits, no new privileges; the whole tree
    /// dies with this process, or when what is returned is dropped. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// Where the guard cannot be started. That the program itself cannot be is told by
    /// [`Supervised::wait`].
    pub fn spawn(&self, program: &Program) -> Result<Supervised, IsolationError> {
        let group = self
            .make_group()
            .map_err(system("make a program's cgroup"))?;
        self.start_guard(program, group)
            .map_err(system("start the guard"))
    }

    /// A cgroup of the program's own, so that its end does not end another program of the task.
    fn make_group(&self) -> io::Result<Option<PathBuf>> {
        let Some(group) = &self.scope.cgroup else {
            return Ok(None);
        };
        let group = group.join(self.started.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&group)?;
        Ok(Some(group))
    }

    fn start_guard(&self, program: &Program, group: Option<PathBuf>) -> io::Result<Supervised> {
        let (control, guards_control) = UnixStream::pair()?;
        let (stdin, program_stdin) = {
            let (reader, writer) = io::pipe()?;
            (OwnedFd::from(writer), OwnedFd::from(reader))
        };
        let mut command = std::process::Command::new(&self.facts.guard);
        std::os::unix::process::CommandExt::arg0(&mut command, "gatehouse");
        command
            .arg("guard")
            .args(group.as_deref())
            .env_clear()
            .current_dir("/");
        command
            .stdin(OwnedFd::from(guards_control))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let order = self.order(program, group.as_deref())?;
        command
            .fd_mappings(vec![
                FdMapping {
                    parent_fd: program_stdin,
                    child_fd: PROGRAM_STDIN,
                },
                FdMapping {
                    parent_fd: order,
                    child_fd: ORDER,
                },
            ])
            .map_err(io::Error::other)?;
        let mut command = tokio::process::Command::from(command);
        // A signal from the terminal is meant for the service, which will end its tasks.
        let spawned = command.process_group(0).spawn();
        if let (Err(_), Some(group)) = (&spawned, &group) {
            cgroup::remove(group);
        }
        Supervised::new(spawned?, stdin, control, self.scope.clone())
    }

    /// The order, in a file in memory.
    fn order(&self, program: &Program, group: Option<&Path>) -> io::Result<OwnedFd> {
        let order = Order {
            confinement: Confinement {
                uid: self.scope.uid,
                limits: self.facts.limits,
                cgroup: group.map(|group| group.as_os_str().to_owned()),
            },
            program: program.path.clone().into(),
            args: program.args.clone(),
            env: program.env.clone().into_iter().collect(),
            cwd: program.cwd.clone().into(),
        };
        let mut file = std::fs::File::from(rustix::fs::memfd_create("order", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(&order)?)?;
        Ok(file.into())
    }

    /// Kills everything that runs here; returns when nothing does.
    ///
    /// # Errors
    /// Where the system refuses to look or to kill.
    pub async fn kill_all(&self) -> Result<(), IsolationError> {
        let scope = self.scope.clone();
        in_background("kill a task's processes", move || scope.kill()).await
    }

    /// [`Sandbox::kill_all`], then removes the directories, in bounded time and memory however deep
    /// the tree is.
    ///
    /// # Errors
    /// Where something is left; [`super::Isolation::sweep`] tries again.
    pub async fn close(&self) -> Result<(), IsolationError> {
        self.kill_all().await?;
        let (scope, facts, name) = (self.scope.clone(), self.facts.clone(), self.name.clone());
        in_background("remove a task's directory", move || {
            removal::remove(&scope.directory)?;
            // The id is ours until the sandbox drops.
            if let Some(uid) = scope.uid {
                leftovers::remove(uid);
            }
            if let Some(group) = &scope.cgroup {
                cgroup::remove(group);
            }
            Record::delete(&facts.data_dir, &name)
        })
        .await
    }
}

/// Runs what blocks where it may.
async fn in_background(
    what: &'static str,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> Result<(), IsolationError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(system(what))
}
