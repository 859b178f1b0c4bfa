//! The hosts that a command names.

use shell::{Operands, Text, base_name};

/// What a command line reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// This URL, address or host.
    Named(Text),
    /// By the command's own configuration, which may name any.
    Configured(&'static str),
}

/// Options of curl that take a value and no host.
const CURL: [&str; 52] = [
    "-o",
    "--output",
    "-H",
    "--header",
    "-d",
    "--data",
    "--data-raw",
    "--data-binary",
    "--data-urlencode",
    "--json",
    "-X",
    "--request",
    "-u",
    "--user",
    "-A",
    "--user-agent",
    "-b",
    "--cookie",
    "-c",
    "--cookie-jar",
    "-F",
    "--form",
    "-T",
    "--upload-file",
    "-m",
    "--max-time",
    "-w",
    "--write-out",
    "--retry",
    "--retry-delay",
    "--connect-timeout",
    "-e",
    "--referer",
    "-D",
    "--dump-header",
    "-r",
    "--range",
    "-C",
    "--continue-at",
    "-E",
    "--cert",
    "--key",
    "--cacert",
    "-z",
    "--limit-rate",
    "-Y",
    "-y",
    "-Q",
    "-t",
    "--output-dir",
    "--max-redirs",
    "--form-string",
];
/// Those that name a host, or a file that may.
const CURL_HOSTS: [&str; 10] = [
    "--url",
    "-x",
    "--proxy",
    "--preproxy",
    "--socks5",
    "--socks5-hostname",
    "--socks4",
    "--doh-url",
    "--connect-to",
    "--resolve",
];
const WGET: [&str; 24] = [
    "-O",
    "--output-document",
    "-P",
    "--directory-prefix",
    "-o",
    "--output-file",
    "-a",
    "-U",
    "--user-agent",
    "-t",
    "--tries",
    "-T",
    "--timeout",
    "--header",
    "--post-data",
    "--post-file",
    "-w",
    "--wait",
    "-l",
    "--level",
    "-A",
    "-R",
    "-D",
    "-Q",
];

/// What this command reaches; nothing where it is none that is known to reach anything.
pub(crate) fn targets(argv: &[Text], registries: bool) -> Vec<Target> {
    let Some((first, arguments)) = argv.split_first() else {
        return Vec::new();
    };
    let Some(name) = first.known().map(base_name) else {
        return Vec::new();
    };
    let operands = |valued: &[&str]| Operands::read(arguments, valued).operands;
    match name {
        "curl" => curl(arguments),
        "wget" | "wget2" => {
            let read = Operands::read(
                arguments,
                &[
                    WGET.as_slice(),
                    &["-i", "--input-file", "-e", "--execute", "-B", "--base"],
                ]
                .concat(),
            );
            let mut targets = named(read.operands.clone());
            targets.extend(named(read.values(&["-B", "--base"]).cloned()));
            if read.has(&["-i", "--input-file", "-e", "--execute", "--config"]) {
                targets.push(Target::Configured("a file or an option of wget"));
            }
            targets
        }
        "aria2c" | "lynx" | "links" | "w3m" | "fetch" | "xh" => {
            named(operands(&["-o", "-O", "-d"]))
        }
        "http" | "https" | "curlie" => {
            let mut operands = operands(&["-a", "-o", "--auth", "--output"]);
            if operands
                .first()
                .and_then(Text::known)
                .is_some_and(|method| method.bytes().all(|b| b.is_ascii_uppercase()))
            {
                operands.remove(0);
            }
            named(operands.into_iter().take(1))
        }
        "nc" | "ncat" | "netcat" | "telnet" | "ftp" | "sftp" => named(
            operands(&["-w", "-p", "-s", "-i", "-e", "-c", "-P", "-o"])
                .into_iter()
                .take(1),
        ),
        "ssh" | "ssh-copy-id" | "mosh" => {
            let valued = [
                "-b", "-c", "-D", "-E", "-e", "-F", "-I", "-i", "-J", "-L", "-l", "-m", "-O", "-o",
                "-p", "-Q", "-R", "-S", "-W", "-w",
            ];
            let (read, rest) = Operands::leading(arguments, &valued);
            let mut targets = named(rest.iter().take(1).cloned());
            targets.extend(named(read.values(&["-J", "-W"]).cloned()));
            if read.values(&["-o"]).any(|option| {
                option
                    .to_string()
                    .to_ascii_lowercase()
                    .contains("proxycommand")
            }) {
                targets.push(Target::Configured("ProxyCommand"));
            }
            targets
        }
        "scp" | "rsync" => named(
            operands(&["-i", "-P", "-o", "-e", "-F", "-l", "--rsh"])
                .into_iter()
                .filter(is_remote),
        ),
        "socat" | "openssl" => {
            let valued = [
                "-connect",
                "-proxy",
                "-host",
                "-servername",
                "-CAfile",
                "-cert",
                "-key",
            ];
            let read = Operands::read(arguments, &valued);
            let mut targets = named(read.values(&["-connect", "-proxy", "-host"]).cloned());
            if name == "socat" {
                // `TCP:host:port,options`.
                targets.extend(read.operands.iter().filter_map(socat));
            }
            targets
        }
        "git" => git(arguments),
        "npm" | "pnpm" | "yarn" | "npx" | "pip" | "pip3" | "uv" | "cargo" | "gem" | "go"
            if registries =>
        {
            installed(name, arguments)
        }
        _ => Vec::new(),
    }
}

