//! The canary: what the agent's programs would be able to do, tried for real.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::resource::getrlimit;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid, setresuid};
use serde::{Deserialize, Serialize};

use super::super::cgroup;
use super::super::confinement::Confinement;

/// What to try; read from standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct Trial {
    pub(in super::super) confinement: Confinement,
    /// The process that must be out of reach.
    pub(in super::super) service: i32,
    /// A file of mode 0600 that must not be readable.
    pub(in super::super) private_file: OsString,
}

/// One thing that must not work, or must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Attempt {
    pub(in super::super) name: String,
    pub(in super::super) passed: bool,
}

/// `guard-exec probe`: confines itself like a program of the agent's, tries what is forbidden and
/// writes the list of [`Attempt`]s to standard output.
pub fn probe() -> ExitCode {
    let Ok(trial) = serde_json::from_reader::<_, Trial>(io::stdin()) else {
        return ExitCode::FAILURE;
    };
    if let Err(refused) = trial.confinement.apply() {
        eprintln!("{refused}");
        return ExitCode::FAILURE;
    }
    match serde_json::to_writer(io::stdout(), &attempts(&trial)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn attempts(trial: &Trial) -> Vec<Attempt> {
    let service = trial.service;
    let attempt = |name: &str, passed: bool| Attempt {
        name: name.to_owned(),
        passed,
    };
    let unreadable = |path: String| {
        File::open(path)
            .and_then(|mut file| file.read(&mut [0]))
            .is_err()
    };
    let no_limit_missing = trial
        .confinement
        .limits()
        .into_iter()
        .all(|(resource, wanted)| {
            getrlimit(resource).is_ok_and(|(soft, hard)| soft <= wanted && hard <= wanted)
        });
    let mut attempts = vec![
        attempt("environ", unreadable(format!("/proc/{service}/environ"))),
        // Reading would start at an unmapped address; opening is what is guarded.
        attempt(
            "memory",
            File::open(format!("/proc/{service}/mem")).is_err(),
        ),
        attempt(
            "no-new-privs",
            nix::sys::prctl::get_no_new_privs() == Ok(true),
        ),
        attempt("rlimits", no_limit_missing),
    ];
    if trial.confinement.uid.is_some() {
        let root = Uid::from_raw(0);
        attempts.extend([
            // Signal 0 asks for the permission only.
            attempt("signal", kill(Pid::from_raw(service), None).is_err()),
            attempt("private-file", File::open(&trial.private_file).is_err()),
            attempt("become-root", setresuid(root, root, root).is_err()),
        ]);
    }
    attempts
}

/// `guard-exec linger GROUP`: joins the cgroup, says so with a line and waits to be killed.
pub fn linger(group: &Path) -> ExitCode {
    if cgroup::join(group).is_err() {
        return ExitCode::FAILURE;
    }
    println!("joined");
    // Until the other end closes, should nobody kill us.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    ExitCode::SUCCESS
}
