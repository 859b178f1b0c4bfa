//! Every place of a request that names a model.

use serde_json::Value;

/// A model and the field that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) field: &'static str,
    pub(crate) model: String,
}

/// Models in the frontmatter of `subagents` or `slashCommands`; `inherit` names none.
pub(crate) fn in_frontmatter(field: &'static str, value: &Value) -> Vec<Named> {
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