fn named(texts: impl IntoIterator<Item = Text>) -> Vec<Target> {
    texts.into_iter().map(Target::Named).collect()
}

fn curl(arguments: &[Text]) -> Vec<Target> {
    let valued = [CURL.as_slice(), &CURL_HOSTS, &["-K", "--config"]].concat();
    let read = Operands::read(arguments, &valued);
    let mut targets = named(read.operands.clone());
    for (option, value) in &read.options {
        match (option.as_str(), value) {
            // `HOST:PORT:ADDRESS` sends to the address what is meant for the host.
            ("--resolve" | "--connect-to", Some(value)) => {
                let text = value.to_string();
                let parts: Vec<&str> = text.splitn(3, ':').collect();
                let address = parts
                    .get(2)
                    .map(|address| address.split(',').next().unwrap_or_default());
                match address.filter(|_| !value.has_unknown()) {
                    Some("") => {}
                    Some(address) => targets.push(Target::Named(Text::literal(address.to_owned()))),
                    None => targets.push(Target::Named(Text::unknown(shell::Origin::Local))),
                }
            }
            (option, Some(value)) if CURL_HOSTS.contains(&option) => {
                targets.push(Target::Named(value.clone()))
            }
            ("-K" | "--config", _) => {
                targets.push(Target::Configured("a configuration file of curl"))
            }
            _ => {}
        }
    }
    targets
}

fn is_remote(operand: &Text) -> bool {
    let text = operand.to_string();
    text.contains("://")
        || text
            .split('/')
            .next()
            .is_some_and(|start| start.contains(':'))
        || operand.start().is_empty()
}

fn socat(operand: &Text) -> Option<Target> {
    let text = operand.to_string();
    let (kind, rest) = text.split_once(':')?;
    let network = ["tcp", "udp", "openssl", "ssl", "socks", "proxy", "sctp"];
    let kind = kind.to_ascii_lowercase();
    if !network.iter().any(|known| kind.starts_with(known)) || kind.contains("listen") {
        return None;
    }
    Some(match operand.has_unknown() {
        true => Target::Named(Text::unknown(shell::Origin::Local)),
        false => Target::Named(Text::literal(
            rest.split(',').next().unwrap_or_default().to_owned(),
        )),
    })
}

/// A remote by its name was cloned, or added by a command that was judged; only URLs are looked at.
fn git(arguments: &[Text]) -> Vec<Target> {
    let (read, rest) = Operands::leading(
        arguments,
        &[
            "-C",
            "-c",
            "--git-dir",
            "--work-tree",
            "--config-env",
            "--exec-path",
        ],
    );
    let mut targets = Vec::new();
    for setting in read.values(&["-c", "--config-env"]) {
        targets.extend(git_setting(setting));
    }
    let Some((verb, rest)) = rest.split_first() else {
        return targets;
    };
    let valued = [
        "-b",
        "--branch",
        "-o",
        "--origin",
        "-c",
        "--config",
        "--depth",
        "-u",
        "--reference",
        "-t",
        "-m",
    ];
    let read = Operands::read(rest, &valued);
    match verb.known() {
        Some("clone" | "ls-remote" | "fetch" | "pull" | "push") => {
            for setting in read.values(&["-c", "--config"]) {
                targets.extend(git_setting(setting));
            }
            let clones = verb.known() == Some("clone");
            targets.extend(
                read.operands
                    .iter()
                    .take(1)
                    .filter(|place| is_url(place, clones))
                    .cloned()
                    .map(Target::Named),
            );
        }
        Some("remote")
            if read
                .operands
                .first()
                .and_then(Text::known)
                .is_some_and(|v| matches!(v, "add" | "set-url")) =>
        {
            targets.extend(named(
                read.operands
                    .get(2)
                    .filter(|place| is_url(place, true))
                    .cloned(),
            ));
        }
        Some("submodule") if read.operands.first().and_then(Text::known) == Some("add") => {
            targets.extend(named(
                read.operands
                    .get(1)
                    .filter(|place| is_url(place, true))
                    .cloned(),
            ));
        }
        Some("config") => {
            let key = read
                .operands
                .first()
                .map(ToString::to_string)
                .unwrap_or_default();
            if let Some(value) = read.operands.get(1) {
                let mut setting = Text::literal(format!("{key}="));
                setting = join(setting, value);
                targets.extend(git_setting(&setting));
            }
        }
        _ => {}
    }
    targets
}

