//! What two sets, or one set at two times, made of the same questions.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Decision;
use super::change::ChangeError;
use super::live::Plugins;
use super::load::Pins;

/// What was asked: about a request as a whole, or about a tool call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Question {
    /// `validation` or `tool`.
    pub stage: String,
    /// Of a tool call, its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
}

/// What a whole set answered: the word of the plugin, or the group, that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// As in [`Decision::verdict`].
    pub verdict: String,
    /// Who decided; none where nobody had an opinion, or a group did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The group that did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The rule that it cited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The tool of a tool call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// The answers of one revision.
pub type Answers = BTreeMap<Question, Said>;

/// What counts more in a set's answer: a refusal before everything.
fn weight(verdict: &str) -> u8 {
    match verdict {
        "reject" | "deny" => 4,
        "ask" => 3,
        "amend" | "rewrite" => 2,
        "allow" => 1,
        _ => 0,
    }
}

impl Said {
    fn of(decision: &Decision) -> Self {
        let counts = decision.enforced && weight(&decision.verdict) > 0;
        let nothing = if decision.stage == "tool" {
            "abstain"
        } else {
            "accept"
        };
        let of_whom = |text: &Option<String>| text.clone().filter(|_| counts);
        Self {
            verdict: if counts { &decision.verdict } else { nothing }.to_owned(),
            plugin: Some(decision.plugin.clone()).filter(|name| counts && !name.is_empty()),
            group: of_whom(&decision.group),
            rule: of_whom(&decision.rule),
            reason: of_whom(&decision.reason),
            tool: decision.tool.clone(),
        }
    }

    /// The same question where nobody had anything to say.
    #[must_use]
    pub fn without_opinion(self) -> Self {
        Self {
            verdict: "abstain".to_owned(),
            plugin: None,
            group: None,
            rule: None,
            reason: None,
            tool: self.tool,
        }
    }

    /// Whether the agent, or the caller, would have noticed the difference.
    pub fn is_as(&self, other: &Self) -> bool {
        let effect = |said: &Self| match &*said.verdict {
            // Both leave a call to the agent's own rules, or a request as it is.
            "abstain" | "accept" => String::new(),
            verdict => verdict.to_owned(),
        };
        effect(self) == effect(other)
    }
}

/// The answers to requests and tool calls that stand in these decisions, by revision.
pub fn answers<'a>(decisions: impl IntoIterator<Item = &'a Decision>) -> BTreeMap<String, Answers> {
    let mut by_revision: BTreeMap<String, Answers> = BTreeMap::new();
    for decision in decisions {
        if decision.stage != "tool" && decision.stage != "validation" {
            continue;
        }
        let question = Question {
            stage: decision.stage.clone(),
            call: decision.call.clone(),
        };
        let said = Said::of(decision);
        let answers = by_revision.entry(decision.revision.clone()).or_default();
        match answers.get_mut(&question) {
            Some(before) if weight(&before.verdict) >= weight(&said.verdict) => {}
            Some(before) => *before = said,
            None => {
                answers.insert(question, said);
            }
        }
    }
    by_revision
}

/// What differs between two sets: a line for each plugin that was added, removed or changed, and one where
/// only the order did.
pub(super) fn sets(from: &Pins, to: &Pins) -> Vec<Value> {
    let mut lines = entries(&from.plugins, &to.plugins, |pin| &pin.name);
    let order = |pins: &Pins| -> Vec<String> {
        let names = pins.plugins.iter().map(|pin| pin.name.clone());
        names.collect()
    };
    if lines.is_empty() && order(from) != order(to) {
        lines.push(json!({"change": "order", "from": order(from), "to": order(to)}));
    }
    lines
}

/// A line for each entry that was added, removed or changed.
fn entries<T: PartialEq + Serialize>(from: &[T], to: &[T], name: fn(&T) -> &String) -> Vec<Value> {
    let is_of = |other: &T, entry: &T| name(other) == name(entry);
    let mut lines = Vec::new();
    for entry in from {
        match to.iter().find(|other| is_of(other, entry)) {
            None => lines.push(json!({"name": name(entry), "change": "removed"})),
            Some(other) if other != entry => {
                let fields = fields(entry, other);
                lines.push(json!({"name": name(entry), "change": "changed", "fields": fields}));
            }
            Some(_) => {}
        }
    }
    for entry in to {
        if !from.iter().any(|other| is_of(other, entry)) {
            let fields = fields_of(entry);
            lines.push(json!({"name": name(entry), "change": "added", "fields": fields}));
        }
    }
    lines
}

