//! One dialler for what callers make us connect to: it checks the address that is dialled, follows
//! no redirect and knows no proxy from the environment.

use crate::config::Config;

/// A refusal before any byte was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// The dialler. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Outbound {}

impl Outbound {
    /// By `[outbound]`.
    pub fn new(_config: &Config) -> Result<Self, Forbidden> {
        unimplemented!()
    }

    /// What can be told from the URL alone: scheme, user info, port, a literal address. A host name
    /// is judged again by the address when it is dialled.
    pub fn check(&self, _url: &url::Url) -> Result<(), Forbidden> {
        unimplemented!()
    }

    /// A client whose every connection is checked.
    pub fn client(&self) -> &reqwest::Client {
        unimplemented!()
    }
}
