//! The head of a request, read strictly before any other parser sees it.
//!
//! Parsers that forgive disagree about where a message ends and what it asks for; that is how a
//! request is smuggled. So nothing is forgiven here: lines end in CRLF, headers are not folded, the
//! length is given once or by `chunked` alone, the target is in origin form. What was read is
//! handed on unchanged for hyper to parse again.

use hyper::Method;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::refusal::Refusal;

/// The largest head, request line included.
const MAX_HEAD: u64 = 32 * 1024;

/// The most header lines; hyper's own limit is the same.
const MAX_HEADERS: usize = 100;

/// A well-formed head.
#[derive(Debug)]
pub(super) struct Head {
    /// As it came, up to and with the empty line.
    pub(super) bytes: Vec<u8>,
    pub(super) method: Method,
    /// Exactly as it was sent; begins with `/`.
    pub(super) target: String,
    pub(super) content_length: Option<u64>,
}

/// Reads one head. `None`: the client left before it had sent one.
pub(super) async fn read(mut reader: impl AsyncBufRead + Unpin) -> Result<Option<Head>, Refusal> {
    let mut bytes = Vec::new();
    let mut request = None;
    let mut framing = Framing::default();
    loop {
        let start = bytes.len();
        let room = MAX_HEAD.saturating_sub(u64::try_from(start).unwrap_or(u64::MAX));
        let mut limited = (&mut reader).take(room);
        match limited.read_until(b'\n', &mut bytes).await {
            Ok(_) if limited.limit() == 0 => return Err(Refusal::HeadTooLarge),
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) if !bytes.ends_with(b"\n") => return Ok(None),
            Ok(_) => {}
        }
        let line = bytes
            .get(start..)
            .and_then(|line| line.strip_suffix(b"\r\n"));
        let line = line.filter(|line| line.iter().all(|byte| is_text(*byte)));
        let line = line.ok_or(Refusal::Malformed)?;
        match (&request, line) {
            (None, line) => request = Some(request_line(line)?),
            (Some(_), []) => break,
            (Some(_), line) => framing.header(line)?,
        }
    }
    let (method, target) = request.ok_or(Refusal::Malformed)?;
    Ok(Some(Head {
        bytes,
        method,
        target,
        content_length: framing.finish()?,
    }))
}

/// Printable ASCII and tabs: no NUL, no bare CR, nothing above 127.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (b' '..=b'~').contains(&byte)
}

/// `METHOD /target HTTP/1.1`, with one space between.
fn request_line(line: &[u8]) -> Result<(Method, String), Refusal> {
    let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Refusal::Malformed);
    };
    if !target.starts_with('/') {
        return Err(Refusal::Malformed);
    }
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::Malformed)?;
    Ok((method, target.to_owned()))
}

/// What the headers say about where the message ends and how the connection goes on.
#[derive(Default)]
struct Framing {
    headers: usize,
    hosts: usize,
    content_length: Option<u64>,
    chunked: bool,
}

impl Framing {
    fn header(&mut self, line: &[u8]) -> Result<(), Refusal> {
        self.headers += 1;
        if self.headers > MAX_HEADERS {
            return Err(Refusal::HeadTooLarge);
        }
        let line = std::str::from_utf8(line).map_err(|_| Refusal::Malformed)?;
        let (name, value) = line.split_once(':').ok_or(Refusal::Malformed)?;
        // A name that is no token also catches a folded line and a space before the colon.
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Refusal::Malformed);
        }
        let value = value.trim_matches([' ', '\t']);
        match name.to_ascii_lowercase().as_str() {
            "host" => self.hosts += 1,
            "content-length" => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                if !digits || self.content_length.is_some() {
                    return Err(Refusal::Malformed);
                }
                self.content_length = Some(value.parse().map_err(|_| Refusal::Malformed)?);
            }
            "transfer-encoding" => {
                if self.chunked || !value.eq_ignore_ascii_case("chunked") {
                    return Err(Refusal::Malformed);
                }
                self.chunked = true;
            }
            // Both ask for a conversation that is not one request and one answer.
            "upgrade" | "http2-settings" | "expect" => return Err(Refusal::Malformed),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<u64>, Refusal> {
        let ambiguous = self.chunked && self.content_length.is_some();
        if ambiguous || self.hosts != 1 {
            return Err(Refusal::Malformed);
        }
        Ok(self.content_length)
    }
}

/// RFC 9110's `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
