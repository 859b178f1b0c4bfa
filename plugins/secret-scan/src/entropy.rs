//! Assignments of a text that looks random to a name that speaks of a secret.

/// Parts of names.
const NAMES: [&str; 8] = [
    "secret",
    "password",
    "passwd",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
];
const LEAST: usize = 20;
const MOST: usize = 200;
/// Bits per character; words stay below, random letters and digits lie above.
const BITS: f64 = 3.7;

/// Where in a line such a text stands, and how long it is.
pub(crate) fn assigned(line: &[u8]) -> Option<(usize, usize)> {
    let lower: Vec<u8> = line.iter().map(u8::to_ascii_lowercase).collect();
    let name = NAMES.iter().find_map(|name| {
        let at = lower
            .windows(name.len())
            .position(|window| window == name.as_bytes())?;
        Some(at + name.len())
    })?;
    let sign = name
        + line
            .get(name..)?
            .iter()
            .take(40)
            .position(|byte| matches!(byte, b'=' | b':'))?;
    let value = sign
        + line
            .get(sign..)?
            .iter()
            .position(|byte| !matches!(byte, b'=' | b':' | b' ' | b'\t' | b'"' | b'\''))?;
    let behind = line.get(value..)?;
    let length = behind
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+/_-=".contains(byte))
        .count();
    let text = behind.get(..length)?;
    let mixed = text.iter().any(u8::is_ascii_digit) && text.iter().any(u8::is_ascii_alphabetic);
    (mixed && (LEAST..=MOST).contains(&length) && entropy(text) >= BITS).then_some((value, length))
}

/// Shannon's, over the bytes of this text.
fn entropy(text: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let all = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / all;
            -share * share.log2()
        })
        .sum()
}
