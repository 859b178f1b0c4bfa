//! The host that a URL names, read so narrowly that no two readers can disagree about it.

/// The host of an absolute URL with one of the schemes, in lower case and without its port.
///
/// None where the URL is of another kind, or is written in a way that readers take differently: with
/// user information, a backslash, white space, an escape in the host, or anything but ASCII there.
pub fn host(url: &str, schemes: &[&str]) -> Option<String> {
    if url.contains(|c: char| c == '\\' || c.is_whitespace() || c.is_control()) {
        return None;
    }
    let (scheme, rest) = url.split_once("://")?;
    if !schemes
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
    {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let (name, port) = authority.split_once(':').unwrap_or((authority, ""));
    if !port.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    plain_host(name)
}

/// A host name in lower case, without the dot that may end it; none where it is no plain name.
pub fn plain_host(name: &str) -> Option<String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !plain || name.is_empty() || name.starts_with(['-', '.']) || name.contains("..") {
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// Whether a host fits a pattern: the name itself, or `*.example.com` for every name below it.
pub fn host_fits(pattern: &str, host: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    match pattern.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == "*" || pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_found_whatever_follows_it() {
        for url in [
            "https://Example.com",
            "https://example.com:8443/x",
            "HTTPS://example.com.?q",
            "http://example.com#f",
        ] {
            assert_eq!(
                host(url, &["http", "https"]).as_deref(),
                Some("example.com"),
                "{url}"
            );
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_has_no_host() {
        for url in [
            "https://example.com@evil.test/",
            "https://example.com\\@evil.test/",
            "https://example.com%2eevil.test/",
            "https://exa\tmple.com/",
            "https:/example.com",
            "https://[::1]/",
            "file:///etc/passwd",
            "https://example.com:80:90/",
            "https:///x",
            "https://exämple.com/",
        ] {
            assert_eq!(host(url, &["http", "https"]), None, "{url}");
        }
    }

    #[test]
    fn a_star_stands_for_names_below_and_not_for_the_name_itself() {
        assert!(host_fits("*.example.com", "a.b.example.com"));
        assert!(!host_fits("*.example.com", "example.com"));
        assert!(!host_fits("*.example.com", "evilexample.com"));
        assert!(host_fits("Example.com", "example.com"));
    }
}
