//! Pages of records, newest first, from the index.
//!
//! The index is a folder per day whose entries are sorted newest first, so a page costs one listing
//! per day that it touches and one read per record that it looks at. Both are bounded: a page may be
//! short, even empty, and still name a next one.

use futures::{StreamExt, TryStreamExt};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::{Filter, ListQuery, Page, Record, TaskError, Tasks, names};
use crate::bucket::Entry;

/// Records looked at for one page, where something is asked for that few have.
const RECORDS_LIMIT: usize = 1000;
/// Days looked at for one page.
const DAYS_LIMIT: usize = 100;
/// Records looked at in one round, and at once in it.
const ROUND: usize = 64;
const CONCURRENT: usize = 16;

/// Everything after this place in the index was not looked at yet.
pub(super) struct Place {
    day: Date,
    /// Name of an entry of that day.
    after: Option<String>,
    /// The same as far as whoever lists may know it: a cursor names no task of another tenant.
    told: Option<String>,
}

impl Place {
    /// `{yyyy-mm-dd}` or `{yyyy-mm-dd}.{time}-{id}`: needs no escaping in a URL.
    fn parse(cursor: &str) -> Option<Self> {
        let (day, entry) = match cursor.split_once('.') {
            Some((day, entry)) => (day, Some(entry)),
            None => (cursor, None),
        };
        let day = day.parse().ok()?;
        let after = match entry {
            Some(entry) => {
                let name = format!("{}{entry}", names::index_day(day));
                if names::time_of_index(&name)? != name {
                    names::task_of_index(&name)?;
                }
                Some(name)
            }
            None => None,
        };
        Some(Self::at(day, after))
    }

    /// Where a list begins that holds nothing accepted at `until` or later.
    fn before(until: Option<Timestamp>) -> Self {
        let Some(until) = until else {
            // The clock of whoever created a task may be ahead of ours.
            let day = names::day_of(Timestamp::now()).saturating_add(jiff::Span::new().days(1));
            return Self::at(day, None);
        };
        // Names tell microseconds; what they cannot tell, the filter does.
        let until = until
            .saturating_add(SignedDuration::from_micros(1))
            .unwrap_or(until);
        Self::at(names::day_of(until), Some(names::index_until(until)))
    }

    pub(super) fn at(day: Date, after: Option<String>) -> Self {
        let told = after.clone();
        Self { day, after, told }
    }

    /// Goes on behind an entry. Where it may not be named, its time is, and what was accepted at the same
    /// moment is looked at again; unless an entry of that moment was named, behind which all is to come.
    pub(super) fn pass(&mut self, entry: String, may_be_named: bool) {
        let time = names::time_of_index(&entry);
        let told = self.told.as_deref().and_then(names::time_of_index);
        if may_be_named {
            self.told = Some(entry.clone());
        } else if time != told {
            self.told = time.map(str::to_owned);
        }
        self.after = Some(entry);
    }

    pub(super) fn cursor(&self) -> String {
        let entry = self.told.as_deref().and_then(|name| name.rsplit_once('/'));
        entry.map_or_else(
            || self.day.to_string(),
            |(_, entry)| format!("{}.{entry}", self.day),
        )
    }
}

impl Filter {
    /// Whether records have to be read to know.
    fn looks_at_records(&self) -> bool {
        let Self {
            status,
            phase,
            reason,
            mode,
            caller,
            tenant,
            labels,
            since: _,
            until: _,
        } = self;
        status.is_some()
            || phase.is_some()
            || reason.is_some()
            || mode.is_some()
            || caller.is_some()
            // Where there are no tenants, all that there is is the default one's.
            || tenant.as_ref().is_some_and(|tenant| !tenant.is_empty())
            || !labels.is_empty()
    }

    fn wants(&self, record: &Record) -> bool {
        let bears = |(name, value): &(String, String)| record.labels.get(name) == Some(value);
        self.status.is_none_or(|status| record.status == status)
            && self.phase.is_none_or(|phase| record.phase == phase)
            && self
                .reason
                .is_none_or(|reason| record.reason == Some(reason))
            && self.mode.is_none_or(|mode| record.execution_mode == mode)
            && self
                .caller
                .as_ref()
                .is_none_or(|caller| record.caller == *caller)
            && self.is_of_tenant(record)
            && self.labels.iter().all(bears)
            && self.until.is_none_or(|until| record.created_at < until)
            && !self.is_before(record)
    }

