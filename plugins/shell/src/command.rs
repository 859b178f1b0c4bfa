//! Names and options of commands.

use crate::text::Text;

/// The last part of a command's path: `/usr/bin/curl` is `curl`.
pub fn base_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// Arguments told apart as most commands do.
#[derive(Clone, Debug, Default)]
pub struct Operands {
    /// Options with their dashes, `-o` and `--output`, and the value of each that takes one.
    pub options: Vec<(String, Option<Text>)>,
    /// Everything else, in its order.
    pub operands: Vec<Text>,
}

impl Operands {
    /// Tells arguments apart, options also behind operands. `valued` names the options that take a
    /// value: `-o`, `--output`.
    pub fn read(arguments: &[Text], valued: &[&str]) -> Self {
        let (mut read, rest) = Self::scan(arguments, valued, false);
        read.operands.extend_from_slice(rest);
        read
    }

    /// Only the options before the first operand; what starts there is left.
    pub fn leading<'a>(arguments: &'a [Text], valued: &[&str]) -> (Self, &'a [Text]) {
        Self::scan(arguments, valued, true)
    }

    fn scan<'a>(arguments: &'a [Text], valued: &[&str], leading: bool) -> (Self, &'a [Text]) {
        let mut read = Self::default();
        let mut rest = arguments;
        while let Some((argument, after)) = rest.split_first() {
            let start = argument.start();
            if argument.known() == Some("--") {
                return (read, after);
            }
            if start.starts_with("--") {
                rest = after;
                if let Some((name, value)) = argument.split_once('=') {
                    read.options.push((name.to_string(), Some(value)));
                } else if valued.contains(&start) {
                    read.options.push((start.to_owned(), rest.first().cloned()));
                    rest = rest.get(1..).unwrap_or_default();
                } else {
                    read.options.push((argument.to_string(), None));
                }
            } else if start.len() > 1 && start.starts_with('-') {
                rest = read.cluster(argument, after, valued);
            } else if leading {
                return (read, rest);
            } else {
                read.operands.push(argument.clone());
                rest = after;
            }
        }
        (read, rest)
    }

    /// `-xzf name`; also `-exec name` and the like, where the whole is said to take a value.
    fn cluster<'a>(&mut self, argument: &Text, after: &'a [Text], valued: &[&str]) -> &'a [Text] {
        let start = argument.start();
        if start.len() > 2 && valued.contains(&start) && argument.known().is_some() {
            self.options
                .push((start.to_owned(), after.first().cloned()));
            return after.get(1..).unwrap_or_default();
        }
        for (at, letter) in start.char_indices().skip(1) {
            let option = format!("-{letter}");
            if !valued.contains(&option.as_str()) {
                self.options.push((option, None));
                continue;
            }
            let end = at + letter.len_utf8();
            let attached = start
                .get(..end)
                .and_then(|taken| argument.strip_prefix(taken))
                .filter(|value| !value.pieces().is_empty());
            let own = attached.is_some();
            self.options
                .push((option, attached.or_else(|| after.first().cloned())));
            return if own {
                after
            } else {
                after.get(1..).unwrap_or_default()
            };
        }
        after
    }

    /// Whether one of these options is there.
    pub fn has(&self, names: &[&str]) -> bool {
        self.options
            .iter()
            .any(|(name, _)| names.contains(&name.as_str()))
    }

    /// The values of these options.
    pub fn values<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a Text> {
        self.options
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()))
            .filter_map(|(_, value)| value.as_ref())
    }
}
