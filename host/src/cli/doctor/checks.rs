//! One function per check.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::process::Command;

use super::CLI_VERSION;
use super::report::Finding;
use super::{git, upstream};
use crate::admission::PlacesOfPrompts;
use crate::bucket::directory::DirectoryBucket;
use crate::config::{Config, Keys};
use crate::envelope::{self, Envelope, Purpose};
use crate::isolation::{Isolation, Level};
use crate::plugin::Plugins;
use crate::secrets::SecretSettings;
use crate::task::TaskId;
use crate::wasm::Compiler;

/// Programs that are asked for their version answer within this or count as broken.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for workspaces and logs: below the first a gateway would soon stop, below the second it is tight.
const DISK_FAIL: u64 = 200 << 20;
const DISK_WARN: u64 = 2 << 30;

/// Every check, in the order in which a reader would mend things.
pub(super) async fn all(
    mut config: Config,
    environment: &BTreeMap<String, String>,
) -> Vec<Finding> {
    // Before secrets are filled in: what names one is no key as plain text.
    let access = auth(&config);
    let secrets = secrets(&mut config).await;
    let config = &config;
    let mut findings = vec![
        data_dir(&config.data_dir),
        disk(&config.data_dir),
        port(config.server.listen),
    ];
    findings.extend(access);
    findings.push(cli(config, environment).await);
    findings.extend(secrets);
    findings.extend(cloud_keys(config).await);
    findings.extend(prompts(config).await);
    findings.extend(isolation(config));
    findings.push(git::check(environment).await);
    findings.push(git::check_lfs(environment).await);
    findings.push(plugins(config).await);
    findings.push(toolchain(environment).await);
    findings.extend(upstream::reach(&config.broker.upstream).await);
    findings
}

/// The directory, or the nearest one above it that exists: there it would be made.
fn nearest_existing(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|ancestor| ancestor.is_dir())
        .unwrap_or(Path::new("/"))
        .to_owned()
}

fn data_dir(path: &Path) -> Finding {
    const CHECK: &str = "data";
    let place = nearest_existing(path);
    if let Err(error) = tempfile::tempfile_in(&place) {
        let message = format!("{} cannot be written: {error}", place.display());
        return Finding::fail(
            CHECK,
            message,
            "give this user the directory, or set GATEHOUSE_DATA_DIR to another",
        );
    }
    let mode = std::fs::metadata(path)
        .map(|metadata| metadata.permissions().mode())
        .unwrap_or(0o700);
    if mode & 0o022 != 0 {
        let message = format!(
            "{} can be written by other users (mode {:o})",
            path.display(),
            mode & 0o777
        );
        return Finding::warn(CHECK, message, format!("chmod go-w {}", path.display()));
    }
    Finding::ok(CHECK, format!("{} can be written", path.display()))
}

fn disk(path: &Path) -> Finding {
    const CHECK: &str = "disk";
    let place = nearest_existing(path);
    let free = match rustix::fs::statvfs(&place) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(error) => {
            let message = format!("the room below {} cannot be told: {error}", place.display());
            return Finding::warn(CHECK, message, "check the file system");
        }
    };
    let message = format!("{} MiB free below {}", free >> 20, place.display());
    let remedy = "make room, or set GATEHOUSE_DATA_DIR to a larger disk";
    match free {
        free if free < DISK_FAIL => Finding::fail(CHECK, message, remedy),
        free if free < DISK_WARN => Finding::warn(CHECK, message, remedy),
        _ => Finding::ok(CHECK, message),
    }
}

fn port(address: SocketAddr) -> Finding {
    const CHECK: &str = "port";
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(CHECK, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::warn(
            CHECK,
            format!("{address} is in use"),
            "fine if Gatehouse runs already; else end what listens there, or set PORT",
        ),
        Err(error) => Finding::fail(
            CHECK,
            format!("{address}: {error}"),
            "set GATEHOUSE_LISTEN to an address of this machine",
        ),
    }
}