fn fields_of(pin: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(pin) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// The fields in which two entries differ, each with both values.
fn fields(from: &impl Serialize, to: &impl Serialize) -> Map<String, Value> {
    let (from, to) = (fields_of(from), fields_of(to));
    let mut names: Vec<&String> = from.keys().chain(to.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let differs = |name: &&String| from.get(*name) != to.get(*name);
    let line = |name: &String| {
        let values = json!({"from": from.get(name), "to": to.get(name)});
        (name.clone(), values)
    };
    names.into_iter().filter(differs).map(line).collect()
}

impl Plugins {
    /// A set as it is kept in the bucket.
    pub async fn set_text(&self, revision: &str) -> Result<String, ChangeError> {
        let pins = self.pins(revision).await?;
        let (text, _) = pins
            .canonical()
            .map_err(|error| ChangeError::Refused(error.to_string()))?;
        Ok(text)
    }

    /// What differs between two sets of the bucket, a line for each plugin and a line for each group, see
    /// `docs/reference/http.md`.
    pub async fn set_difference(
        &self,
        from: &str,
        to: &str,
    ) -> Result<(Vec<Value>, Vec<Value>), ChangeError> {
        let (from, to) = (self.pins(from).await?, self.pins(to).await?);
        let groups = entries(&from.groups, &to.groups, |group| &group.name);
        Ok((sets(&from, &to), groups))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn decision(revision: &str, plugin: &str, verdict: &str, enforced: bool) -> Decision {
        serde_json::from_value(json!({
            "at": "2026-01-01T00:00:00Z", "stage": "tool", "plugin": plugin, "digest": "d",
            "revision": revision, "mode": "enforce", "verdict": verdict, "enforced": enforced,
            "call": "c1", "tool": "Bash", "reason": plugin, "micros": 1,
        }))
        .unwrap()
    }

    #[test]
    fn the_word_that_counts_most_is_the_sets() {
        let told = [
            decision("r1", "a", "allow", true),
            decision("r1", "b", "deny", false),
            decision("r1", "c", "rewrite", true),
            decision("r2", "a", "abstain", true),
            decision("r2", "b", "deny", true),
        ];
        let answers = answers(&told);
        let said = |revision: &str| answers[revision].values().next().unwrap().clone();
        assert_eq!(said("r1").verdict, "rewrite");
        assert_eq!(said("r1").plugin.as_deref(), Some("c"));
        assert_eq!(said("r2").verdict, "deny");
        assert!(!said("r1").is_as(&said("r2")));
    }

    #[test]
    fn to_abstain_and_to_monitor_have_the_same_effect() {
        let told = [
            decision("r1", "a", "abstain", true),
            decision("r2", "a", "deny", false),
        ];
        let answers = answers(&told);
        let said = |revision: &str| answers[revision].values().next().unwrap().clone();
        assert!(said("r1").is_as(&said("r2")));
        assert_eq!(said("r2").plugin, None);
    }

    #[test]
    fn sets_differ_by_plugins_and_fields() {
        let pins = |text: Value| serde_json::from_value::<Pins>(json!({"plugins": text})).unwrap();
        let pin = |name: &str, digest: &str, mode: &str| {
            json!({"name": name, "world": "validator", "digest": digest, "settings": {}, "grants": [],
                   "mode": mode, "onError": "deny", "limits": {"memory": 1, "timeMs": 1, "output": 1}})
        };
        let from = pins(json!([
            pin("a", "1", "enforce"),
            pin("b", "1", "enforce"),
            pin("c", "1", "off")
        ]));
        let to = pins(json!([
            pin("a", "1", "enforce"),
            pin("b", "2", "monitor"),
            pin("d", "1", "off")
        ]));
        let lines = sets(&from, &to);
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["name"], "b");
        assert_eq!(
            lines[0]["fields"]["digest"],
            json!({"from": "1", "to": "2"})
        );
        assert_eq!(lines[0]["fields"].as_object().unwrap().len(), 2);
        assert_eq!(lines[1]["change"], "removed");
        assert_eq!(
            (&lines[2]["name"], &lines[2]["change"]),
            (&json!("d"), &json!("added"))
        );
        assert!(sets(&from, &from).is_empty());
        let turned = pins(json!([
            pin("b", "1", "enforce"),
            pin("a", "1", "enforce"),
            pin("c", "1", "off")
        ]));
        assert_eq!(sets(&from, &turned)[0]["change"], "order");
    }
}
