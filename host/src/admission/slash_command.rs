//! A prompt that calls one of the request's own commands becomes the command's text.
//!
//! Filled in here and not by the CLI, because the CLI would run each `` !`command` `` of the text and
//! read each `@file` past the gate. What stands in place of what was tried with CLI 2.1.330:
//! `$ARGUMENTS`, `$ARGUMENTS[0]`, `$0`, `$1`, … count from zero, `\$` stands for itself, what has no
//! argument stays as it is, and arguments that the text has no place for are appended.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::find;
use super::{Draft, Refusal, Request};
use crate::config::Task;

/// The call of a command, ready for the agent.
#[derive(Debug, PartialEq)]
struct Called {
    /// The command's name, without the slash.
    name: String,
    /// What the agent is asked.
    prompt: String,
    /// The command's own model.
    model: Option<String>,
    /// What the CLI need not ask a person about, beside the request's own list.
    allowed_tools: Vec<String>,
    /// The text has `` !`command` `` in it.
    holds_shell: bool,
}

/// Puts the command that the prompt calls, if it calls one, in the prompt's place, before any validator
/// sees the request: each judges what the agent will really be asked, and by which model. Done once, so
/// that text which a command brings is not taken for a further call.
pub(super) fn settle(draft: Draft, task: &Task) -> Result<Draft, Refusal> {
    let called = called(&draft.request.prompt, &draft.request.slash_commands);
    let Some(called) = called else {
        return Ok(draft);
    };
    let Draft {
        mut value,
        mode,
        mut warnings,
        mut approved_tools,
        ..
    } = draft;
    if called.holds_shell {
        let name = &called.name;
        warnings.push(format!(
            "the !`…` of the command {name} is not run: it reaches the agent as text"
        ));
    }
    value.insert("prompt".to_owned(), called.prompt.into());
    if let Some(model) = called.model {
        value.insert("model".to_owned(), model.into());
    }
    match value.get_mut("allowedTools").and_then(Value::as_array_mut) {
        // The list restricts, so it has to name what the command is to have.
        Some(list) if !list.is_empty() => {
            let missing = called.allowed_tools.into_iter().map(Value::from);
            let missing: Vec<_> = missing.filter(|tool| !list.contains(tool)).collect();
            list.extend(missing);
        }
        _ => approved_tools = called.allowed_tools,
    }
    for name in ["prompt", "allowedTools"] {
        if let (Some(field), Some(value)) = (find(name), value.get(name)) {
            field.check(value, task)?;
        }
    }
    let request = Request::from_admitted(&value)?;
    Ok(Draft {
        value,
        request,
        mode,
        warnings,
        approved_tools,
    })
}

/// The command of `commands` that `prompt` calls. Like the CLI, exactly: a slash first, the name in its
/// own letter case, white space after it. Anything else is a prompt like any other.
fn called(prompt: &str, commands: &BTreeMap<String, Value>) -> Option<Called> {
    let call = prompt.strip_prefix('/')?;
    let (name, arguments) = call.split_once(char::is_whitespace).unwrap_or((call, ""));
    let command = commands.get(name)?;
    let body = command.get("content").and_then(Value::as_str)?;
    let matter = |key: &str| {
        command
            .get("frontmatter")
            .and_then(|matter| matter.get(key))
    };
    let model = matter("model").and_then(Value::as_str);
    Some(Called {
        name: name.to_owned(),
        prompt: fill(body, arguments.trim()),
        model: model.filter(|model| *model != "inherit").map(str::to_owned),
        allowed_tools: matter("allowed-tools").map(tools).unwrap_or_default(),
        holds_shell: body.contains("!`"),
    })
}

/// `Read, Bash(git log:*)` or a list; commas and spaces inside brackets belong to the rule.
fn tools(value: &Value) -> Vec<String> {
    let Value::String(text) = value else {
        let items = value.as_array().into_iter().flatten();
        return items.filter_map(Value::as_str).map(str::to_owned).collect();
    };
    let mut depth = 0_u32;
    let rules = text.split(|character| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (character == ',' || character.is_whitespace())
    });
    let rules = rules.map(str::trim).filter(|rule| !rule.is_empty());
    rules.map(str::to_owned).collect()
}

fn fill(body: &str, arguments: &str) -> String {
    let words = words(arguments);
    let mut filled = String::with_capacity(body.len() + arguments.len());
    let mut has_place = false;
    let mut rest = body;
    while let Some(at) = rest.find('$') {
        let (before, place) = rest.split_at(at);
        let after = place.get(1..).unwrap_or_default();
        let (text, length) = if let Some(before) = before.strip_suffix('\\') {
            filled.push_str(before);
            ("$", 1)
        } else {
            filled.push_str(before);
            match place_at(after, arguments, &words) {
                Some((text, length)) => {
                    has_place = true;
                    (text, 1 + length)
                }
                None => ("$", 1),
            }
        };
        filled.push_str(text);
        rest = place.get(length..).unwrap_or_default();
    }
    filled.push_str(rest);
    if !has_place && !arguments.is_empty() {
        filled.push_str("\n\nARGUMENTS: ");
        filled.push_str(arguments);
    }
    filled
}

