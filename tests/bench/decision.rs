//! A decision as the CLI sees it: from its question on one pipe to the answer on the other, through
//! the job, the shipped policy and the records of what was decided; beside `cat` between the same
//! two pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::numbers::{Row, Sample};
use crate::setting;

pub async fn measure() -> Vec<Row> {
    let gateway = setting::gateway(&[]).await;
    let mut rows = Vec::new();
    for (name, prompt, pause) in [
        ("50 a second", "ask about calls: 200 of 300 every 20", 20),
        (
            "one after another",
            "ask about calls: 2000 of 300 every 0",
            0,
        ),
    ] {
        let events = gateway.run(&gateway.request(prompt)).await.rest().await;
        let told = events
            .iter()
            .filter_map(|event| serde_json::from_str::<serde_json::Value>(&event.data).ok())
            .find(|line| line["subtype"] == "asked")
            .unwrap_or_else(|| panic!("the stand-in was not answered: {events:?}"));
        let nanos = told["nanos"].as_array().expect("a list").iter();
        let took = nanos.map(|nanos| Duration::from_nanos(nanos.as_u64().expect("a number")));
        let row = Row::new(
            format!("tool call asked to answered, {name}"),
            Sample::of(took),
        );
        let row = row.beside("`cat` in the same place", Sample::of(through_cat(pause)));
        rows.push(row.p50_below(100.0));
    }
    setting::end(gateway).await;
    rows
}

fn through_cat(pause: u64) -> Vec<Duration> {
    let mut cat = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = cat.stdin.take().expect("piped");
    let mut stdout = BufReader::new(cat.stdout.take().expect("piped"));
    let question = format!("{}\n", "x".repeat(600));
    let mut answer = String::new();
    let took = (0..200).map(|_| {
        std::thread::sleep(Duration::from_millis(pause));
        answer.clear();
        let since = Instant::now();
        stdin.write_all(question.as_bytes()).expect("it reads");
        stdout.read_line(&mut answer).expect("it answers");
        since.elapsed()
    });
    let took = took.collect();
    drop(stdin);
    cat.wait().expect("it ends");
    took
}