fn auth(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "access";
    let (auth, address) = (&config.auth, config.server.listen);
    let asks = !auth.api_keys.is_empty() || !auth.keys.is_empty() || auth.oidc.issuer.is_some();
    let mut findings = vec![match (asks, address.ip().is_loopback()) {
        (true, _) => Finding::ok(CHECK, "the API is open to who bears a key or token"),
        (false, true) => Finding::ok(CHECK, "the API is open to programs of this machine"),
        (false, false) => Finding::warn(
            CHECK,
            format!("{address} is open to the network and nobody is asked for a key or token"),
            "set auth.keys (`gatehouse key new NAME`) or auth.oidc, unless something in front asks who calls",
        ),
    }];
    let is_plain = |secret: &SecretString| config.secret_name(secret.expose_secret()).is_none();
    for (key, plain) in [
        ("auth.api_keys", auth.api_keys.iter().any(is_plain)),
        ("auth.admin_key", auth.admin_key.iter().any(is_plain)),
    ] {
        if plain {
            findings.push(Finding::warn(
                CHECK,
                format!("{key} holds keys as plain text"),
                "make new ones by `gatehouse key new NAME`: auth.keys and auth.admin_sha256 keep hashes only",
            ));
        }
    }
    findings
}

/// One finding per secret of Secret Manager that cannot be read or used; all of them are filled in otherwise.
async fn secrets(config: &mut Config) -> Vec<Finding> {
    let read = SecretSettings::fill(config).await;
    let mistakes = read.err().into_iter().flat_map(|mistakes| mistakes.0);
    let remedy = "mend the secret, or the setting that names it";
    mistakes
        .map(|mistake| Finding::fail("secrets", mistake, remedy))
        .collect()
}

/// Whether a request could be sealed. A local key is not looked at: it would be made.
async fn cloud_keys(config: &Config) -> Option<Finding> {
    const CHECK: &str = "keys";
    if config.envelope.keys == Keys::Local {
        return None;
    }
    let sealed = async {
        let envelope = Envelope::new(envelope::keys(config).await?, &config.envelope);
        let nobody = TaskId::fresh_async();
        envelope.seal(Purpose::TaskPayload, &nobody, b"").await
    };
    Some(match sealed.await {
        Ok(_) => Finding::ok(CHECK, "Cloud KMS wraps data keys"),
        Err(error) => Finding::fail(
            CHECK,
            error.to_string(),
            "see docs/how-to/keep-keys-in-cloud-kms.md",
        ),
    })
}

/// One finding per system prompt that cannot be used.
async fn prompts(config: &Config) -> Vec<Finding> {
    let mistakes = PlacesOfPrompts::of(config).mistakes().await.into_iter();
    let remedy = "mend it, or take task.system_prompt_file and task.append_system_prompt_file out";
    mistakes
        .map(|mistake| Finding::fail("prompts", mistake, remedy))
        .collect()
}

async fn cli(config: &Config, environment: &BTreeMap<String, String>) -> Finding {
    const CHECK: &str = "cli";
    let install = format!(
        "run scripts/install-cli.sh, or set GATEHOUSE_CLAUDE_BIN to a Claude Code CLI {CLI_VERSION}"
    );
    let Some(binary) = crate::agent::find_binary(config.agent.claude_bin.as_deref()) else {
        return Finding::fail(CHECK, "the Claude Code CLI was not found", install);
    };
    match answer(&binary, &["--version"], environment).await {
        Ok(output) => judge_version(&binary, &output, &install),
        Err(why) => Finding::fail(
            CHECK,
            format!("{} --version: {why}", binary.display()),
            install,
        ),
    }
}

/// `2.1.330 (Claude Code)`
fn judge_version(binary: &Path, output: &str, install: &str) -> Finding {
    const CHECK: &str = "cli";
    match output.split_whitespace().next() {
        Some(version) if version == CLI_VERSION => {
            Finding::ok(CHECK, format!("{version} at {}", binary.display()))
        }
        Some(version) => {
            let version: String = version.chars().take(40).collect();
            let message = format!("{version} at {}; tested is {CLI_VERSION}", binary.display());
            Finding::warn(CHECK, message, install)
        }
        None => Finding::fail(
            CHECK,
            format!("{} does not say its version", binary.display()),
            install,
        ),
    }
}

