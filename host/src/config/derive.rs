//! What follows from other settings where nobody set it.

use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use toml::Value;

use super::merge::{Found, Merged};
use super::{Origin, keys, secret_name};

/// Fills in every value that the default file leaves open, and makes paths absolute.
pub(super) fn derive(merged: &mut Merged, sources: &super::Sources) {
    let embedded = text(merged, "storage.logs_bucket").is_empty();
    let cloud_run = sources.variable("K_SERVICE").is_some();

    absolute(merged, "data_dir");
    let data_dir = PathBuf::from(text(merged, "data_dir"));
    fill(
        merged,
        "envelope.local_key",
        below(&data_dir, "keys/local.key"),
        Origin::Derived("below data_dir".into()),
    );
    fill(
        merged,
        "plugins.manifest",
        "plugins/manifest.toml".into(),
        Origin::Derived("in the working directory".into()),
    );
    let (proxies, why) = if cloud_run {
        ("1", "on Cloud Run")
    } else {
        ("0", "not on Cloud Run")
    };
    fill(
        merged,
        "auth.limits.proxies",
        proxies.into(),
        Origin::Derived(why.into()),
    );
    for key in [
        "envelope.local_key",
        "plugins.manifest",
        "plugins.compiled",
        "job.work_dir",
        "agent.claude_bin",
        "git.known_hosts",
        "git.ca_file",
        "task.system_prompt_file",
        "task.append_system_prompt_file",
    ] {
        absolute(merged, key);
    }
    if let Some(Found {
        value: Value::Table(keys),
        origin,
    }) = merged.get_mut("plugins.signatures.keys")
        && let Ok(directory) = std::path::absolute(origin.directory())
    {
        keys::absolute(keys, &directory);
    }

    let (host, why) = if cloud_run {
        ("0.0.0.0", "on Cloud Run")
    } else {
        ("127.0.0.1", "not on Cloud Run")
    };
    let (port, origin) = match sources.variable("PORT") {
        Some(port) => (port, Origin::Environment("PORT".into())),
        None => ("8080", Origin::Derived(why.into())),
    };
    let port = port.trim();
    // Who says where to listen, as an image does, leaves the port to whoever runs it.
    if let Some(listen) = merged.get_mut("server.listen")
        && let Some(Ok(host)) = listen
            .value
            .as_str()
            .map(|text| text.trim().parse::<IpAddr>())
    {
        listen.value = match host {
            IpAddr::V4(host) => format!("{host}:{port}").into(),
            IpAddr::V6(host) => format!("[{host}]:{port}").into(),
        };
    }
    fill(merged, "server.listen", format!("{host}:{port}"), origin);

    let why = if embedded { "embedded" } else { "not embedded" };
    let (keys, launcher, flush, addresses) = if embedded {
        ("local", "local", "2ms", "loopback")
    } else {
        ("cloud-kms", "cloud-run", "200ms", "deny")
    };
    for (key, value) in [
        ("envelope.keys", keys),
        ("job.launcher", launcher),
        ("job.flush_interval", flush),
    ] {
        fill(merged, key, value.into(), Origin::Derived(why.into()));
    }
    fill(
        merged,
        "outbound.private_addresses",
        addresses.into(),
        Origin::Derived(why.into()),
    );

    if text(merged, "log.format") == "auto" {
        let (format, why) = if std::io::stderr().is_terminal() {
            ("text", "stderr is a terminal")
        } else {
            ("json", "stderr is no terminal")
        };
        merged.insert(
            "log.format".into(),
            Found {
                value: format.into(),
                origin: Origin::Derived(why.into()),
            },
        );
    }
}

fn text<'a>(merged: &'a Merged, key: &str) -> &'a str {
    merged
        .get(key)
        .and_then(|found| found.value.as_str())
        .unwrap_or_default()
}

fn fill(merged: &mut Merged, key: &str, value: String, origin: Origin) {
    if merged.get(key).is_some_and(|found| {
        found
            .value
            .as_str()
            .is_some_and(|text| text.trim().is_empty())
    }) {
        merged.insert(
            key.to_owned(),
            Found {
                value: Value::String(value),
                origin,
            },
        );
    }
}

fn absolute(merged: &mut Merged, key: &str) {
    if let Some(Value::String(text)) = merged.get_mut(key).map(|found| &mut found.value)
        && !text.trim().is_empty()
        // What stands in Secret Manager has no directory.
        && !secret_name::is_one(text.trim())
        && let Ok(path) = std::path::absolute(text.trim())
        && let Some(path) = path.to_str()
    {
        *text = path.to_owned();
    }
}

fn below(directory: &Path, name: &str) -> String {
    directory.join(name).to_string_lossy().into_owned()
}
