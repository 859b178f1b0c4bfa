//! Names to addresses that may be dialled.

use std::net::SocketAddr;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{Forbidden, Policy};

/// The system's resolver, with what the policy forbids left out.
#[derive(Debug)]
pub(super) struct CheckedResolver {
    policy: Policy,
}

impl CheckedResolver {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy;
        Box::pin(async move {
            // The port is the connection's; what stands here is replaced.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted = permitted(policy, found)?;
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// Of a name's addresses those that may be dialled; if that is none, why.
pub(super) fn permitted(
    policy: Policy,
    found: impl Iterator<Item = SocketAddr>,
) -> Result<Vec<SocketAddr>, Forbidden> {
    let mut refusal = Forbidden("the host has no address".to_owned());
    let mut permitted = Vec::new();
    for address in found {
        match policy.permit(address.ip()) {
            Ok(()) => permitted.push(address),
            Err(forbidden) => refusal = forbidden,
        }
    }
    if permitted.is_empty() {
        Err(refusal)
    } else {
        Ok(permitted)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::config::PrivateAddresses;

    fn dialled(private: PrivateAddresses, found: &[&str]) -> Result<Vec<String>, Forbidden> {
        let found = found
            .iter()
            .map(|address| SocketAddr::new(address.parse().unwrap(), 0));
        let permitted = permitted(
            Policy::by(&crate::config::Outbound {
                private_addresses: private,
                allow_http: true,
            }),
            found,
        )?;
        Ok(permitted
            .iter()
            .map(|address| address.ip().to_string())
            .collect())
    }

    #[test]
    fn of_a_mixed_answer_only_public_addresses_are_dialled() {
        let answer = [
            "10.0.0.1",
            "8.8.8.8",
            "::1",
            "fd00::1",
            "2001:4860:4860::8888",
        ];
        assert_eq!(
            dialled(PrivateAddresses::Deny, &answer).unwrap(),
            ["8.8.8.8", "2001:4860:4860::8888"]
        );
        assert_eq!(
            dialled(PrivateAddresses::Loopback, &answer).unwrap(),
            ["8.8.8.8", "::1", "2001:4860:4860::8888"]
        );
        assert_eq!(dialled(PrivateAddresses::Allow, &answer).unwrap().len(), 5);
    }

    #[test]
    fn a_name_with_private_addresses_only_is_refused_with_the_range_named() {
        let refusal = dialled(PrivateAddresses::Deny, &["169.254.169.254"]).unwrap_err();
        assert_eq!(
            refusal.0,
            "169.254.169.254 is not a public address (link-local)"
        );
        assert!(dialled(PrivateAddresses::Allow, &[]).is_err());
    }
}
