//! `gatehouse guard` and `gatehouse guard-exec`: not for people. `isolation::guard` says what they do.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::isolation::guard;

/// Runs the command if it is one of ours. `args` are those of the process, its name included. To be
/// called before anything else is done: before settings are read, threads or a runtime started.
pub(super) fn dispatch(args: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut args = args.into_iter().skip(1);
    match args.next()?.to_str()? {
        "guard" => Some(guard::supervise(args.next().map(PathBuf::from).as_deref())),
        "guard-exec" => Some(guard_exec(args)),
        _ => None,
    }
}

fn guard_exec(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let command = args.next();
    let operand = args.next();
    match (
        command.as_ref().and_then(|command| command.to_str()),
        operand,
    ) {
        (Some("run"), Some(guard)) => match guard.to_str().and_then(|guard| guard.parse().ok()) {
            Some(guard) => guard::execute(guard),
            None => ExitCode::FAILURE,
        },
        (Some("probe"), None) => guard::probe(),
        (Some("linger"), Some(group)) => guard::linger(&PathBuf::from(group)),
        _ => ExitCode::FAILURE,
    }
}
