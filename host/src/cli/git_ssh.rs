//! `gatehouse git-ssh`: not for people. Git starts it in place of `ssh`; `git::ssh_client` says why.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::git::ssh_client::{self, Request};
use crate::git::ssh_variables as variables;

/// Runs the command if it is ours. `args` are those of the process, its name included.
pub(super) fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    (args.next()? == "git-ssh").then(|| run(args))
}

fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = args.filter_map(|argument| argument.into_string().ok());
    let Some(request) = Request::of_arguments(args) else {
        eprintln!("gatehouse git-ssh: this is what git starts in place of ssh");
        return ExitCode::from(super::EXIT_USAGE);
    };
    let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let request = Request {
        protocol: text("GIT_PROTOCOL"),
        address: text(variables::ADDRESS).and_then(|address| address.parse().ok()),
        known_hosts: text(variables::KNOWN_HOSTS)
            .map(PathBuf::from)
            .unwrap_or_default(),
        accept_unknown: text(variables::ACCEPT_UNKNOWN).is_some(),
        agent: text(variables::AGENT).map(PathBuf::from),
        ..request
    };
    // The agent's socket has a path that may be too long for a socket's.
    let entered = std::env::var_os("TMPDIR").map(std::env::set_current_dir);
    if let Some(Err(error)) = entered {
        eprintln!("gatehouse git-ssh: TMPDIR: {error}");
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(ssh_client::run(request));
            // A thread may wait for standard input that nobody closes.
            runtime.shutdown_background();
            ExitCode::from(code)
        }
        Err(error) => {
            eprintln!("gatehouse git-ssh: the runtime cannot start: {error}");
            ExitCode::FAILURE
        }
    }
}
