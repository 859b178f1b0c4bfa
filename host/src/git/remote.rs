//! One server of repositories, with the address that is dialled, its proof and our credentials.

use std::net::IpAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::run::{Git, RunError, Until};
use super::url::{RepositoryUrl, Scheme};
use super::{known_hosts, ssh_agent};
use crate::config;
use crate::isolation::Sandbox;
use crate::outbound::{Outbound, Unreachable};

/// The system's certificate authorities, beside which the operator's stand.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why a server cannot be spoken to.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error("the operator's git.known_hosts or git.ca_file cannot be read: {0}")]
    Settings(#[source] std::io::Error),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Where a repository is and how to get in.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) url: RepositoryUrl,
    address: IpAddr,
    token: Option<SecretString>,
    /// Of its own, so that several remotes of one task do not meet.
    ssh_config: String,
    ca_file: Option<std::path::PathBuf>,
}

/// What all remotes of one task share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a config::Git,
    pub(super) outbound: &'a Outbound,
    /// What speaks to remotes runs here.
    pub(super) sandbox: &'a Sandbox,
}

impl Remote {
    /// Finds the address, and writes down for ssh and git by what to know the server.
    pub(super) async fn reach(
        url: RepositoryUrl,
        token: Option<SecretString>,
        around: Surroundings<'_>,
        number: usize,
    ) -> Result<Self, RemoteError> {
        let address = around.outbound.reach(&url.host, url.port()).await?;
        let home = around.sandbox.home();
        let write = |name: &str, content: &str| {
            around
                .sandbox
                .write_for_agent(&home.join(name), content.as_bytes())
                .map_err(RunError::from)
        };
        let ssh_config = format!("ssh_config-{number}");
        let mut ca_file = None;
        match url.scheme {
            Scheme::Ssh => {
                let known = known_hosts::all(around.settings.known_hosts.as_deref())
                    .map_err(RemoteError::Settings)?;
                write("known_hosts", &known)?;
                let unknown = around.settings.accept_unknown_hosts;
                write(&ssh_config, &ssh_settings(&url, address, home, unknown))?;
            }
            Scheme::Https => {
                if let Some(file) = &around.settings.ca_file {
                    let all = authorities(file).map_err(RemoteError::Settings)?;
                    write("ca.pem", &all)?;
                    ca_file = Some(home.join("ca.pem"));
                }
            }
        }
        Ok(Self {
            url,
            address,
            token,
            ssh_config,
            ca_file,
        })
    }

    /// Git that may speak to this server, to nobody else, and only by HTTPS or SSH.
    pub(super) fn git<'a>(
        &self,
        sandbox: &'a Sandbox,
        directory: &Path,
        until: &'a Until,
    ) -> Git<'a> {
        let mut settings = vec![("credential.helper".to_owned(), String::new())];
        let mut git = Git::new(sandbox, directory, until);
        match self.url.scheme {
            Scheme::Ssh => {
                git = git
                    .env("GIT_ALLOW_PROTOCOL", "ssh")
                    .env("GIT_SSH_VARIANT", "ssh")
                    .env("SSH_AUTH_SOCK", ssh_agent::SOCKET)
                    // The socket's path may be longer than a socket's path may be.
                    .env(
                        "GIT_SSH_COMMAND",
                        format!(
                            "cd \"$TMPDIR\" && exec ssh -F \"$HOME/{}\"",
                            self.ssh_config
                        ),
                    );
            }
            Scheme::Https => {
                git = git.env("GIT_ALLOW_PROTOCOL", "https");
                settings.extend(self.https_settings());
            }
        }
        // By the environment, which nobody else can read: arguments are public.
        git = git.env("GIT_CONFIG_COUNT", settings.len().to_string());
        for (number, (name, value)) in settings.into_iter().enumerate() {
            git = git
                .env(&format!("GIT_CONFIG_KEY_{number}"), name)
                .env(&format!("GIT_CONFIG_VALUE_{number}"), value);
        }
        git
    }

    fn https_settings(&self) -> Vec<(String, String)> {
        let address = match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let mut settings = vec![
            ("http.proxy".to_owned(), String::new()),
            // Where a redirect leads nobody has judged.
            ("http.followRedirects".to_owned(), "false".to_owned()),
            ("http.lowSpeedLimit".to_owned(), "1".to_owned()),
            ("http.lowSpeedTime".to_owned(), "60".to_owned()),
        ];
        if self.url.host.parse::<IpAddr>().is_err() {
            let resolved = format!("{}:{}:{address}", self.url.host, self.url.port());
            settings.push(("http.curloptResolve".to_owned(), resolved));
        }
        if let Some(file) = &self.ca_file {
            settings.push(("http.sslCAInfo".to_owned(), file.display().to_string()));
        }
        if let Some(token) = &self.token {
            let login = STANDARD.encode(format!("x-access-token:{}", token.expose_secret()));
            settings.push((
                "http.extraHeader".to_owned(),
                format!("Authorization: Basic {login}"),
            ));
        }
        settings
    }
}

/// The configuration that counts for ssh; what stands on the machine does not.
fn ssh_settings(url: &RepositoryUrl, address: IpAddr, home: &Path, accept_unknown: bool) -> String {
    let known_hosts = home.join("known_hosts");
    let checking = if accept_unknown { "accept-new" } else { "yes" };
    format!(
        "Host *\n\
         HostName {address}\n\
         HostKeyAlias {}\n\
         StrictHostKeyChecking {checking}\n\
         UserKnownHostsFile \"{}\"\n\
         GlobalKnownHostsFile /dev/null\n\
         UpdateHostKeys no\n\
         CanonicalizeHostname no\n\
         IdentityFile none\n\
         PreferredAuthentications publickey\n\
         BatchMode yes\n\
         ProxyCommand none\n\
         PermitLocalCommand no\n\
         ForwardAgent no\n\
         ForwardX11 no\n\
         ControlPath none\n\
         ConnectTimeout 10\n\
         ServerAliveInterval 15\n\
         ServerAliveCountMax 4\n\
         LogLevel ERROR\n",
        url.host_key_name(),
        known_hosts.display(),
    )
}

fn authorities(file: &Path) -> std::io::Result<String> {
    // Where the system has none, the operator's are all there are.
    let system = std::fs::read_to_string(SYSTEM_CA).unwrap_or_default();
    Ok(format!("{system}\n{}", std::fs::read_to_string(file)?))
}

/// The settings by which the agent's own git finds the server: its name is looked up as ever, the key
/// is asked of the relay.
pub(super) fn agents_ssh_settings(home: &Path, accept_unknown: bool) -> String {
    let checking = if accept_unknown { "accept-new" } else { "yes" };
    format!(
        "Host *\n\
         StrictHostKeyChecking {checking}\n\
         UserKnownHostsFile \"{}\"\n\
         GlobalKnownHostsFile /dev/null\n\
         BatchMode yes\n\
         LogLevel ERROR\n",
        home.join(".ssh/known_hosts").display(),
    )
}
