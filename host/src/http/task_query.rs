//! The query of `GET /tasks`: what a list may be narrowed by.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::form_urlencoded;

use super::problem::{INVALID_QUERY, Problem};
use crate::access::Caller;
use crate::task::ListQuery;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// A request bears no more of them.
const MAX_LABELS: usize = 32;

const PARAMETERS: &str = "status, reason, phase, mode, caller, label, since, until, limit, cursor";

/// Reads the query; every value must be one that can be meant, and only `label` may come twice. `tenant` is
/// for the operator, who sees all of them.
pub(super) fn read(query: &str, asker: &Caller) -> Result<ListQuery, Problem> {
    let mut list = ListQuery {
        limit: DEFAULT_LIMIT,
        ..ListQuery::default()
    };
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "label" && seen.contains(&name) {
            return Err(refused("each parameter but label stands once"));
        }
        let filter = &mut list.filter;
        match &*name {
            "status" => {
                filter.status = Some(word(
                    &value,
                    "status must be pending, running, completed, failed or cancelled",
                )?)
            }
            "phase" => {
                filter.phase = Some(word(
                    &value,
                    "phase must be one that records show, such as waiting_approval",
                )?)
            }
            "reason" => {
                filter.reason = Some(word(
                    &value,
                    "reason must be one that a failed task has, such as timed_out",
                )?)
            }
            "mode" => filter.mode = Some(word(&value, "mode must be sync or async")?),
            "caller" if !value.is_empty() => filter.caller = Some(value.into_owned()),
            "caller" => return Err(refused("caller must be a name as records show it")),
            // Empty is the default one.
            "tenant" if asker.operator => filter.tenant = Some(value.into_owned()),
            "label" => {
                let label = value.split_once(':').filter(|(name, _)| !name.is_empty());
                let (name, value) = label.ok_or_else(|| refused("label must be name:value"))?;
                if filter.labels.len() >= MAX_LABELS {
                    return Err(refused(format!("label may stand {MAX_LABELS} times")));
                }
                filter.labels.push((name.to_owned(), value.to_owned()));
            }
            "since" => filter.since = Some(time(&value, "since")?),
            "until" => filter.until = Some(time(&value, "until")?),
            "limit" => {
                let limit = value.parse().ok();
                list.limit = limit
                    .filter(|limit| (1..=MAX_LIMIT).contains(limit))
                    .ok_or_else(|| refused(format!("limit must be 1 to {MAX_LIMIT}")))?;
            }
            // The first page, of whoever goes on with what the page before said.
            "cursor" if value.is_empty() => {}
            "cursor" if ListQuery::takes_cursor(&value) => list.cursor = Some(value.into_owned()),
            "cursor" => return Err(refused("cursor must be the next of the page before")),
            _ => {
                let tenant = if asker.operator { ", tenant" } else { "" };
                return Err(refused(format!("the parameters are {PARAMETERS}{tenant}")));
            }
        }
        seen.push(name);
    }
    Ok(list)
}

fn refused(expected: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(INVALID_QUERY, expected)
}

/// A word of the API.
fn word<T: DeserializeOwned>(value: &str, expected: &'static str) -> Result<T, Problem> {
    serde_json::from_value(Value::from(value)).map_err(|_| refused(expected))
}

fn time(value: &str, name: &str) -> Result<Timestamp, Problem> {
    value.parse().map_err(|_| {
        refused(format!(
            "{name} must be a time such as 2026-01-02T03:04:05Z (a + is written %2B)"
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;
    use crate::task::{Mode, Phase, Reason, Status};

    fn caller(operator: bool) -> Caller {
        Caller {
            name: String::new(),
            tenant: String::new(),
            scope: String::new(),
            operator,
        }
    }

    fn read(query: &str) -> Result<ListQuery, Problem> {
        super::read(query, &caller(false))
    }

    #[test]
    fn only_the_operator_names_a_tenant() {
        let list = super::read("tenant=team-a", &caller(true)).unwrap();
        assert_eq!(list.filter.tenant.as_deref(), Some("team-a"));
        assert!(read("tenant=team-a").is_err());
    }

    #[test]
    fn every_parameter_is_read() {
        let list = read(
            "status=failed&phase=waiting_approval&reason=timed_out&mode=sync&caller=key-12&label=team:a&label=url:http://x\
             &since=2026-01-02T03:04:05Z&until=2026-01-02T05:04:05%2B01:00&limit=7&cursor=2026-01-02",
        )
        .unwrap();
        let filter = list.filter;
        assert_eq!(filter.status, Some(Status::Failed));
        assert_eq!(filter.phase, Some(Phase::WaitingApproval));
        assert_eq!(filter.reason, Some(Reason::TimedOut));
        assert_eq!(filter.mode, Some(Mode::Sync));
        assert_eq!(filter.caller.as_deref(), Some("key-12"));
        let labels = [("team", "a"), ("url", "http://x")];
        assert_eq!(
            filter.labels,
            labels.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(filter.since.unwrap().to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(filter.until.unwrap().to_string(), "2026-01-02T04:04:05Z");
        assert_eq!(list.limit, 7);
        assert_eq!(list.cursor.as_deref(), Some("2026-01-02"));
        assert_eq!(read("").unwrap().limit, DEFAULT_LIMIT);
        assert_eq!(read("cursor=&limit=7").unwrap().cursor, None);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in [
            "status=happy",
            "status=",
            "status=Failed",
            "phase=asleep",
            "reason=bored",
            "mode=both",
            "caller=",
            "label=team",
            "label=:a",
            "since=yesterday",
            "since=2026-01-02",
            "until=2026-01-02T05:04:05+01:00",
            "limit=0",
            "limit=201",
            "limit=-1",
            "limit=x",
            "cursor=x",
            "cursor=../../etc",
            "lable=team:a",
            "status=failed&status=pending",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
        assert!(read(&"label=a:b&".repeat(MAX_LABELS)).is_ok());
        assert!(read(&"label=a:b&".repeat(MAX_LABELS + 1)).is_err());
    }
}