fn isolation(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "isolation";
    let found = match Isolation::detect(config) {
        Ok(found) => found,
        Err(error) => {
            let remedy = "give the service what is missing, or lower isolation.minimum";
            return vec![Finding::fail(CHECK, error.to_string(), remedy)];
        }
    };
    let mut findings = vec![match found.level() {
        Level::None => Finding::warn(
            CHECK,
            "level none: agents run as the service's own user",
            "run as root to give agents users of their own",
        ),
        Level::Uid => Finding::ok(CHECK, "level uid: agents have users of their own"),
    }];
    let report = found.report();
    let degraded = report.get("degraded").and_then(serde_json::Value::as_array);
    for layer in degraded.into_iter().flatten() {
        let part = |name: &str| {
            layer
                .get(name)
                .and_then(serde_json::Value::as_str)
                .unwrap_or("unknown")
        };
        findings.push(Finding::warn(
            CHECK,
            format!("{}: {}", part("layer"), part("reason")),
            part("effect"),
        ));
    }
    findings
}

/// Loads the manifest's set into a bucket that is thrown away, so that nothing is activated.
async fn plugins(config: &Config) -> Finding {
    const CHECK: &str = "plugins";
    let manifest = config.plugins.manifest.display().to_string();
    let scratch = match tempfile::tempdir() {
        Ok(scratch) => scratch,
        Err(error) => {
            return Finding::fail(
                CHECK,
                format!("no scratch directory: {error}"),
                "check TMPDIR",
            );
        }
    };
    let bucket = match DirectoryBucket::open(scratch.path().to_owned()) {
        Ok(bucket) => Arc::new(bucket),
        Err(error) => {
            return Finding::fail(
                CHECK,
                format!("no scratch directory: {error}"),
                "check TMPDIR",
            );
        }
    };
    let compiler = Compiler::apart(&config.plugins);
    let plugins = Plugins::load(config, compiler, bucket).await;
    match (plugins.active(), plugins.last_error()) {
        (Some(active), None) => {
            let revision = active.set().revision();
            Finding::ok(CHECK, format!("{manifest}: revision {revision}"))
        }
        (_, error) => {
            let error = error.unwrap_or_else(|| "no set became active".to_owned());
            Finding::fail(
                CHECK,
                format!("{manifest}: {error}"),
                "mend the manifest or the plugin; until then no task is taken",
            )
        }
    }
}

/// Only whoever writes plugins needs it, so its absence is nothing to warn about.
async fn toolchain(environment: &BTreeMap<String, String>) -> Finding {
    const CHECK: &str = "toolchain";
    let arguments = [
        "--print",
        "target-libdir",
        "--target",
        "wasm32-unknown-unknown",
    ];
    match answer(Path::new("rustc"), &arguments, environment).await {
        Ok(output) if Path::new(output.trim()).is_dir() => {
            Finding::ok(CHECK, "plugins in Rust can be built here")
        }
        Ok(_) => Finding::ok(
            CHECK,
            "scripts/build-plugins.sh finds or installs what plugins in Rust need",
        ),
        Err(_) => Finding::ok(CHECK, "no Rust here; needed only to build plugins in it"),
    }
}

/// What a program prints. It gets the environment of a job: it needs none of our secrets either.
pub(super) async fn answer(
    program: &Path,
    arguments: &[&str],
    environment: &BTreeMap<String, String>,
) -> Result<String, String> {
    // Whatever it leaves behind is thrown away.
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(scratch.path())
        .env_clear()
        .envs(environment);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PROGRAM_TIMEOUT, command.output()).await {
        Err(_) => Err(format!("no answer within {} s", PROGRAM_TIMEOUT.as_secs())),
        Ok(Err(error)) => Err(error.to_string()),
        Ok(Ok(output)) if !output.status.success() => Err(format!("ended with {}", output.status)),
        Ok(Ok(output)) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
