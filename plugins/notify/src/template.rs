//! Texts with places for values.

const PLACES: &str = "taskId, caller, status, reason, turns, cost, result, result-of:ACTION.MEMBER";

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    TaskId,
    Caller,
    Status,
    Reason,
    Turns,
    Cost,
    Result,
    /// What an earlier action returned: its name, and a JSON pointer into it.
    ResultOf(String, String),
}

impl Template {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = behind.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = behind.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inner = behind
                    .strip_prefix('{')
                    .and_then(|inner| inner.split_once('}'));
                let (name, after) = inner.ok_or("a brace stands alone; write {{ or }} for one")?;
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Place(place(name)?));
                rest = after;
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self(parts))
    }
}

fn place(name: &str) -> Result<Place, String> {
    Ok(match name {
        "taskId" => Place::TaskId,
        "caller" => Place::Caller,
        "status" => Place::Status,
        "reason" => Place::Reason,
        "turns" => Place::Turns,
        "cost" => Place::Cost,
        "result" => Place::Result,
        _ => {
            let unknown = || format!("{{{name}}} is not known; expected one of {PLACES}");
            let path = name.strip_prefix("result-of:").ok_or_else(unknown)?;
            let (action, member) = path.split_once('.').unwrap_or((path, ""));
            if action.is_empty() {
                return Err(unknown());
            }
            let pointer = match member {
                "" => String::new(),
                member => format!("/{}", member.replace('.', "/")),
            };
            Place::ResultOf(action.to_owned(), pointer)
        }
    })
}
