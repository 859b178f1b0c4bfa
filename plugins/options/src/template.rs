//! Text with `{taskId}` and `{date}` in it.

/// What can stand in braces.
const KNOWN: [&str; 2] = ["{taskId}", "{date}"];

/// Text whose placeholders are filled in when the task is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Braces that hold anything else stay as they are: it is people's text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// For names, in which other braces are surely a slip.
    ///
    /// # Errors
    /// There are others.
    pub fn strict(text: &str) -> Result<Self, String> {
        let rest = KNOWN
            .iter()
            .fold(text.to_owned(), |rest, known| rest.replace(known, ""));
        if rest.contains(['{', '}']) {
            return Err(format!(
                "knows {} and nothing else in braces",
                KNOWN.join(", ")
            ));
        }
        Ok(Self::new(text))
    }

    /// The text for this task; `created_at` is its time as the host tells it.
    #[must_use]
    pub fn fill(&self, task_id: &str, created_at: &str) -> String {
        let date = created_at.get(..10).unwrap_or(created_at);
        // In one pass: what is filled in is not looked through again.
        let mut filled = String::with_capacity(self.0.len());
        let mut rest = self.0.as_str();
        while let Some(at) = rest.find('{') {
            let (before, after) = rest.split_at(at);
            filled.push_str(before);
            let place = KNOWN.iter().find(|known| after.starts_with(**known));
            let (value, length) = match place {
                Some(&"{taskId}") => (task_id, 8),
                Some(_) => (date, 6),
                None => ("{", 1),
            };
            filled.push_str(value);
            rest = after.get(length..).unwrap_or_default();
        }
        filled.push_str(rest);
        filled
    }

    /// As an example for a check before there is a task.
    #[must_use]
    pub fn sample(&self) -> String {
        self.fill(
            "sync-00000000-0000-0000-0000-000000000000",
            "2026-01-01T00:00:00Z",
        )
    }

    /// Whether it says the same for every task.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        !KNOWN.iter().any(|known| self.0.contains(known))
    }
}

#[cfg(test)]
mod tests {
    use super::Template;

    #[test]
    fn what_is_known_is_filled_in_and_the_rest_stays() {
        let fill = |text| Template::new(text).fill("t-{date}", "2026-11-24T01:02:03Z");
        assert_eq!(fill("a {taskId} b"), "a t-{date} b");
        assert_eq!(fill("{date}/{date}"), "2026-11-24/2026-11-24");
        assert_eq!(fill("{ {x} {"), "{ {x} {");
        assert_eq!(fill(""), "");
    }

    #[test]
    fn a_name_takes_no_other_braces() {
        assert!(Template::strict("x/{taskId}-{date}").is_ok());
        for text in ["{taskid}", "{", "x}"] {
            assert!(Template::strict(text).is_err(), "{text}");
        }
        assert!(Template::new("main").is_plain() && !Template::new("{date}").is_plain());
    }
}
