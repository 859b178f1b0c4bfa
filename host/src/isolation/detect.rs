//! Finding out what holds here, by trying.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::cgroup::{self, Groups};
use super::confinement::{Confinement, Limits};
use super::guard::{Attempt, Trial};
use super::uid_pool::UidPool;
use super::{Facts, IsolationError, Level, system, work_root};

/// Where and with what the trial takes place.
pub(super) struct Surroundings<'a> {
    pub(super) data_dir: &'a Path,
    pub(super) work_dir: Option<&'a Path>,
    pub(super) settings: &'a crate::config::Isolation,
    pub(super) guard: &'a Path,
}

/// Layers that hold, and what is missing.
#[derive(Default)]
struct Findings {
    layers: Vec<(&'static str, bool)>,
    degraded: Vec<Value>,
    passed: usize,
    failed: Vec<String>,
}

impl Findings {
    /// Notes a layer; `Err` says why it does not hold.
    fn layer(&mut self, name: &'static str, holds: Result<(), String>, effect: &str) -> bool {
        if let Err(reason) = &holds {
            self.degraded
                .push(json!({"layer": name, "reason": reason, "effect": effect}));
        }
        self.layers.push((name, holds.is_ok()));
        holds.is_ok()
    }

    /// Whether each named attempt was made and passed.
    fn require(attempts: &Result<Vec<Attempt>, String>, names: &[&str]) -> Result<(), String> {
        let attempts = attempts.as_ref().map_err(Clone::clone)?;
        let missing: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| {
                !attempts
                    .iter()
                    .any(|attempt| attempt.name == *name && attempt.passed)
            })
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(format!("the canary failed at: {}", missing.join(", ")))
        }
    }
}

pub(super) fn detect(around: &Surroundings<'_>) -> Result<Facts, IsolationError> {
    let settings = around.settings;
    std::fs::create_dir_all(around.data_dir).map_err(system("make the data directory"))?;
    let data_dir = around
        .data_dir
        .canonicalize()
        .map_err(system("find the data directory"))?;
    let limits = Limits {
        processes: settings.max_processes.into(),
        open_files: settings.max_open_files.into(),
        file_size: settings.max_file_size,
    };
    let mut findings = Findings::default();
    let hardened = super::harden_self().map_err(|error| error.to_string());
    let uid = available_uid(settings);
    let attempts = try_out(around, &data_dir, limits, uid.as_ref().ok().copied());
    if let Ok(attempts) = &attempts {
        findings.passed = attempts.iter().filter(|attempt| attempt.passed).count();
        findings.failed = attempts
            .iter()
            .filter(|attempt| !attempt.passed)
            .map(|a| a.name.clone())
            .collect();
    }

    let separate = uid.and_then(|_| {
        let needed = ["environ", "memory", "signal", "private-file", "become-root"];
        Findings::require(&attempts, &needed)
    });
    let why = separate.as_ref().err().cloned().unwrap_or_default();
    let effect = "the agent runs as the service's own user and can do all that the service can";
    let level = if findings.layer("uid", separate, effect) {
        Level::Uid
    } else {
        Level::None
    };
    if level < settings.minimum {
        return Err(IsolationError::BelowMinimum {
            have: level,
            want: settings.minimum,
            why,
        });
    }

    let unreadable = hardened.and_then(|()| Findings::require(&attempts, &["environ", "memory"]));
    findings.layer(
        "dumpable",
        unreadable,
        "the agent can read the service's memory and environment",
    );
    let no_new_privs = Findings::require(&attempts, &["no-new-privs"]);
    findings.layer(
        "noNewPrivs",
        no_new_privs,
        "programs with the setuid bit gain privileges",
    );
    let limited = Findings::require(&attempts, &["rlimits"]);
    findings.layer(
        "rlimits",
        limited,
        "open files, file sizes and core files are not limited",
    );
    if level == Level::None {
        findings.degraded.push(json!({
            "layer": "rlimits.processes", "reason": "the service's own processes would count as well",
            "effect": "the number of the agent's processes is not limited",
        }));
    }
    let groups = Groups::find().and_then(|groups| try_kill(around.guard, &groups).map(|()| groups));
    let holds = groups.as_ref().map(drop).map_err(Clone::clone);
    findings.layer(
        "cgroup",
        holds,
        "a process tree is killed one process at a time, until none is left",
    );

    let root = work_root::choose(around.work_dir, &data_dir, level)?;
    for place in &root.passed_over {
        let effect = format!("workspaces are in {}", root.path.display());
        findings
            .degraded
            .push(json!({"layer": "workRoot", "reason": place, "effect": effect}));
    }
    let uids = match level {
        Level::None => None,
        Level::Uid => Some(UidPool::new(settings, &data_dir)?),
    };
    let layers: serde_json::Map<String, Value> = findings
        .layers
        .iter()
        .map(|(name, holds)| ((*name).to_owned(), Value::from(*holds)))
        .collect();
    let report = json!({
        "level": level,
        "minimum": settings.minimum,
        "layers": layers,
        "egress": "open",
        "workRoot": root.path,
        "degraded": findings.degraded,
        "canary": {
            "passed": findings.passed,
            "failed": findings.failed.len(),
            "failures": findings.failed,
            "at": jiff::Timestamp::now(),
        },
    });
    Ok(Facts {
        level,
        report,
        data_dir,
        work_root: root.path,
        uids,
        groups: groups.ok(),
        limits,
        guard: around.guard.to_owned(),
    })
}

