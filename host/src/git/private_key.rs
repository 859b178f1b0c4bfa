//! What a private key must look like: checked where a request is taken, not an hour later.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const EXPECTED: &str = "must be one private key in PEM, as ssh-keygen writes it";
const ENCRYPTED: &str =
    "is protected by a passphrase, which nobody could type; send a deploy key without one";

/// One key, whole, without a passphrase.
///
/// # Errors
/// The end of a sentence that begins with the field's name.
pub fn check(text: &str) -> Result<(), &'static str> {
    let require = |holds: bool, sentence| if holds { Ok(()) } else { Err(sentence) };
    let printable = |byte: u8| byte.is_ascii_graphic() || b" \r\n".contains(&byte);
    require(text.bytes().all(printable), EXPECTED)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let label = |line: &str, edge: &str| {
        let label = line.strip_prefix(edge)?.strip_suffix("-----")?;
        label.ends_with("PRIVATE KEY").then(|| label.to_owned())
    };
    let first = lines.next().unwrap_or_default();
    let kind = label(first, "-----BEGIN ").ok_or(EXPECTED)?;
    let rest: Vec<&str> = lines.collect();
    let (last, body) = rest.split_last().ok_or(EXPECTED)?;
    require(label(last, "-----END ").as_ref() == Some(&kind), EXPECTED)?;
    require(!kind.starts_with("ENCRYPTED"), ENCRYPTED)?;
    let headers = |line: &&&str| line.contains(':');
    require(
        !body
            .iter()
            .filter(headers)
            .any(|line| line.contains("ENCRYPTED")),
        ENCRYPTED,
    )?;
    let encoded: String = body
        .iter()
        .filter(|line| !line.contains(':'))
        .copied()
        .collect();
    let bytes = STANDARD.decode(encoded).map_err(|_| EXPECTED)?;
    if kind == "OPENSSH PRIVATE KEY" {
        // "openssh-key-v1\0", then the cipher's name with its length before it.
        let cipher = bytes.strip_prefix(b"openssh-key-v1\0").ok_or(EXPECTED)?;
        require(cipher.starts_with(b"\0\0\0\x04none"), ENCRYPTED)?;
    }
    require(bytes.len() > 16, EXPECTED)
}

/// As `ssh-add` reads it: each line ended by a newline, the last one too.
pub(super) fn normal(text: &str) -> String {
    text.trim()
        .lines()
        .flat_map(|line| [line.trim(), "\n"])
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn openssh(cipher: &str) -> String {
        let mut bytes = b"openssh-key-v1\0".to_vec();
        bytes.extend([0, 0, 0, u8::try_from(cipher.len()).unwrap()]);
        bytes.extend(cipher.as_bytes());
        bytes.extend([7; 60]);
        let body = STANDARD.encode(bytes);
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n")
    }

    #[test]
    fn a_key_is_taken_however_its_lines_end() {
        let key = openssh("none");
        for sound in [
            key.clone(),
            key.replace('\n', "\r\n"),
            key.trim().to_owned(),
            format!("\n{key}\n"),
        ] {
            assert_eq!(check(&sound), Ok(()));
            assert_eq!(normal(&sound), key);
        }
    }

    #[test]
    fn what_is_no_key_or_cannot_be_used_is_refused() {
        assert_eq!(check(&openssh("aes256-ctr")), Err(ENCRYPTED));
        let pem = |kind: &str, head: &str| {
            format!(
                "-----BEGIN {kind}-----\n{head}{}\n-----END {kind}-----",
                STANDARD.encode([1; 64])
            )
        };
        assert_eq!(check(&pem("RSA PRIVATE KEY", "")), Ok(()));
        assert_eq!(
            check(&pem(
                "RSA PRIVATE KEY",
                "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"
            )),
            Err(ENCRYPTED)
        );
        assert_eq!(check(&pem("ENCRYPTED PRIVATE KEY", "")), Err(ENCRYPTED));
        let two = openssh("none").repeat(2);
        for wrong in [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n!!\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            &two,
        ] {
            assert_eq!(check(wrong), Err(EXPECTED), "{wrong}");
        }
    }
}