/// What stands for the place that begins with `after` a dollar, and how long the place is there.
fn place_at<'a>(after: &str, arguments: &'a str, words: &'a [String]) -> Option<(&'a str, usize)> {
    let word = |digits: &str| {
        let place: usize = digits.parse().ok()?;
        words.get(place).map(String::as_str)
    };
    let digits_of = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    if let Some(rest) = after.strip_prefix("ARGUMENTS") {
        let indexed = rest.strip_prefix('[').and_then(|inner| {
            let length = digits_of(inner);
            let closed = inner.get(length..)?.starts_with(']') && length > 0;
            closed.then(|| inner.get(..length)).flatten()
        });
        return match indexed {
            Some(digits) => word(digits).map(|word| (word, "ARGUMENTS[]".len() + digits.len())),
            None => Some((arguments, "ARGUMENTS".len())),
        };
    }
    let length = digits_of(after);
    let ends = !after
        .get(length..)?
        .starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
    let digits = after
        .get(..length)
        .filter(|digits| ends && !digits.is_empty())?;
    word(digits).map(|word| (word, length))
}

/// The words of a line as a shell tells them apart, without expanding anything. They end where the
/// shell's first simple command would: at a line's end, an operator or a comment. Quotes that are left
/// open make one word of it all.
fn words(arguments: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = arguments.chars();
    while let Some(character) = characters.next() {
        match character {
            '\n' | '&' | '|' | ';' | '<' | '>' | '(' | ')' => break,
            '#' if word.is_none() => break,
            space if space.is_whitespace() => words.extend(word.take()),
            quote @ ('"' | '\'') => {
                let inner = word.get_or_insert_default();
                loop {
                    match characters.next() {
                        Some(end) if end == quote => break,
                        Some('\\') if quote == '"' => match characters.next() {
                            Some(escaped @ ('"' | '\\' | '$' | '`')) => inner.push(escaped),
                            Some(other) => inner.extend(['\\', other]),
                            None => return vec![arguments.to_owned()],
                        },
                        Some(other) => inner.push(other),
                        None => return vec![arguments.to_owned()],
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    fn filled(content: &str, prompt: &str) -> Option<String> {
        let commands = BTreeMap::from([("fix".to_owned(), json!({"content": content}))]);
        called(prompt, &commands).map(|called| called.prompt)
    }

    /// Each was tried with the CLI; `tests/it/commands.rs` tries some again.
    #[test]
    fn places_are_filled_as_the_cli_fills_them() {
        for (content, prompt, expected) in [
            ("A $ARGUMENTS B", "/fix", "A  B"),
            ("A $ARGUMENTS B", "/fix  x  y ", "A x  y B"),
            ("A $0|$1|$2|$9 B", "/fix a b", "A a|b|$2|$9 B"),
            ("no places", "/fix a b", "no places\n\nARGUMENTS: a b"),
            ("no places", "/fix", "no places"),
            (
                "$ARGUMENTS[0] $ARGUMENTS[5]|",
                "/fix a b",
                "a $ARGUMENTS[5]|",
            ),
            ("q $0|$1", "/fix \"a b\" c'd e'", "q a b|cd e"),
            (
                "$10 $1a $$1 \\$1 ${1} $ARGUMENTSX",
                "/fix a b c",
                "$10 $1a $b $1 ${1} a b cX",
            ),
            ("multi $ARGUMENTS", "/fix one\ntwo", "multi one\ntwo"),
            ("multi $0|$1", "/fix one\ntwo", "multi one|$1"),
            ("rec $ARGUMENTS", "/fix $1 $ARGUMENTS", "rec $1 $ARGUMENTS"),
            ("\n lead $0 trail \n", "/fix a", "\n lead a trail \n"),
            ("un $0 $1", "/fix \"open b", "un \"open b $1"),
            ("e $0|", "/fix \"\"", "e |"),
            ("esc $0", "/fix a\\ b", "esc a b"),
            ("op $0 $1", "/fix a && b", "op a $1"),
            ("cm $0|$1", "/fix a #b", "cm a|$1"),
            ("x $ARGUMENTS", "/fix\ta\tb", "x a\tb"),
            ("x $ARGUMENTS", "/fix\na", "x a"),
            (
                "kept: @/etc/passwd !`id`",
                "/fix",
                "kept: @/etc/passwd !`id`",
            ),
        ] {
            assert_eq!(
                filled(content, prompt).as_deref(),
                Some(expected),
                "{content} {prompt}"
            );
        }
    }

    #[test]
    fn only_a_slash_and_the_very_name_call_a_command() {
        for prompt in [
            " /fix a", "/fixx a", "/FIX a", "/fix: a", "fix a", "/", "// fix", "",
        ] {
            assert_eq!(filled("x", prompt), None, "{prompt}");
        }
    }

    #[test]
    fn front_matter_is_read_as_text_or_as_a_list() {
        let a = json!({"model": "haiku", "allowed-tools": "Read, Bash(git add:*, -A) Edit"});
        let b = json!({"model": "inherit", "allowed-tools": ["Read"]});
        let commands = BTreeMap::from([
            (
                "a".to_owned(),
                json!({"content": "x !`id`", "frontmatter": a}),
            ),
            ("b".to_owned(), json!({"content": "x", "frontmatter": b})),
        ]);
        let a = called("/a", &commands).unwrap();
        assert_eq!(a.model.as_deref(), Some("haiku"));
        assert_eq!(a.allowed_tools, ["Read", "Bash(git add:*, -A)", "Edit"]);
        assert!(a.holds_shell);
        let b = called("/b", &commands).unwrap();
        assert_eq!((b.model, b.holds_shell), (None, false));
        assert_eq!(b.allowed_tools, ["Read"]);
    }
}
