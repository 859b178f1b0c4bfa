//! The members of an object that somebody wrote by hand.

use serde_json::{Map, Value};

/// The member that is the host's: it takes it out before a plugin sees the options, so nobody who is
/// told what there is should miss it.
const OF_THE_HOST: &str = "when";

/// Options in which every member is known.
#[derive(Clone, Debug)]
pub struct Members(Map<String, Value>);

impl Members {
    /// Reads options that may have these members.
    ///
    /// # Errors
    /// It is no object, or has another member.
    pub fn read(text: &str, known: &[&str]) -> Result<Self, String> {
        let value = serde_json::from_str(text).map_err(|_| "expected a JSON object".to_owned())?;
        let Value::Object(members) = value else {
            return Err(format!("expected an object with {}", known.join(", ")));
        };
        match members.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(unknown_member(unknown, known)),
            None => Ok(Self(members)),
        }
    }

    /// A member; null counts as left out.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// True or false; false where it is left out.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self, name: &str) -> Result<bool, String> {
        self.get(name).map_or(Ok(false), |value| {
            value
                .as_bool()
                .ok_or_else(|| format!("{name}: expected true or false"))
        })
    }

    /// Text of at most `most` bytes; empty text counts as left out.
    ///
    /// # Errors
    /// It is something else, too long, or holds a NUL.
    pub fn text(&self, name: &str, most: usize) -> Result<Option<&str>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let text = value
            .as_str()
            .filter(|text| text.len() <= most && !text.contains('\0'));
        match text {
            Some(text) => Ok(Some(text).filter(|text| !text.is_empty())),
            None => Err(format!("{name}: expected text of at most {most} bytes")),
        }
    }

    /// At most `most` texts of 1 to `most_bytes` bytes; an empty list counts as left out.
    ///
    /// # Errors
    /// It is something else.
    pub fn texts(
        &self,
        name: &str,
        most: usize,
        most_bytes: usize,
    ) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let list = value
            .as_array()
            .filter(|list| list.len() <= most)
            .ok_or_else(|| format!("{name}: expected a list of at most {most} texts"))?;
        let texts = list.iter().enumerate().map(|(place, text)| {
            let fits =
                |text: &&str| !text.is_empty() && text.len() <= most_bytes && !text.contains('\0');
            let text = text.as_str().filter(fits);
            text.map(str::to_owned)
                .ok_or_else(|| format!("{name}[{place}]: expected text of 1 to {most_bytes} bytes"))
        });
        let texts: Vec<String> = texts.collect::<Result<_, _>>()?;
        Ok(Some(texts).filter(|texts| !texts.is_empty()))
    }
}

fn unknown_member(unknown: &str, known: &[&str]) -> String {
    let known: Vec<&str> = known.iter().copied().chain([OF_THE_HOST]).collect();
    // A name that looks like none may be a value in the wrong place, so it is not repeated.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-. ".contains(c);
    let named = if unknown.len() <= 64 && unknown.chars().all(plain) {
        format!("unknown field `{unknown}`")
    } else {
        "a field of unknown name".to_owned()
    };
    match nearest(unknown, &known) {
        Some(meant) => format!("{named}; did you mean `{meant}`?"),
        None => format!("{named}; expected {}", known.join(", ")),
    }
}

/// The known name that differs only in case and separators, or in at most two letters.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = folded(name);
    known
        .iter()
        .map(|known| (distance(&name, &folded(known)), *known))
        .filter(|(distance, known)| *distance <= 2.min(known.len() / 2))
        .min()
        .map(|(_, known)| known)
}

fn folded(name: &str) -> Vec<char> {
    let letters = name.chars().take(64).filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Insertions, deletions and replacements, by one row of the usual table.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (n, a) in one.iter().enumerate() {
        let mut diagonal = n;
        let mut left = n + 1;
        let mut next = vec![left];
        for (b, above) in other.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != b))
                .min(left + 1)
                .min(above + 1);
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Members, distance};

    const KNOWN: [&str; 3] = ["commit", "commitMessage", "push"];

    fn error(text: &str) -> String {
        Members::read(text, &KNOWN).err().unwrap_or_default()
    }

    #[test]
    fn an_unknown_member_is_told_with_the_one_that_was_meant() {
        for (text, hint) in [
            (
                r#"{"commit_message": "x"}"#,
                "did you mean `commitMessage`?",
            ),
            (r#"{"comit": true}"#, "did you mean `commit`?"),
            (r#"{"Push": true}"#, "did you mean `push`?"),
            (r#"{"whem": "always"}"#, "did you mean `when`?"),
            (
                r#"{"force": true}"#,
                "expected commit, commitMessage, push, when",
            ),
            ("[]", "expected an object"),
            ("", "expected a JSON object"),
        ] {
            assert!(error(text).contains(hint), "{text}: {}", error(text));
        }
        let secret = "s3cret/with+signs".to_owned();
        assert!(!error(&format!("{{\"{secret}\": 1}}")).contains(&secret));
    }

    #[test]
    fn members_are_of_their_kind_and_null_says_nothing() {
        let read = |text: &str| Members::read(text, &["a"]);
        let of = |text: &str| read(text).unwrap_or_else(|_| unreachable!());
        assert_eq!(of(r#"{"a": null}"#).truth("a"), Ok(false));
        assert_eq!(of("{}").text("a", 1), Ok(None));
        assert_eq!(of(r#"{"a": ""}"#).text("a", 1), Ok(None));
        assert!(of(r#"{"a": "xx"}"#).text("a", 1).is_err());
        assert!(of(r#"{"a": "\u0000"}"#).text("a", 9).is_err());
        assert!(of(r#"{"a": 1}"#).truth("a").is_err());
        assert_eq!(of(r#"{"a": []}"#).texts("a", 1, 1), Ok(None));
        assert!(of(r#"{"a": ["x", "y"]}"#).texts("a", 1, 1).is_err());
        let wrong = of(r#"{"a": ["x", 7]}"#).texts("a", 2, 1);
        assert_eq!(wrong, Err("a[1]: expected text of 1 to 1 bytes".to_owned()));
    }

    #[test]
    fn the_distance_counts_letters() {
        let distance = |a: &str, b: &str| {
            distance(
                &a.chars().collect::<Vec<_>>(),
                &b.chars().collect::<Vec<_>>(),
            )
        };
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("same", "same"), 0);
    }
}
