//! `guard-exec`: becomes the program.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::super::confinement::{Refused, die_with, step};
use super::{Notice, ORDER, Order, PROGRAM_STDIN};

/// Reads the order, gives up privileges and executes the program below the guard `guard`. Returns
/// only where that failed, after the job was told.
pub fn execute(guard: i32) -> ExitCode {
    let Ok(control) = io::stdin().as_fd().try_clone_to_owned() else {
        return ExitCode::from(127);
    };
    let refused = match prepare(guard) {
        // `exec` returns only an error; the clone of the control socket closes with it.
        Ok(mut command) => step("execute the program")(command.exec()),
        Err(refused) => refused,
    };
    let notice = Notice::failed(refused.step, &refused.source);
    let _ = UnixStream::from(control).write_all(&notice.to_line());
    ExitCode::from(127)
}

fn prepare(guard: i32) -> Result<Command, Refused> {
    let order = File::open(format!("/proc/self/fd/{ORDER}")).map_err(step("read the order"))?;
    let order: Order = serde_json::from_reader(io::BufReader::new(order))
        .map_err(|error| step("read the order")(io::Error::from(error)))?;
    let stdin = File::open(format!("/proc/self/fd/{PROGRAM_STDIN}"));
    let stdin = stdin.map_err(step("open standard input"))?;
    nix::unistd::dup2_stdin(&stdin).map_err(step("open standard input"))?;
    drop(stdin);
    close_inherited().map_err(step("close inherited files"))?;

    order.confinement.apply()?;
    die_with(guard)?;
    std::env::set_current_dir(&order.cwd).map_err(step("enter the working directory"))?;
    let mut command = Command::new(order.program);
    command.args(order.args).env_clear().envs(order.env);
    Ok(command)
}

/// Closes every file above standard error that the program would inherit. Whatever this process has
/// opened itself closes with `exec`.
fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        if is_inheritable(descriptor) {
            nix::unistd::close(descriptor)?;
        }
    }
    Ok(())
}

/// By `/proc`, because asking the descriptor itself takes one that is owned.
fn is_inheritable(descriptor: i32) -> bool {
    const CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")) else {
        return false;
    };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_none_or(|flags| flags & CLOSE_ON_EXEC == 0)
}
