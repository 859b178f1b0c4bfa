//! What several validators look at in a request: every place that names a model.

use serde_json::Value;

/// A model and the field that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// By its API name.
    pub field: &'static str,
    /// What it names.
    pub model: String,
}

/// Every model that a request names, that of its main agent first.
pub fn models(
    model: Option<&str>,
    fallback: Option<&str>,
    subagents: &Value,
    slash_commands: &Value,
) -> Vec<Named> {
    let named = |field, model: Option<&str>| {
        model.map(|model| Named {
            field,
            model: model.to_owned(),
        })
    };
    let mut models: Vec<Named> = [named("model", model), named("fallbackModel", fallback)]
        .into_iter()
        .flatten()
        .collect();
    models.extend(in_frontmatter("subagents", subagents));
    models.extend(in_frontmatter("slashCommands", slash_commands));
    models
}

/// Models in the frontmatter of `subagents` or `slashCommands`; `inherit` names none.
fn in_frontmatter(field: &'static str, value: &Value) -> Vec<Named> {
    let entries = value
        .as_object()
        .into_iter()
        .flat_map(|entries| entries.values());
    let models = entries.filter_map(|entry| entry.get("frontmatter")?.get("model"));
    models
        .map(|model| {
            model
                .as_str()
                .map_or_else(|| model.to_string(), str::to_owned)
        })
        .filter(|model| model != "inherit")
        .map(|model| Named { field, model })
        .collect()
}
