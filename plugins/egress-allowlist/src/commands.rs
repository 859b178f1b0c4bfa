//! The hosts that a command names.

use crate::git;
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
        "git" => git::targets(arguments),
        "npm" | "pnpm" | "yarn" | "npx" | "pip" | "pip3" | "uv" | "cargo" | "gem" | "go"
            if registries =>
        {
            installed(name, arguments)
        }
        _ => Vec::new(),
    }
}

pub(crate) fn named(texts: impl IntoIterator<Item = Text>) -> Vec<Target> {
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
