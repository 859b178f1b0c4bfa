//! One dialler for what callers make us connect to: it checks the address that is dialled, follows
//! no redirect and knows no proxy from the environment.
//!
//! A name is looked up once, by the connection itself, and only the permitted ones of its addresses
//! are dialled: there is no second answer that could differ from the one that was checked. A literal
//! address is never looked up, so [`Outbound::request`] judges it first. Does not know what is sent.
//!
//! [`ForPlugins`] carries what plugins send: the same dialler, with plain http to private addresses only.
//! [`Outbound::trusting`] is the same dialler for servers that answer with addresses of their own making.

mod for_plugins;
mod resolve;
mod special_use;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use url::{Host, Url};

use crate::config::{self, Config, PrivateAddresses};
use resolve::CheckedResolver;

pub use for_plugins::ForPlugins;

/// Longer URLs are refused.
const MAX_URL: usize = 2048;
/// The same for addresses that a server made: those that a storage service has signed are long.
const MAX_SIGNED_URL: usize = 8192;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Ports above 1023 where services listen that a request of ours could do harm to.
const OTHER_SERVICES: &[u16] = &[
    2049, 2375, 2379, 2380, 3306, 3389, 4045, 5060, 5061, 5432, 5900, 6000, 6379, 6566, 6665, 6666,
    6667, 6668, 6669, 6697, 10080, 10250, 11211, 27017,
];

/// A refusal before any byte was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// Why no address can be dialled.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// None of the host's addresses may be.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The name has no address, or nobody listens there.
    #[error("{0}")]
    Failed(#[from] std::io::Error),
    /// No answer came in time.
    #[error("no answer came in time")]
    Silent,
}

/// The dialler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound {
    policy: Policy,
    client: reqwest::Client,
}

impl Outbound {
    /// By `[outbound]`.
    pub fn new(config: &Config) -> Result<Self, Forbidden> {
        Self::by(&config.outbound)
    }

    /// By these settings.
    pub fn by(settings: &config::Outbound) -> Result<Self, Forbidden> {
        Self::with(Policy::by(settings), Vec::new())
    }

    /// The same addresses by https only, where servers may also be certified by the authorities of this
    /// PEM file, and URLs be as long as storage services sign them.
    pub fn trusting(&self, authorities: &[u8]) -> Result<Self, Forbidden> {
        let authorities = reqwest::Certificate::from_pem_bundle(authorities)
            .map_err(|error| Forbidden(format!("the authorities cannot be read: {error}")))?;
        let policy = Policy {
            http: Plain::Never,
            longest: MAX_SIGNED_URL,
            ..self.policy
        };
        Self::with(policy, authorities)
    }

    fn with(policy: Policy, authorities: Vec<reqwest::Certificate>) -> Result<Self, Forbidden> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Arc::new(CheckedResolver::new(policy)))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(Duration::from_secs(30))
            .tls_certs_merge(authorities)
            .build()
            .map_err(|error| Forbidden(format!("the outbound client cannot be made: {error}")))?;
        Ok(Self { policy, client })
    }

    /// What can be told from the URL alone: scheme, user info, port, a literal address. A host name
    /// is judged again by the address when it is dialled.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        self.policy.check(url)
    }

    /// A request whose address is judged now where the URL has it, else when it is dialled.
    pub fn request(&self, method: Method, url: Url) -> Result<reqwest::RequestBuilder, Forbidden> {
        self.check(&url)?;
        Ok(self.client.request(method, url))
    }

    /// What can be told of a host without looking it up: a literal address, or this machine's name.
    pub fn check_host(&self, host: &str, port: u16) -> Result<(), Forbidden> {
        if OTHER_SERVICES.contains(&port) || (port < 1024 && ![22, 443].contains(&port)) {
            return Err(Forbidden(format!("port {port} is not allowed")));
        }
        let host = host.trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) => self.policy.permit(address),
            Err(_) if is_localhost(host) => self.policy.permit(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Err(_) => Ok(()),
        }
    }

    /// The address at which a program of ours may reach `host`: looked up once, judged, and tried. The
    /// program has to be told this address, so that it looks up nothing itself.
    pub async fn reach(&self, host: &str, port: u16) -> Result<IpAddr, Unreachable> {
        self.check_host(host, port)?;
        let candidates = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => {
                self.policy.permit(address)?;
                vec![SocketAddr::new(address, port)]
            }
            Err(_) => {
                let found = tokio::net::lookup_host((host, port));
                let found = tokio::time::timeout(CONNECT_TIMEOUT, found).await;
                let found = found.map_err(|_| Unreachable::Silent)??;
                resolve::permitted(self.policy, found)?
            }
        };
        let mut failure = Unreachable::Silent;
        for address in candidates {
            let connected = tokio::net::TcpStream::connect(address);
            match tokio::time::timeout(CONNECT_TIMEOUT, connected).await {
                Ok(Ok(_)) => return Ok(address.ip()),
                Ok(Err(error)) => failure = error.into(),
                Err(_elapsed) => {}
            }
        }
        Err(failure)
    }

    /// A client that checks whatever a host name stands for. It cannot see literal addresses:
    /// [`Outbound::check`] the URL first, or use [`Outbound::request`].
    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }
}