/// The canary's uid, if this process may give children another one.
fn available_uid(settings: &crate::config::Isolation) -> Result<u32, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the service does not run as root, so it cannot change user ids".to_owned());
    }
    if settings.uid_count == 0 || settings.uid_base == 0 {
        return Err("isolation.uid_base and isolation.uid_count name no user ids".to_owned());
    }
    Ok(UidPool::canary_uid(settings.uid_base, settings.uid_count))
}

/// Lets a confined child try what is forbidden.
fn try_out(
    around: &Surroundings<'_>,
    data_dir: &Path,
    limits: Limits,
    uid: Option<u32>,
) -> Result<Vec<Attempt>, String> {
    let failed = |error: std::io::Error| format!("the canary could not be started: {error}");
    let private_file = data_dir.join(format!("canary-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&private_file)
        .map_err(failed)?;
    let trial = Trial {
        confinement: Confinement {
            uid,
            limits,
            cgroup: None,
        },
        service: std::process::id() as i32,
        private_file: private_file.clone().into(),
    };
    let tried = guard_exec(around.guard, &["probe".as_ref()])
        .spawn()
        .and_then(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(&serde_json::to_vec(&trial)?)?;
            }
            child.wait_with_output()
        })
        .map_err(failed);
    let _ = std::fs::remove_file(&private_file);
    let output = tried?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!(
            "the canary did not report ({}): {}",
            output.status,
            said.trim()
        )
    })
}

/// Proves that a child in a group of its own dies of one write.
fn try_kill(guard: &Path, groups: &Groups) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the canary could not be started: {error}");
    let group = groups.of_canary();
    std::fs::create_dir(&group).map_err(failed)?;
    let killed = (|| {
        let mut child = guard_exec(guard, &["linger".as_ref(), group.as_ref()]).spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        cgroup::kill(&group)?;
        // `wait` closes standard input first, which would end the child as well: only a death by
        // SIGKILL proves anything, and one that was not killed reports success.
        child.wait()
    })();
    cgroup::remove(&group);
    match killed.map_err(failed)?.signal() {
        Some(9) => Ok(()),
        _ => Err("cgroup.kill did not kill".to_owned()),
    }
}

fn guard_exec(guard: &Path, args: &[&std::ffi::OsStr]) -> Command {
    let mut command = Command::new(guard);
    command
        .arg0("gatehouse")
        .arg("guard-exec")
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}
