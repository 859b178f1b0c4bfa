//! What was measured, and how it is told.

use std::fmt::Write as _;
use std::time::Duration;

/// Many measurements of one thing, in one unit.
#[derive(Clone, Debug)]
pub struct Sample {
    sorted: Vec<f64>,
    unit: &'static str,
}

impl Sample {
    /// Of durations; told in microseconds or milliseconds.
    pub fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let micros = durations
            .into_iter()
            .map(|duration| duration.as_secs_f64() * 1e6);
        Self::new(micros, "µs")
    }

    /// Of anything; there must be something.
    pub fn new(values: impl IntoIterator<Item = f64>, unit: &'static str) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_by(f64::total_cmp);
        Self { sorted, unit }
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    pub fn p99(&self) -> f64 {
        self.at(0.99)
    }

    pub fn min(&self) -> f64 {
        self.sorted[0]
    }

    fn at(&self, part: f64) -> f64 {
        let last = self.sorted.len() - 1;
        self.sorted[(last as f64 * part).round() as usize]
    }

    fn told(&self, value: f64) -> String {
        match self.unit {
            "µs" if value >= 10_000.0 => format!("{:.0} ms", value / 1000.0),
            "µs" if value >= 1000.0 => format!("{:.1} ms", value / 1000.0),
            unit if value >= 100.0 => format!("{value:.0} {unit}"),
            unit if value >= 10.0 => format!("{value:.1} {unit}"),
            unit => format!("{value:.2} {unit}"),
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    what: String,
    ours: Sample,
    peer: Option<(&'static str, Sample)>,
    goals: Vec<(String, bool)>,
}

impl Row {
    pub fn new(what: impl Into<String>, ours: Sample) -> Self {
        let row = Self {
            what: what.into(),
            ours,
            peer: None,
            goals: Vec::new(),
        };
        eprintln!("{}: {}", row.what, row.ours.told(row.ours.median()));
        row
    }

    /// What it is compared with.
    pub fn beside(mut self, peer: &'static str, sample: Sample) -> Self {
        self.peer = Some((peer, sample));
        self
    }

    /// The median is to be below `micros`.
    pub fn p50_below(mut self, micros: f64) -> Self {
        let goal = format!("p50 < {}", self.ours.told(micros));
        self.goals.push((goal, self.ours.median() < micros));
        self
    }

    /// 99 of 100 are to be below `micros`.
    pub fn p99_below(mut self, micros: f64) -> Self {
        let goal = format!("p99 < {}", self.ours.told(micros));
        self.goals.push((goal, self.ours.p99() < micros));
        self
    }
}

/// As Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| what | median | min | p99 | beside | its median | ratio | goal |\n|---|--:|--:|--:|---|--:|--:|---|\n",
    );
    for Row {
        what,
        ours,
        peer,
        goals,
    } in rows
    {
        let median = ours.told(ours.median());
        let (min, p99) = match ours.sorted.len() {
            1 => (String::new(), String::new()),
            _ => (ours.told(ours.min()), ours.told(ours.p99())),
        };
        let (name, its_median, ratio) = match peer {
            Some((name, peer)) => (
                *name,
                peer.told(peer.median()),
                three_digits(ours.median() / peer.median()),
            ),
            None => ("", String::new(), String::new()),
        };
        let goals: Vec<String> = goals
            .iter()
            .map(|(goal, met)| format!("{goal}: {}", if *met { "met" } else { "**missed**" }))
            .collect();
        let _ = writeln!(
            text,
            "| {what} | {median} | {min} | {p99} | {name} | {its_median} | {ratio} | {} |",
            goals.join(", ")
        );
    }
    text
}

fn three_digits(ratio: f64) -> String {
    match ratio {
        100.0.. => format!("{ratio:.0}"),
        10.0.. => format!("{ratio:.1}"),
        _ => format!("{ratio:.2}"),
    }
}
