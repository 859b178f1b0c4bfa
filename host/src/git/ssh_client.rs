//! SSH for git: what git starts in place of `ssh`.
//!
//! OpenSSH's client does nothing for a user that the system has no name for, and both git of ours and
//! git of the agent run as such users. So this speaks the protocol by a library, and only what git
//! needs of it: one server that must be known, one key that an agent holds, one command.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::known_hosts::known_host_keys_path;
use russh::keys::{Algorithm, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, ChannelReadHalf, Preferred};
use tokio::io::AsyncWriteExt as _;

const CONNECT: Duration = Duration::from_secs(10);
/// Silence after which the server is asked whether it is there, and so often without an answer.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVES: usize = 4;
/// What may be under way unacknowledged: large repositories come over long lines.
const WINDOW: u32 = 16 << 20;
/// As `ssh` ends where it failed itself.
const FAILED: u8 = 255;

/// What git asks for, and by what right.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the account.
    pub user: String,
    /// As the server is known.
    pub host: String,
    /// As the server is known.
    pub port: u16,
    /// What to run there.
    pub command: String,
    /// Git's own, for the server.
    pub protocol: Option<String>,
    /// Where to dial; none looks the host up.
    pub address: Option<IpAddr>,
    /// Keys of servers.
    pub known_hosts: PathBuf,
    /// Whether a server without a known key is trusted.
    pub accept_unknown: bool,
    /// Socket of whoever signs.
    pub agent: Option<PathBuf>,
}

impl Request {
    /// Reads what git passes to `ssh`: options, `user@host`, the command.
    pub fn of_arguments(arguments: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let mut port = 22;
        let place = loop {
            match arguments.next()?.as_str() {
                "-p" => port = arguments.next()?.parse().ok()?,
                "-o" => drop(arguments.next()?),
                option if option.starts_with('-') => {}
                place => break place.to_owned(),
            }
        };
        let command: Vec<String> = arguments.collect();
        let (user, host) = place.split_once('@')?;
        let host = host.trim_matches(['[', ']']);
        (!command.is_empty()).then(|| Self {
            user: user.to_owned(),
            host: host.to_owned(),
            port,
            command: command.join(" "),
            protocol: None,
            address: None,
            known_hosts: PathBuf::new(),
            accept_unknown: false,
            agent: None,
        })
    }
}

/// Why nothing was run. In OpenSSH's words where it has some: they are what people look for.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("connect to host {0} port {1}: {2}")]
    Unreachable(String, u16, std::io::Error),
    #[error(
        "No host key is known for {0} and you have requested strict checking.\nHost key verification failed."
    )]
    UnknownServer(String),
    #[error("REMOTE HOST IDENTIFICATION HAS CHANGED for {0}.\nHost key verification failed.")]
    ChangedServer(String),
    #[error("{0}: Permission denied (publickey).")]
    Denied(String),
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error(transparent)]
    Key(#[from] russh::keys::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Runs the command with this process's standard input and output; its exit code.
pub async fn run(request: Request) -> u8 {
    match serve(&request).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            FAILED
        }
    }
}

async fn serve(request: &Request) -> Result<u8, Error> {
    let mut session = connect(request).await?;
    log_in(&mut session, request).await?;
    let channel = session.channel_open_session().await?;
    if let Some(protocol) = &request.protocol {
        channel
            .set_env(false, "GIT_PROTOCOL", protocol.as_str())
            .await?;
    }
    channel.exec(true, request.command.as_str()).await?;
    let (reader, writer) = channel.split();
    let send = async {
        let mut to = writer.make_writer();
        // A server that takes no more says why by its exit code.
        let _ = tokio::io::copy(&mut tokio::io::stdin(), &mut to).await;
        let _ = to.shutdown().await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        code = receive(reader) => code,
        () = send => Ok(FAILED),
    }
}

async fn receive(mut from: ChannelReadHalf) -> Result<u8, Error> {
    let (mut stdout, mut stderr) = (tokio::io::stdout(), tokio::io::stderr());
    let mut code = None;
    while let Some(message) = from.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                stdout.write_all(&data).await?;
                stdout.flush().await?;
            }
            ChannelMsg::ExtendedData { data, .. } => {
                stderr.write_all(&data).await?;
                stderr.flush().await?;
            }
            ChannelMsg::ExitStatus { exit_status } => {
                code = Some(u8::try_from(exit_status).unwrap_or(FAILED));
            }
            ChannelMsg::Failure => return Ok(FAILED),
            _ => {}
        }
    }
    // A connection that broke has no exit code.
    Ok(code.unwrap_or(FAILED))
}

