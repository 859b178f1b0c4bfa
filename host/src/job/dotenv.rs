//! One variable as a line of a `.env` file that says the same to a shell and to the usual readers of
//! such files, and in which no value can become a further variable.
//!
//! The readers disagree about escapes, so the quotes are chosen by the value: whatever can be written
//! without any escape is.

/// `NAME=value` and a line's end. None for the rare value that some reader would take for more than one
/// variable: it has several lines, both kinds of quotes, and ends with a backslash.
pub(super) fn line(name: &str, value: &str) -> Option<String> {
    let has = |characters: &str| value.contains(|character| characters.contains(character));
    let written = if value.chars().all(is_plain) {
        value.to_owned()
    } else if !has("'\\") {
        format!("'{value}'")
    } else if !has("\"\\$`") {
        format!("\"{value}\"")
    } else if !has("\n\r") {
        // On one line, so that it stays one variable whatever a reader makes of the backslashes.
        escaped(value, |character| {
            !is_plain(character) && !character.is_alphanumeric()
        })
    } else if !value.ends_with('\\') {
        let inner = escaped(value, |character| "\"\\$`".contains(character));
        format!("\"{inner}\"")
    } else {
        return None;
    };
    Some(format!("{name}={written}\n"))
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || "_-./:@%+,".contains(character)
}

fn escaped(value: &str, escape: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(value.len() + 8);
    for character in value.chars() {
        if escape(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write as _;
    use std::process::Command;

    use super::*;

    /// Values by which one variable has been made two somewhere.
    const AWKWARD: [&str; 20] = [
        "",
        "plain-1.2/3:4@5",
        "two words",
        "it's",
        "say \"so\"",
        "it's \"both\"",
        "$HOME `id` $(id)",
        "it's $HOME",
        "line\nEVIL=1",
        "'\nEVIL=1\n'",
        "\"\nEVIL=1\n\"",
        "it's \"both\"\nEVIL=1",
        "it's \"both\" \\\"\nEVIL=1\n#\"",
        "back\\slash",
        "\\",
        "\\'",
        "# no comment",
        "a #b",
        "tab\there",
        "ünïcode ✓ it's $x",
    ];

    #[test]
    fn a_shell_that_reads_the_file_has_the_very_values_and_nothing_else() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (number, value) in AWKWARD.iter().enumerate() {
            let line = line(&format!("V{number}"), value).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
        let script = "set -a; . \"$0\"; env -0";
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .arg(file.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        let read: Vec<&str> = read.split('\0').collect();
        for (number, value) in AWKWARD.iter().enumerate() {
            let expected = format!("V{number}={value}");
            assert!(
                read.contains(&expected.as_str()),
                "{expected:?} in {read:?}"
            );
        }
        assert!(!read.iter().any(|variable| variable.starts_with("EVIL")));
    }

    #[test]
    fn what_no_quotes_make_safe_is_left_out() {
        assert_eq!(line("A", "it's \"both\"\n\\"), None);
    }
}
