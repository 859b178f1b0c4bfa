#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::*;

fn outbound(private_addresses: PrivateAddresses, allow_http: bool) -> Outbound {
    Outbound::by(&config::Outbound {
        private_addresses,
        allow_http,
    })
    .unwrap()
}

fn check(private: PrivateAddresses, url: &str) -> Result<(), Forbidden> {
    outbound(private, true).check(&Url::parse(url).unwrap())
}

/// Whatever spells loopback, link-local or another special address.
const SPECIAL: &[&str] = &[
    "127.0.0.1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "0",
    "１２７.０.０.１",
    "127.0.0.1.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "0xa9fea9fe",
    "2852039166",
    "[::ffff:a9fe:a9fe]",
    "169.254.169.254",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::1]",
    "[fd20:ce::254]",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[fc00::1]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2002:a9fe:a9fe::]",
    "[2002:808:808::1]",
    "[2001:0:53aa:64c::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[100::1]",
    "[5f00::1]",
    "[::7f00:1]",
    "[4000::1]",
];

const PUBLIC: &[&str] = &[
    "8.8.8.8",
    "1.1.1.1",
    "172.15.255.255",
    "172.32.0.1",
    "100.128.0.1",
    "198.20.0.1",
    "223.255.255.255",
    "[2001:4860:4860::8888]",
    "[2606:4700::1111]",
    "[64:ff9b::808:808]",
    "[::ffff:8.8.8.8]",
    "example.com",
    "example.com.",
    "bücher.example",
    "0x08080808",
];

#[test]
fn no_spelling_of_a_special_address_passes() {
    for host in SPECIAL {
        for url in [
            format!("https://{host}/"),
            format!("http://{host}:8080/x?y"),
        ] {
            assert!(check(PrivateAddresses::Deny, &url).is_err(), "{url}");
        }
    }
}

#[test]
fn public_addresses_and_names_pass_in_every_mode() {
    for host in PUBLIC {
        for mode in [
            PrivateAddresses::Deny,
            PrivateAddresses::Loopback,
            PrivateAddresses::Allow,
        ] {
            assert_eq!(
                check(mode, &format!("https://{host}/hook")),
                Ok(()),
                "{host}"
            );
        }
    }
}

#[test]
fn loopback_mode_adds_this_machine_and_nothing_else() {
    let here = [
        "127.0.0.1",
        "127.1",
        "127.9.9.9",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "a.localhost",
    ];
    for host in here {
        assert_eq!(
            check(PrivateAddresses::Loopback, &format!("http://{host}:9999/")),
            Ok(()),
            "{host}"
        );
    }
    for host in [
        "0",
        "[::]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
        "192.168.0.1",
    ] {
        assert!(
            check(PrivateAddresses::Loopback, &format!("http://{host}:9999/")).is_err(),
            "{host}"
        );
    }
}

#[test]
fn allow_mode_takes_private_addresses() {
    for host in ["10.0.0.1", "192.168.0.1", "[fd00::1]", "127.0.0.1"] {
        assert_eq!(
            check(PrivateAddresses::Allow, &format!("http://{host}/")),
            Ok(()),
            "{host}"
        );
    }
}

#[test]
fn user_info_ports_schemes_and_length_are_judged() {
    let forbidden = [
        "https://user@example.com/",
        "https://user:pw@example.com/",
        "https://:pw@example.com/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:0/",
        "https://example.com:6379/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "data:text/plain,x",
        "gopher://example.com/",
    ];
    for url in forbidden {
        assert!(check(PrivateAddresses::Allow, url).is_err(), "{url}");
    }
    assert!(
        check(
            PrivateAddresses::Allow,
            &format!("https://example.com/{}", "a".repeat(2048))
        )
        .is_err()
    );
    for url in [
        "https://example.com:443/",
        "http://example.com:80/",
        "https://example.com:8443/#part",
        "  https://example.com\\x ",
        "https://example.com/@x:y@z",
    ] {
        assert_eq!(check(PrivateAddresses::Deny, url), Ok(()), "{url}");
    }
}

#[test]
fn plain_http_needs_leave_for_public_hosts_only() {
    let strict = outbound(PrivateAddresses::Loopback, false);
    let check = |url: &str| strict.check(&Url::parse(url).unwrap());
    assert!(check("http://example.com/").is_err());
    assert!(check("http://8.8.8.8/").is_err());
    assert!(check("http://10.0.0.1/").is_err());
    assert_eq!(check("http://127.0.0.1:8000/"), Ok(()));
    assert_eq!(check("http://localhost:8000/"), Ok(()));
    assert_eq!(check("https://example.com/"), Ok(()));
}

#[test]
fn what_a_server_of_files_names_is_reached_by_https_only_and_may_be_long() {
    let strict = outbound(PrivateAddresses::Loopback, true);
    let strict = strict.trusting(b"").unwrap();
    let check = |url: &str| strict.check(&Url::parse(url).unwrap());
    assert!(check("http://example.com/").is_err());
    assert!(check("http://127.0.0.1:8000/").is_err());
    assert!(check("https://10.0.0.1/").is_err());
    assert_eq!(check("https://127.0.0.1:8000/"), Ok(()));
    let of = |length: usize| format!("https://example.com/{}", "a".repeat(length));
    assert_eq!(check(&of(4096)), Ok(()));
    assert!(check(&of(MAX_SIGNED_URL)).is_err());
    let broken = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
    assert!(strict.trusting(broken).is_err());
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_refused_when_dialled() {
    // The client is used without `check`, so that only the resolver stands in the way.
    let outbound = outbound(PrivateAddresses::Deny, true);
    let error = outbound
        .client()
        .get("http://localhost:9/")
        .send()
        .await
        .unwrap_err();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.downcast_ref::<Forbidden>().is_some() {
            return;
        }
        cause = error.source();
    }
    panic!("not refused by the resolver: {error:?}");
}