async fn connect(request: &Request) -> Result<Handle<Server>, Error> {
    let known = known_keys(request)?;
    let config = client::Config {
        window_size: WINDOW,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES,
        nodelay: true,
        preferred: Preferred {
            key: prefer(&known),
            ..Preferred::DEFAULT
        },
        ..client::Config::default()
    };
    let place = match request.address {
        Some(address) => address.to_string(),
        None => request.host.clone(),
    };
    let dial = tokio::net::TcpStream::connect((place.as_str(), request.port));
    let dialled = tokio::time::timeout(CONNECT, dial)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|error| Error::Unreachable(request.host.clone(), request.port, error))?;
    let server = Server {
        name: request.host.clone(),
        known,
        accept_unknown: request.accept_unknown,
    };
    client::connect_stream(Arc::new(config), dialled, server).await
}

/// Every key of this server that is known.
fn known_keys(request: &Request) -> Result<Vec<PublicKey>, Error> {
    let found = known_host_keys_path(&request.host, request.port, &request.known_hosts)?;
    Ok(found.into_iter().map(|(_line, key)| key).collect())
}

/// The usual algorithms, those first of which a key is known: a server has several, and would else show
/// one that is not.
fn prefer(known: &[PublicKey]) -> Cow<'static, [Algorithm]> {
    let is_known = |algorithm: &Algorithm| {
        known.iter().any(|key| match (key.algorithm(), algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (known, algorithm) => known == *algorithm,
        })
    };
    let (mut first, rest): (Vec<_>, Vec<_>) =
        Preferred::DEFAULT.key.iter().cloned().partition(is_known);
    first.extend(rest);
    first.into()
}

/// Judges the server's key.
struct Server {
    name: String,
    known: Vec<PublicKey>,
    accept_unknown: bool,
}

impl client::Handler for Server {
    type Error = Error;

    async fn check_server_key(&mut self, shown: &PublicKeyOrCertificate) -> Result<bool, Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = shown else {
            return Err(Error::UnknownServer(self.name.clone()));
        };
        let is_known = self
            .known
            .iter()
            .any(|known| known.key_data() == key.key_data());
        match (is_known, self.known.is_empty()) {
            (true, _) => Ok(true),
            (false, true) if self.accept_unknown => Ok(true),
            (false, true) => Err(Error::UnknownServer(self.name.clone())),
            (false, false) => Err(Error::ChangedServer(self.name.clone())),
        }
    }
}

async fn log_in(session: &mut Handle<Server>, request: &Request) -> Result<(), Error> {
    let denied = || Error::Denied(format!("{}@{}", request.user, request.host));
    let Some(socket) = &request.agent else {
        return Err(denied());
    };
    let mut agent = AgentClient::connect(tokio::net::UnixStream::connect(socket).await?);
    let hash = session.best_supported_rsa_hash().await?.flatten();
    for identity in agent.request_identities().await? {
        let AgentIdentity::PublicKey { key, .. } = identity else {
            continue;
        };
        let hash = hash.filter(|_| key.algorithm().is_rsa());
        let user = request.user.as_str();
        match session
            .authenticate_publickey_with(user, key, hash, &mut agent)
            .await
        {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure { .. }) => {}
            Err(error) => {
                eprintln!("{error}");
                return Err(denied());
            }
        }
    }
    Err(denied())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(arguments: &[&str]) -> Option<(String, String, u16, String)> {
        let request = Request::of_arguments(arguments.iter().map(|&argument| argument.to_owned()))?;
        Some((request.user, request.host, request.port, request.command))
    }

    #[test]
    fn what_git_passes_to_ssh_is_understood() {
        let words = [
            "-o",
            "SendEnv=GIT_PROTOCOL",
            "-p",
            "2222",
            "git@h",
            "git-upload-pack '/a'",
        ];
        let expected = (
            "git".to_owned(),
            "h".to_owned(),
            2222,
            "git-upload-pack '/a'".to_owned(),
        );
        assert_eq!(read(&words), Some(expected));
        assert_eq!(read(&["git@h", "git-receive-pack 'a'"]).unwrap().2, 22);
        assert_eq!(read(&["git@h"]), None);
        assert_eq!(read(&["-p", "x", "git@h", "c"]), None);
        assert_eq!(read(&[]), None);
    }
}
