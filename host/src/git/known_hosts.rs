//! Which server has which key.

use std::path::Path;

/// Of the large hosting services; everybody else is the operator's to name.
const BUILT_IN: &str = include_str!("known_hosts");
/// Bytes of the operator's file that are read.
const LARGEST: u64 = 1 << 20;

/// The content of a `known_hosts` file: the built-in keys and the operator's.
pub(super) fn all(operators: Option<&Path>) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut all = BUILT_IN.to_owned();
    if let Some(path) = operators {
        std::fs::File::open(path)?
            .take(LARGEST)
            .read_to_string(&mut all)?;
        all.push('\n');
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// As the services publish them.
    const FINGERPRINTS: [(&str, &str); 8] = [
        (
            "github.com ssh-ed25519",
            "+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
        ),
        (
            "github.com ecdsa-sha2-nistp256",
            "p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM",
        ),
        (
            "github.com ssh-rsa",
            "uNiVztksCsDhcc0u9e8BujQXVUpKZIDTMczCvj3tD2s",
        ),
        (
            "gitlab.com ssh-ed25519",
            "eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
        ),
        (
            "gitlab.com ecdsa-sha2-nistp256",
            "HbW3g8zUjNSksFbqTiUWPWg2Bq1x8xdGUrliXFzSnUw",
        ),
        (
            "gitlab.com ssh-rsa",
            "ROQFvPThGrW4RuWLoL9tq9I9zJ42fK4XywyRtbOz/EQ",
        ),
        (
            "bitbucket.org ssh-ed25519",
            "ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
        ),
        (
            "bitbucket.org ecdsa-sha2-nistp256",
            "FC73VB6C4OQLSCrjEayhMp9UMxS97caD/Yyi2bhW/J0",
        ),
    ];

    #[test]
    fn the_built_in_keys_have_the_published_fingerprints() {
        let found: Vec<(String, String)> = BUILT_IN
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, key) = line.rsplit_once(' ').unwrap();
                let digest = Sha256::digest(STANDARD.decode(key).unwrap());
                (name.to_owned(), STANDARD_NO_PAD.encode(digest))
            })
            .collect();
        let expected = FINGERPRINTS.map(|(name, print)| (name.to_owned(), print.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn the_operators_keys_come_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("hosts");
        std::fs::write(&file, "git.example.com ssh-ed25519 AAAA").unwrap();
        let all = all(Some(&file)).unwrap();
        assert!(all.contains("github.com") && all.ends_with("git.example.com ssh-ed25519 AAAA\n"));
        assert!(super::all(Some(&directory.path().join("none"))).is_err());
    }
}
