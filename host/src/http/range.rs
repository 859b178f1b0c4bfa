//! The part of a file that a request asks for (RFC 9110, 14): one range of bytes.

use axum::http::{HeaderMap, header};

/// What is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// Everything: no range is asked for, or none that we serve.
    Whole,
    /// From one byte to another, both included.
    Part {
        /// Counted from 0.
        first: u64,
        /// Below the size.
        last: u64,
    },
    /// The range begins behind the end.
    Nothing,
}

/// Reads `Range`, unless `If-Range` names another content than `tag`.
pub(super) fn wanted(headers: &HeaderMap, tag: Option<&str>, size: u64) -> Range {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(range) = text(header::RANGE) else {
        return Range::Whole;
    };
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != tag {
        return Range::Whole;
    }
    parse(range, size).unwrap_or(Range::Whole)
}

/// None for what is no single range: the whole is a right answer then.
fn parse(range: &str, size: u64) -> Option<Range> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // More digits than fit are a number behind every end.
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Some(match length {
            0 => Range::Nothing,
            length => Range::Part {
                first: size - length,
                last: size - 1,
            },
        });
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    if first >= size {
        return Some(Range::Nothing);
    }
    Some(Range::Part {
        first,
        last: last.min(size - 1),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_has_them() {
        let part = |first, last| Range::Part { first, last };
        for (range, expected) in [
            ("bytes=0-0", part(0, 0)),
            ("bytes=2-4", part(2, 4)),
            ("bytes=2-", part(2, 9)),
            ("bytes=2-99", part(2, 9)),
            ("bytes=2-99999999999999999999999", part(2, 9)),
            ("bytes=-3", part(7, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=10-", Range::Nothing),
            ("bytes=99999999999999999999999-", Range::Nothing),
            ("bytes=-0", Range::Nothing),
            ("bytes=4-2", Range::Whole),
            ("bytes=0-1,4-5", Range::Whole),
            ("bytes=", Range::Whole),
            ("bytes=-", Range::Whole),
            ("bytes=+1-2", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(range))]);
            assert_eq!(wanted(&headers, None, 10), expected, "{range}");
        }
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static("bytes=-1"))]);
        assert_eq!(wanted(&headers, None, 0), Range::Nothing);
        assert_eq!(wanted(&HeaderMap::new(), None, 10), Range::Whole);
    }

    #[test]
    fn a_range_of_another_content_is_not_served() {
        let with = |if_range| {
            HeaderMap::from_iter([
                (header::RANGE, HeaderValue::from_static("bytes=1-1")),
                (header::IF_RANGE, HeaderValue::from_static(if_range)),
            ])
        };
        let part = Range::Part { first: 1, last: 1 };
        assert_eq!(wanted(&with("\"a\""), Some("\"a\""), 10), part);
        assert_eq!(wanted(&with("\"b\""), Some("\"a\""), 10), Range::Whole);
        assert_eq!(wanted(&with("\"b\""), None, 10), Range::Whole);
    }
}
