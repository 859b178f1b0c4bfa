//! Measures the whole service with the real binary and a stand-in for the agent's CLI, each number
//! beside a limit or a peer from the same run, and prints one table. `scripts/bench/run.sh` builds
//! what this needs, runs the benchmarks of the parts first and hands their results over.
//!
//! `service [PART…]` runs only the parts named: start, admission, throughput, stream, cloud, decision,
//! memory, repository, parts.

mod admission;
mod cloud;
mod decision;
mod idle;
mod memory;
mod numbers;
mod parts;
mod repository;
mod setting;
mod start;
mod stream;
mod throughput;

use numbers::Row;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|first| first == idle::COMMAND)
    {
        return idle::serve().await;
    }
    // Cargo adds `--bench`.
    let named: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |part: &str| named.is_empty() || named.contains(&part);
    let mut rows: Vec<Row> = Vec::new();
    if wanted("admission") {
        rows.extend(admission::measure().await);
    }
    if wanted("stream") {
        rows.extend(stream::measure().await);
    }
    if wanted("cloud") {
        rows.extend(cloud::measure().await);
    }
    if wanted("parts") {
        rows.extend(parts::decisions());
        rows.extend(parts::loading());
    }
    if wanted("decision") {
        rows.extend(decision::measure().await);
    }
    if wanted("start") {
        rows.extend(start::measure().await);
    }
    if wanted("throughput") {
        rows.extend(throughput::measure().await);
    }
    if wanted("memory") {
        rows.extend(memory::measure().await);
    }
    if wanted("repository") {
        rows.extend(repository::measure().await);
    }
    if wanted("parts") {
        rows.extend(parts::broker());
    }
    println!("{}", numbers::table(&rows));
}
