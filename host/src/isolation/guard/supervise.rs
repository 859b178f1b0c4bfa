//! `guard`: watches over one program until nothing of it is left.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::{cgroup, processes};
use super::{Notice, ORDER, PROGRAM_STDIN};

/// Starts guard-exec and returns when no descendant is left. `group` is the program's own cgroup,
/// removed at the end.
pub fn supervise(group: Option<&Path>) -> ExitCode {
    let Ok(control) = io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(UnixStream::from)
    else {
        return ExitCode::FAILURE;
    };
    let ended = Guard::start(&control, group).and_then(|mut guard| guard.watch());
    if let Some(group) = group {
        cgroup::remove(group);
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = (&control).write_all(&Notice::failed("guard the program", &error).to_line());
            ExitCode::FAILURE
        }
    }
}

struct Guard<'a> {
    control: &'a UnixStream,
    group: Option<PathBuf>,
    program: Pid,
    signals: SignalFd,
    /// Everything must go: the program ended, the job said so or died.
    killing: bool,
    /// Bytes of a command that is not complete yet.
    command: Vec<u8>,
}

impl<'a> Guard<'a> {
    fn start(control: &'a UnixStream, group: Option<&Path>) -> io::Result<Self> {
        super::super::harden_self()?;
        nix::sys::prctl::set_child_subreaper(true)?;
        // Whoever stops the service as a whole may signal us too; the job's death is what counts.
        let mut signals = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
        ] {
            signals.add(signal);
        }
        signals.thread_block()?;
        let signals =
            SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        control.set_nonblocking(true)?;

        let child = Command::new("/proc/self/exe")
            .arg0("gatehouse")
            .args(["guard-exec", "run", &std::process::id().to_string()])
            .env_clear()
            .stdin(Stdio::inherit())
            .stdout(Stdio::inherit())
            .stderr(Stdio::inherit())
            .spawn()?;
        // From here on only the program holds its pipes, so that their other ends see it end.
        let nothing = File::options().read(true).write(true).open("/dev/null")?;
        nix::unistd::dup2_stdout(&nothing)?;
        nix::unistd::dup2_stderr(&nothing)?;
        nix::unistd::close(PROGRAM_STDIN)?;
        nix::unistd::close(ORDER)?;
        Ok(Self {
            control,
            group: group.map(Path::to_owned),
            program: Pid::from_raw(child.id() as i32),
            signals,
            killing: false,
            command: vec![],
        })
    }

    fn watch(&mut self) -> io::Result<()> {
        let mut pause = 1_u8;
        while self.reap()? {
            let timeout = if self.killing {
                self.kill_all();
                pause = pause.saturating_mul(2).min(100);
                PollTimeout::from(pause)
            } else {
                PollTimeout::NONE
            };
            self.wait(timeout)?;
        }
        Ok(())
    }

    /// Takes note of every child that ended. False if none is left, and so no descendant either.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            let notice = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.program => Notice::Ended(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.program => {
                    Notice::Signalled(signal as i32)
                }
                Ok(WaitStatus::StillAlive) => return Ok(true),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            };
            self.killing = true;
            // A job that died hears nothing.
            let _ = self.control.write_all(&notice.to_line());
        }
    }

    fn wait(&mut self, timeout: PollTimeout) -> io::Result<()> {
        let mut sources = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        // Once everything must go there is nothing more to hear, and a closed socket is always ready.
        if !self.killing {
            sources.push(PollFd::new(self.control.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut sources, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        while let Ok(Some(_)) = self.signals.read_signal() {}
        if !self.killing {
            self.listen();
        }
        Ok(())
    }

    fn listen(&mut self) {
        let mut buffer = [0; 64];
        loop {
            match self.control.read(&mut buffer) {
                Ok(0) => self.killing = true,
                Ok(length) => {
                    self.command.extend(buffer.iter().take(length));
                    while let Some(end) = self.command.iter().position(|byte| *byte == b'\n') {
                        let line: Vec<u8> = self.command.drain(..=end).collect();
                        self.obey(line.trim_ascii_end());
                    }
                    // No command is that long; whoever writes it is not the job.
                    self.killing |= self.command.len() > 64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.killing |= error.kind() != io::ErrorKind::WouldBlock;
                    return;
                }
            }
            if self.killing {
                return;
            }
        }
    }

    fn obey(&mut self, command: &[u8]) {
        match command {
            b"terminate" => self.signal_all(Signal::SIGTERM),
            _ => self.killing = true,
        }
    }

    fn kill_all(&self) {
        if let Some(group) = &self.group {
            let _ = cgroup::kill(group);
        }
        self.signal_all(Signal::SIGKILL);
    }

    /// What could not be signalled is found again in the next round.
    fn signal_all(&self, signal: Signal) {
        if let Ok(all) = processes::descendants(std::process::id() as i32) {
            let _ = processes::signal(&all, signal);
        }
    }
}
