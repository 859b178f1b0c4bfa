#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn redactor(secrets: &[&str]) -> Redactor {
    let secrets: Vec<SecretString> = secrets
        .iter()
        .map(|secret| SecretString::from(*secret))
        .collect();
    Redactor::new(&secrets)
}

fn line(redactor: &Redactor, line: &str) -> String {
    String::from_utf8(redactor.line(line.as_bytes()).into_owned()).unwrap()
}

#[test]
fn a_secret_is_replaced_wherever_it_stands() {
    let redactor = redactor(&["hunter22", "s3cr/t \"ü\""]);
    assert_eq!(
        redactor.text("x hunter22, hunter22"),
        "x [REDACTED], [REDACTED]"
    );
    assert_eq!(
        line(&redactor, r#"{"a":"hunter22"}"#),
        r#"{"a":"[REDACTED]"}"#
    );
    assert_eq!(
        line(&redactor, &json!({ "a": "s3cr/t \"ü\"" }).to_string()),
        r#"{"a":"[REDACTED]"}"#
    );
    assert_eq!(
        line(&redactor, r#"{"a":"s3cr\/t \"\u00FC\""}"#),
        r#"{"a":"[REDACTED]"}"#
    );
    assert_eq!(
        redactor.text("?q=s3cr%2Ft%20%22%C3%BC%22&"),
        "?q=[REDACTED]&"
    );
    assert_eq!(redactor.text("?q=s3cr%2ft+%22%c3%bc%22&"), "?q=[REDACTED]&");
    let nested = json!({ "output": json!({ "a": "s3cr/t \"ü\"" }).to_string() }).to_string();
    assert!(!line(&redactor, &nested).contains("s3cr"));
}

#[test]
fn what_holds_no_secret_is_not_copied() {
    let redactor = redactor(&["hunter22"]);
    assert!(matches!(
        redactor.line(b"{\"hunter2\":\"hunter\"}"),
        Cow::Borrowed(_)
    ));
    assert!(matches!(
        Redactor::default().line(b"hunter22"),
        Cow::Borrowed(b"hunter22")
    ));
}

#[test]
fn a_json_line_that_would_break_is_withheld() {
    let redactor = redactor(&["123456", r#"":"x","#]);
    assert_eq!(
        line(&redactor, r#"{"n":123456}"#),
        r#"{"type":"redacted_line"}"#
    );
    assert_eq!(
        line(&redactor, r#"{"a":"x","b":1}"#),
        r#"{"type":"redacted_line"}"#
    );
    assert_eq!(line(&redactor, "no json: 123456"), "no json: [REDACTED]");
}

#[test]
fn the_longest_of_overlapping_secrets_is_taken() {
    let redactor = redactor(&["abcdef", "abcdefghij"]);
    assert_eq!(
        redactor.text("abcdefghij abcdefgh"),
        "[REDACTED] [REDACTED]gh"
    );
}

#[test]
fn short_values_and_common_words_are_left_alone() {
    let redactor = redactor(&["abcde", "", "Production", "true"]);
    assert_eq!(
        redactor.text("abcde Production true"),
        "abcde Production true"
    );
    assert!(matches!(redactor.finder, Finder::Nothing));
}

#[test]
fn a_key_is_found_line_by_line() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\r\nAQEFAASCBKcwggSjAgEAAoIB\nshort\n-----END KEY-----\n";
    let redactor = redactor(&[key]);
    assert_eq!(
        redactor.text("> MIIEvQIBADANBgkqhkiG9w0B <"),
        "> [REDACTED] <"
    );
    assert_eq!(redactor.text("short"), "short");
    assert_eq!(
        line(&redactor, &json!({ "file": key }).to_string()),
        r#"{"file":"[REDACTED]"}"#
    );
    assert_eq!(
        line(&redactor, &json!({ "file": key.trim() }).to_string()),
        r#"{"file":"[REDACTED]"}"#
    );
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    let redactor = redactor(&["hunter22"]);
    assert_eq!(
        redactor.line(b"\xff hunter22 \xe2\x82").as_ref(),
        b"\xff [REDACTED] \xe2\x82"
    );
}

#[test]
fn debug_shows_nothing() {
    assert_eq!(format!("{:?}", redactor(&["hunter22"])), "Redactor");
}

/// Values as people use them, and awkward ones. Brackets and capitals are left out so that no value
/// can be part of `[REDACTED]`.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{6,40}",
        "[a-z0-9/+=_.~!*'();:@&$,?#<> \\\\\"\t-]{8,60}",
        "[a-zäöü€😀\u{1}\u{7f}]{6,30}",
        proptest::collection::vec("[a-z0-9+/=]{16,64}", 2..5).prop_map(|lines| lines.join("\n")),
    ]
    .prop_filter("known and long enough", |secret| {
        secret.trim().chars().count() >= 6
            && !matches!(
                Redactor::new([&secret.as_str().into()]).finder,
                Finder::Nothing
            )
    })
}

/// The content of the JSON string, as JavaScript writes it.
fn escaped(value: &str) -> String {
    let quoted = Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

fn python_json(value: &str) -> String {
    let mut out = String::new();
    for unit in escaped(value).encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte) if byte < 0x7f => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\u{unit:04x}")),
        }
    }
    out
}

fn percent_all(value: &str, upper: bool) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    value.bytes().map(encode).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_form_of_a_secret_survives(secret in secret(), before in "[A-Z]{0,9}", after in "[A-Z]{0,9}") {
        let redactor = Redactor::new([&SecretString::from(secret.as_str())]);
        let whole = format!("{before}{secret}{after}");
        for form in [
            secret.clone(),
            secret.trim().to_owned(),
            escaped(&secret),
            escaped(&secret).replace('/', "\\/"),
            python_json(&secret),
            python_json(&secret).replace("\\u007f", "\u{7f}"),
            percent_all(&secret, true),
            percent_all(&secret, false),
            percent_all(&secret, true).replace("%20", "+"),
        ] {
            let text = format!("{before}{form}{after}");
            prop_assert!(!redactor.text(&text).contains(&form), "{:?}", form);
            prop_assert!(redactor.text(&text).contains(REDACTED), "{:?}", form);
        }

        let event = json!({ "a": whole, "b": [format!("{before} {secret}")] }).to_string();
        let redacted = redactor.line(event.as_bytes());
        let parsed: Value = serde_json::from_slice(&redacted).expect("still JSON");
        prop_assert!(!parsed.to_string().contains(&escaped(&secret)));

        // In base64 no group of four that holds only the secret's bytes is left.
        for encoded in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            let redacted = redactor.text(&encoded);
            let first = before.len().div_ceil(3) * 4;
            let last = (before.len() + secret.len()) / 3 * 4;
            if last >= first + 8 {
                prop_assert!(!redacted.contains(&encoded[first..last]), "{} in {}", &encoded[first..last], redacted);
            }
            prop_assert!(redacted.contains(REDACTED));
        }
    }
}

