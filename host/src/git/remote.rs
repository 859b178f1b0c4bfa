//! One server of repositories, with the address that is dialled, its proof and our credentials.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};

use super::fetch::Bare;
use super::run::{Git, RunError, Until};
use super::url::{RepositoryUrl, Scheme};
use super::{known_hosts, ssh_agent, ssh_variables as variables};
use crate::config;
use crate::isolation::Sandbox;
use crate::outbound::{Outbound, Unreachable};

/// Name of the file with servers' keys in either home.
pub(super) const KNOWN_HOSTS: &str = ".known_hosts";

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
    ssh: PathBuf,
    accept_unknown: bool,
    ca_file: Option<PathBuf>,
}

/// What all remotes of one task share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) settings: &'a config::Git,
    pub(super) outbound: &'a Outbound,
    /// What speaks to remotes runs here.
    pub(super) sandbox: &'a Sandbox,
    /// This program, where the sandbox's user can start it.
    pub(super) ssh: &'a Path,
}

impl Remote {
    /// Finds the address, and writes down for ssh and git by what to know the server.
    pub(super) async fn reach(
        url: RepositoryUrl,
        token: Option<SecretString>,
        around: Surroundings<'_>,
    ) -> Result<Self, RemoteError> {
        let address = around.outbound.reach(&url.host, url.port()).await?;
        let home = around.sandbox.home();
        let write = |name: &str, content: &str| {
            around
                .sandbox
                .write_for_agent(&home.join(name), content.as_bytes())
                .map_err(RunError::from)
        };
        let mut ca_file = None;
        match url.scheme {
            Scheme::Ssh => {
                let known = known_hosts::all(around.settings.known_hosts.as_deref())
                    .map_err(RemoteError::Settings)?;
                write(KNOWN_HOSTS, &known)?;
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
            ca_file,
            ssh: around.ssh.to_owned(),
            accept_unknown: around.settings.accept_unknown_hosts,
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
                    .env(variables::ADDRESS, self.address.to_string());
                let home = sandbox.home();
                for (name, value) in
                    ssh_environment(&self.ssh, &home.join(KNOWN_HOSTS), self.accept_unknown)
                {
                    git = git.env(name, value);
                }
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
        if let Some(login) = self.authorization() {
            settings.push((
                "http.extraHeader".to_owned(),
                format!("Authorization: {}", login.expose_secret()),
            ));
        }
        settings
    }

    /// What lets us in by HTTPS: the header's value.
    pub(super) fn authorization(&self) -> Option<SecretString> {
        let token = self.token.as_ref()?;
        let login = STANDARD.encode(format!("x-access-token:{}", token.expose_secret()));
        Some(format!("Basic {login}").into())
    }

    /// Has the server run a command by SSH; what that wrote.
    pub(super) async fn ask(
        &self,
        bare: &Bare,
        command: &str,
        until: &Until,
    ) -> Result<Vec<u8>, RunError> {
        let (port, place) = (self.url.port().to_string(), self.url.account());
        self.git(&bare.sandbox, &bare.directory, until)
            .in_its_place(&self.ssh)
            .run(&["git-ssh", "-p", &port, &place, command])
            .await
    }
}

fn authorities(file: &Path) -> std::io::Result<String> {
    // Where the system has none, the operator's are all there are.
    let system = std::fs::read_to_string(SYSTEM_CA).unwrap_or_default();
    Ok(format!("{system}\n{}", std::fs::read_to_string(file)?))
}

/// By what git finds this program in place of `ssh`, and this program the servers' keys and whoever
/// signs.
pub(super) fn ssh_environment(
    ssh: &Path,
    known_hosts: &Path,
    accept_unknown: bool,
) -> Vec<(&'static str, String)> {
    let quoted = ssh.display().to_string().replace('\'', r"'\''");
    let mut environment = vec![
        ("GIT_SSH_COMMAND", format!("'{quoted}' git-ssh")),
        ("GIT_SSH_VARIANT", "ssh".to_owned()),
        (variables::KNOWN_HOSTS, known_hosts.display().to_string()),
        (variables::AGENT, ssh_agent::SOCKET.to_owned()),
    ];
    if accept_unknown {
        environment.push((variables::ACCEPT_UNKNOWN, "1".to_owned()));
    }
    environment
}
