//! Keeps agents out of the API: a connection from this machine is looked up in the kernel's table of
//! sockets, and one that a user id of the agents' pool opened is closed unanswered. So is one that
//! its opener has let go already: then nobody can tell any more whose it was.
//!
//! Holds only where agents have users of their own; the table costs about a microsecond a socket.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;

/// The user ids of agents, first to last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agents {
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Agents {
    /// Whether the other end of `stream` may be an agent.
    pub(super) fn may_have_opened(self, stream: &TcpStream) -> bool {
        let (Ok(peer), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else {
            return true;
        };
        let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
        let found = tables
            .iter()
            .flatten()
            .find_map(|table| owner(table, peer, here));
        match found {
            Some(Owner::User(uid)) => (self.first..=self.last).contains(&uid),
            Some(Owner::Gone) => true,
            // From another machine, or across a network namespace.
            None => peer.ip().to_canonical().is_loopback(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    User(u32),
    /// Closed by its process: the kernel forgets the user with the inode.
    Gone,
}

/// Who holds the socket at `peer` that is connected to `here`, by the format of proc(5).
fn owner(table: &str, peer: SocketAddr, here: SocketAddr) -> Option<Owner> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = address(fields.next()?)?;
        let remote = address(fields.next()?)?;
        if (local.0, local.1) != (peer.ip().to_canonical(), peer.port())
            || (remote.0, remote.1) != (here.ip().to_canonical(), here.port())
        {
            return None;
        }
        // State, queues, timer, retransmissions; then the user, a timeout and the inode.
        let uid = fields.nth(4)?.parse().ok()?;
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        Some(if inode == 0 {
            Owner::Gone
        } else {
            Owner::User(uid)
        })
    })
}

/// `0100007F:1F90`: words in the machine's byte order, then the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = hex::decode(ip).ok()?;
    if cfg!(target_endian = "little") {
        bytes.chunks_mut(4).for_each(<[u8]>::reverse);
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use tokio::net::TcpListener;

    use super::*;

    async fn pair(on: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(on).await.unwrap();
        let there = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        (listener.accept().await.unwrap().0, there)
    }

    #[tokio::test]
    async fn a_connection_is_known_by_the_user_that_opened_it() {
        let us = nix::unistd::Uid::effective().as_raw();
        for on in ["127.0.0.1:0", "[::1]:0"] {
            let (here, _there) = pair(on).await;
            assert!(
                Agents {
                    first: us,
                    last: us
                }
                .may_have_opened(&here),
                "{on}"
            );
            let others = Agents {
                first: us + 1,
                last: us + 64,
            };
            assert!(!others.may_have_opened(&here), "{on}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_was_let_go_at_once_is_nobodys_to_answer_for() {
        let us = nix::unistd::Uid::effective().as_raw();
        let (here, there) = pair("127.0.0.1:0").await;
        drop(there);
        let others = Agents {
            first: us + 1,
            last: us + 64,
        };
        assert!(others.may_have_opened(&here));
    }
}