/// Which addresses may be dialled.
#[derive(Clone, Copy, Debug)]
struct Policy {
    private: PrivateAddresses,
    http: Plain,
    /// Bytes of a URL.
    longest: usize,
}

/// Where plain http may lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Everywhere,
    /// It is a matter of public networks only.
    ToPrivate,
    Never,
}

impl Policy {
    fn by(settings: &config::Outbound) -> Self {
        Self {
            private: settings.private_addresses,
            http: if settings.allow_http {
                Plain::Everywhere
            } else {
                Plain::ToPrivate
            },
            longest: MAX_URL,
        }
    }

    fn check(self, url: &Url) -> Result<(), Forbidden> {
        let refuse = |why: &str| Err(Forbidden(why.to_owned()));
        if url.as_str().len() > self.longest {
            return Err(Forbidden(format!(
                "the URL is longer than {} bytes",
                self.longest
            )));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL must not hold a user name or password");
        }
        let Some(host) = url.host() else {
            return refuse("the URL names no host");
        };
        match url.scheme() {
            "https" => {}
            "http" if self.permits_plain(&host) => {}
            "http" => return refuse("plain http is not allowed; use https"),
            _ => return refuse("the URL must use http or https"),
        }
        if let Some(port) = url.port() {
            let web = port == 80 || port == 443;
            if (port < 1024 && !web) || OTHER_SERVICES.contains(&port) {
                return Err(Forbidden(format!("port {port} is not allowed")));
            }
        }
        match host {
            Host::Ipv4(address) => self.permit(IpAddr::V4(address)),
            Host::Ipv6(address) => self.permit(IpAddr::V6(address)),
            Host::Domain(name) if is_localhost(name) => {
                self.permit(IpAddr::V4(Ipv4Addr::LOCALHOST))
            }
            Host::Domain(_) => Ok(()),
        }
    }

    fn permit(self, address: IpAddr) -> Result<(), Forbidden> {
        let Some(range) = special_use::range_of(address) else {
            return Ok(());
        };
        match self.private {
            PrivateAddresses::Allow => Ok(()),
            PrivateAddresses::Loopback if special_use::is_loopback(address) => Ok(()),
            PrivateAddresses::Deny | PrivateAddresses::Loopback => Err(Forbidden(format!(
                "{address} is not a public address ({range})"
            ))),
        }
    }

    fn permits_plain(self, host: &Host<&str>) -> bool {
        match self.http {
            Plain::Everywhere => return true,
            Plain::Never => return false,
            Plain::ToPrivate => {}
        }
        let address = match host {
            Host::Ipv4(address) => IpAddr::V4(*address),
            Host::Ipv6(address) => IpAddr::V6(*address),
            Host::Domain(name) if is_localhost(name) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            Host::Domain(_) => return false,
        };
        special_use::range_of(address).is_some() && self.permit(address).is_ok()
    }
}

/// RFC 6761: always this machine, whatever a name server says.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether a URL leads to this machine, by its name or address alone.
pub(crate) fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
