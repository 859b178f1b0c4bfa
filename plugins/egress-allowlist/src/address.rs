//! The host that a URL or an address names, in one spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host of `text`: a URL, `user@host:path`, `host:port` or a bare host. In lower case, without the
/// dot that may end it; an address in its usual spelling, whichever way it is written. None where
/// readers might disagree about it.
pub(crate) fn host(text: &str) -> Option<String> {
    // What browsers drop and others do not.
    if text.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return None;
    }
    let scheme = text.split_once("://").filter(|(scheme, _)| {
        scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    });
    let rest = match scheme {
        Some((_, rest)) => rest.trim_start_matches('/'),
        None => text,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    // A second `@` is a host to some readers and a part of the password to others.
    let host = match authority.split_once('@') {
        Some((_, host)) if host.contains('@') => return None,
        Some((_, host)) => host,
        None => authority,
    };
    if let Some(inner) = host.strip_prefix('[') {
        let (address, port) = inner.split_once(']')?;
        if !port.is_empty() && !port.starts_with(':') {
            return None;
        }
        let address: Ipv6Addr = address.split('%').next()?.parse().ok()?;
        return Some(plain(IpAddr::V6(address)));
    }
    if let Ok(address) = host.parse::<Ipv6Addr>() {
        return Some(plain(IpAddr::V6(address)));
    }
    let name = match host.split_once(':') {
        Some((name, port)) if scheme.is_some() => {
            if !port.chars().all(|c| c.is_ascii_digit()) {
                return None;
            }
            name
        }
        Some((name, _)) => name,
        None => host,
    };
    named(name)
}

/// A name or an IPv4 address. Names with other letters than ASCII are not compared: two of them can
/// look alike. In their ASCII spelling, `xn--…`, they are.
fn named(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty()
        || !name.chars().all(allowed)
        || name.split('.').any(str::is_empty)
        || name.starts_with('-')
    {
        return None;
    }
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| number(last).is_some());
    match numeric {
        true => ipv4(&name).map(|address| plain(IpAddr::V4(address))),
        false => Some(name),
    }
}

/// An address as `inet_aton` reads it: one to four numbers, decimal, octal or hexadecimal, the last of
/// which fills what is left.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) {
        return None;
    }
    let width = 8 * (4 - u32::try_from(first.len()).ok()?);
    if *last >= 1 << width {
        return None;
    }
    let mut address = *last;
    for (place, part) in first.iter().enumerate() {
        address |= part << (24 - 8 * place);
    }
    u32::try_from(address).ok().map(Ipv4Addr::from)
}

fn number(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return match hex {
            "" => Some(0),
            hex => u64::from_str_radix(hex, 16).ok(),
        };
    }
    if text.len() > 1 && text.starts_with('0') {
        return u64::from_str_radix(text, 8).ok();
    }
    text.chars()
        .all(|c| c.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// An IPv4 address that is written as one of IPv6 is the IPv4 address.
fn plain(address: IpAddr) -> String {
    address.to_canonical().to_string()
}

/// Whether a host fits an entry of a list: the host itself, or `*.example.com` for every name below it.
pub(crate) fn fits(entry: &str, host: &str) -> bool {
    match entry.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => entry == host,
    }
}

/// An entry in the spelling in which hosts are compared.
pub(crate) fn entry(text: &str) -> Option<String> {
    if text.contains(['/', '@']) {
        return None;
    }
    match text.strip_prefix("*.") {
        Some(parent) => {
            let parent = named(parent).filter(|name| name.parse::<Ipv4Addr>().is_err())?;
            Some(format!("*.{parent}"))
        }
        None if text.contains(':') => text
            .trim_matches(['[', ']'])
            .parse::<Ipv6Addr>()
            .ok()
            .map(|address| plain(IpAddr::V6(address))),
        None => named(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_an_address_is_one_address() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://017700000001/",
            "http://127.1/",
            "http://127.0.1:8080",
            "http://0X7F.1/",
            "http://127.0.0.1./",
            "http://user:x@127.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]:80/",
            "127.0.0.1:80",
        ] {
            assert_eq!(host(url).as_deref(), Some("127.0.0.1"), "{url}");
        }
        for url in [
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]:8080",
            "http://[::1%25eth0]/",
        ] {
            assert_eq!(host(url).as_deref(), Some("::1"), "{url}");
        }
    }

    #[test]
    fn every_spelling_of_a_name_is_one_name() {
        for url in [
            "https://Example.COM",
            "https://example.com.:443/x?y#z",
            "HTTPS://example.com#@evil.test",
            "https://evil.test@example.com/",
            "https:///example.com/",
            "git@example.com:acme/app.git",
            "ssh://git@example.com:22/acme/app",
            "example.com/path",
            "example.com",
        ] {
            assert_eq!(host(url).as_deref(), Some("example.com"), "{url}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_has_no_host() {
        for url in [
            "https://a@example.com@evil.test/",
            "https://evil.test\\@example.com/",
            "https://example.com%2eevil.test/",
            "https://exa\tmple.com/",
            "https://ex\u{e4}mple.com/",
            "https://example\u{3002}com/",
            "https://example..com/",
            "https://",
            "http://256.1.1.1/",
            "http://1.2.3.4.5/",
            "http://0x1ffffffff/",
            "http://[::1/",
            "https://example.com:80:90/",
            "-oProxyCommand=x",
        ] {
            assert_eq!(host(url), None, "{url}");
        }
    }

    #[test]
    fn a_star_stands_for_names_below_and_not_for_the_name_itself() {
        assert!(fits("*.example.com", "a.b.example.com"));
        assert!(!fits("*.example.com", "example.com"));
        assert!(!fits("*.example.com", "evilexample.com"));
        assert_eq!(entry("*.Example.com").as_deref(), Some("*.example.com"));
        assert_eq!(entry("[::1]").as_deref(), Some("::1"));
        for wrong in [
            "https://example.com",
            "*",
            "*.1.2.3.4",
            "a b",
            "",
            "example.com:80",
        ] {
            assert_eq!(entry(wrong), None, "{wrong}");
        }
    }
}
