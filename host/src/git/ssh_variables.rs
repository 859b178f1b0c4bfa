//! How `gatehouse git-ssh` is told what git does not tell it.

/// Where to dial, judged before; none looks the host up.
pub const ADDRESS: &str = "GATEHOUSE_SSH_ADDRESS";
/// File with the keys of servers.
pub const KNOWN_HOSTS: &str = "GATEHOUSE_SSH_KNOWN_HOSTS";
/// Set where a server without a known key is trusted.
pub const ACCEPT_UNKNOWN: &str = "GATEHOUSE_SSH_ACCEPT_UNKNOWN";
/// Socket of whoever signs, from `TMPDIR`.
pub const AGENT: &str = "GATEHOUSE_SSH_AGENT";