#[test]
fn a_json_value_stays_json_and_other_bytes_stay_what_they_are() {
    let secret = SecretString::from("s3cret-value");
    let redactor = Redactor::new([&secret]);
    let clean = serde_json::json!({"a": ["s3cret-valu", 1, null]});
    assert_eq!(redactor.json(&clean), clean);
    let told = serde_json::json!({"s3cret-value": "x s3cret-value"});
    let expected = serde_json::json!({"[REDACTED]": "x [REDACTED]"});
    assert_eq!(redactor.json(&told), expected);
    assert_eq!(
        redactor.bytes(b"\xff s3cret-value \x00").as_ref(),
        b"\xff [REDACTED] \x00"
    );
    assert!(matches!(
        redactor.bytes(b"\xff"),
        std::borrow::Cow::Borrowed(_)
    ));
}

#[test]
fn a_secret_across_a_cut_leaves_nothing_of_itself_wherever_it_lies() {
    // Of a length that fills its base64.
    const CANARY: &str = "canary-\"0123456789\"-quotes!";
    let redactor = redactor(&[CANARY, "another secret"]);
    let most = 100;
    let forms = [
        CANARY.to_owned(),
        json!(CANARY).to_string().trim_matches('"').to_owned(),
        STANDARD.encode(CANARY),
    ];
    for form in &forms {
        for offset in 0..=most + form.len() {
            let mut text = ".".repeat(offset) + form;
            text.push_str(&"-".repeat(most + redactor.reach()));
            let head = redactor.head(&text.as_bytes()[..most + redactor.reach()], most);
            let expected = match offset {
                0..100 => {
                    let after = most.saturating_sub(offset + form.len());
                    ".".repeat(offset) + "[REDACTED]" + &"-".repeat(after)
                }
                _ => ".".repeat(most),
            };
            let head = String::from_utf8(head).unwrap();
            assert_eq!(head, expected, "{offset}");

            let backwards = "-".repeat(most + redactor.reach()) + form + &".".repeat(offset);
            let held = &backwards.as_bytes()[backwards.len() - most - redactor.reach()..];
            let tail = String::from_utf8(redactor.tail(held, most)).unwrap();
            assert!(tail.ends_with(&".".repeat(offset.min(most))), "{offset}");
            let shown = tail.trim_start_matches('-').trim_end_matches('.');
            let hidden = if offset < most { "[REDACTED]" } else { "" };
            assert_eq!(shown, hidden, "{offset}");
        }
    }
    assert_eq!(redactor.head(b"short", most), b"short");
    assert_eq!(redactor.tail(b"short", most), b"short");
    assert_eq!(Redactor::default().head(b"abc", 2), b"ab");
    assert_eq!(Redactor::default().tail(b"abc", 2), b"bc");
}

#[test]
fn words_are_redacted_before_they_are_cut() {
    let redactor = redactor(&["a-secret-of-some-length"]);
    let text = format!("{}a-secret-of-some-length and more", "é".repeat(10));
    for most in 0..60 {
        let words = redactor.words(&text, most);
        assert!(words.len() <= most && !words.contains("a-sec"), "{words}");
    }
    assert_eq!(Redactor::default().words("aéb", 2), "a");
}