    fn is_of_tenant(&self, record: &Record) -> bool {
        self.tenant
            .as_ref()
            .is_none_or(|tenant| record.tenant == *tenant)
    }

    /// Whether this record, and with it every older one, was accepted too early.
    fn is_before(&self, record: &Record) -> bool {
        self.since.is_some_and(|since| record.created_at < since)
    }
}

impl ListQuery {
    /// Whether this text may be a [`ListQuery::cursor`].
    pub fn takes_cursor(text: &str) -> bool {
        Place::parse(text).is_some()
    }
}

impl Tasks {
    /// A page of records, newest first. A cursor that is none of ours names an empty page.
    pub async fn list(&self, query: &ListQuery) -> Result<Page, TaskError> {
        let mut place = match &query.cursor {
            Some(cursor) => match Place::parse(cursor) {
                Some(place) => place,
                None => return Ok(Page::default()),
            },
            None => Place::before(query.filter.until),
        };
        let oldest = self.bucket().list("index/", None, 1).await?;
        let Some(oldest) = oldest
            .first()
            .and_then(|entry| names::day_of_index(&entry.name))
        else {
            return Ok(Page::default());
        };

        let oldest = match query.filter.since {
            Some(since) => oldest.max(names::day_of(since)),
            None => oldest,
        };

        let mut tasks = Vec::new();
        let (mut records_left, mut days_left) = (RECORDS_LIMIT, DAYS_LIMIT);
        while place.day >= oldest {
            if tasks.len() >= query.limit || records_left == 0 || days_left == 0 {
                return Ok(Page {
                    tasks,
                    next: Some(place.cursor()),
                });
            }
            // How many have to be looked at is not known where not each is wanted.
            let wanted = if query.filter.looks_at_records() {
                ROUND
            } else {
                query.limit - tasks.len()
            };
            let round = wanted.min(ROUND).min(records_left);
            let entries = self
                .bucket()
                .list(&names::index_day(place.day), place.after.as_deref(), round)
                .await?;
            let is_last_of_day = entries.len() < round;
            records_left -= entries.len();

            for (entry, record) in self.records_of(entries).await? {
                if tasks.len() >= query.limit {
                    return Ok(Page {
                        tasks,
                        next: Some(place.cursor()),
                    });
                }
                let filter = &query.filter;
                let may_be_named = record.as_ref().map_or(filter.tenant.is_none(), |record| {
                    filter.is_of_tenant(record)
                });
                place.pass(entry.name, may_be_named);
                if record
                    .as_ref()
                    .is_some_and(|record| query.filter.is_before(record))
                {
                    return Ok(Page { tasks, next: None });
                }
                tasks.extend(record.filter(|record| query.filter.wants(record)));
            }
            if is_last_of_day {
                days_left -= 1;
                let Ok(yesterday) = place.day.yesterday() else {
                    break;
                };
                place = Place::at(yesterday, None);
            }
        }
        Ok(Page { tasks, next: None })
    }

    /// The records of index entries, in the same order; none where an entry leads to no record.
    async fn records_of(
        &self,
        entries: Vec<Entry>,
    ) -> Result<Vec<(Entry, Option<Record>)>, TaskError> {
        futures::stream::iter(entries)
            .map(|entry| async move {
                let record = match names::task_of_index(&entry.name) {
                    Some(id) => match self.get(&id).await {
                        Err(TaskError::Damaged { id, detail }) => {
                            tracing::warn!(task = %id, detail, "a damaged record is left out of the list");
                            None
                        }
                        other => other?,
                    },
                    None => None,
                };
                let is_its_entry = |record: &Record| names::index(record.created_at, &record.task_id) == entry.name;
                Ok((entry.clone(), record.filter(is_its_entry)))
            })
            .buffered(CONCURRENT)
            .try_collect()
            .await
    }
}