fn join(first: Text, second: &Text) -> Text {
    match (first.known(), second.known()) {
        (Some(a), Some(b)) => Text::literal(format!("{a}{b}")),
        _ => Text::unknown(shell::Origin::Local),
    }
}

/// A setting that leads elsewhere: `url.X.insteadOf`, `remote.x.url`, `http.proxy`, `core.sshCommand`.
fn git_setting(setting: &Text) -> Option<Target> {
    let Some((key, value)) = setting.split_once('=') else {
        return setting
            .has_unknown()
            .then_some(Target::Configured("a setting of git"));
    };
    let key = key.to_string().to_ascii_lowercase();
    if let Some(base) = key
        .strip_prefix("url.")
        .and_then(|rest| rest.rsplit_once('.'))
    {
        return Some(Target::Named(Text::literal(base.0.to_owned())));
    }
    if key.ends_with("proxy")
        || (key.starts_with("remote.") && (key.ends_with(".url") || key.ends_with(".pushurl")))
    {
        return Some(Target::Named(value));
    }
    matches!(
        key.as_str(),
        "core.sshcommand" | "core.gitproxy" | "include.path"
    )
    .then_some(Target::Configured("a setting of git"))
}

/// Whether a place is on another machine; a path and a remote's name are not.
fn is_url(place: &Text, or_path: bool) -> bool {
    let text = place.to_string();
    if place.start().is_empty() {
        return place.has_unknown();
    }
    let path = text.starts_with(['/', '.', '~']);
    let scp = text
        .split('/')
        .next()
        .is_some_and(|start| start.contains(':'));
    text.contains("://") && !text.starts_with("file://")
        || text.contains("::")
        || (scp && !path)
        || (or_path && place.has_unknown() && !path)
}

/// Registries and sources that are named beside the configured ones.
fn installed(name: &str, arguments: &[Text]) -> Vec<Target> {
    let valued = [
        "--registry",
        "-i",
        "--index-url",
        "--extra-index-url",
        "-f",
        "--find-links",
        "--proxy",
        "--index",
        "--default-index",
        "--git",
        "--source",
        "-s",
        "--trusted-host",
        "-r",
        "-c",
        "-t",
        "-e",
    ];
    let read = Operands::read(arguments, &valued);
    let own: &[&str] = match name {
        "npm" | "pnpm" | "yarn" | "npx" => &["--registry", "--proxy"],
        "cargo" => &["--git", "--index"],
        "gem" => &["--source", "-s"],
        _ => &[
            "-i",
            "--index-url",
            "--extra-index-url",
            "-f",
            "--find-links",
            "--proxy",
            "--index",
            "--default-index",
            "-e",
        ],
    };
    let options = read
        .values(own)
        .filter(|value| value.to_string().contains("://") || value.has_unknown());
    let mut targets = named(options.cloned());
    for operand in &read.operands {
        let text = operand.to_string();
        let url = text.split_once('@').map_or(text.as_str(), |(_, rest)| {
            if rest.contains("://") { rest } else { &text }
        });
        if let Some(at) = url.find("://") {
            let start = url
                .get(..at)
                .unwrap_or_default()
                .rfind(['+', ' '])
                .map_or(0, |plus| plus + 1);
            targets.push(Target::Named(Text::literal(
                url.get(start..).unwrap_or_default().trim().to_owned(),
            )));
        }
    }
    targets
}
