//! `gatehouse run FILE`: sends a request to a gateway and shows what happens.

mod render;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use futures::StreamExt;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::shown::{self, Identity};
use render::Renderer;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The request as JSON; `-` reads it from standard input
    file: PathBuf,
    /// The gateway
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    url: String,
    #[command(flatten)]
    identity: Identity,
    /// One field of the request, over the file's: --field maxTurns=3
    #[arg(long, value_name = "NAME=VALUE")]
    field: Vec<String>,
    /// Print the events as they come instead of a story
    #[arg(long)]
    json: bool,
}

/// Ends with the task's exit code, or 1 where there was none. `ANTHROPIC_API_KEY`,
/// `CLAUDE_CODE_OAUTH_TOKEN` are taken from `environment` where the file names no credential;
/// `GATEHOUSE_API_KEY` is shown to the gateway.
pub(super) async fn run(
    options: Options,
    environment: &std::collections::BTreeMap<String, String>,
) -> ExitCode {
    match follow(options, environment).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("gatehouse: {failure:#}");
            ExitCode::FAILURE
        }
    }
}

async fn follow(
    options: Options,
    environment: &std::collections::BTreeMap<String, String>,
) -> anyhow::Result<u8> {
    let mut request = read(&options.file)?;
    for field in &options.field {
        let (name, value) = field
            .split_once('=')
            .with_context(|| format!("--field {field}: expected NAME=VALUE"))?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        request.insert(name.to_owned(), value);
    }
    if !request.contains_key("anthropicApiKey") && !request.contains_key("anthropicOAuthToken") {
        if let Some(key) = environment.get("ANTHROPIC_API_KEY") {
            request.insert("anthropicApiKey".to_owned(), json!(key));
        } else if let Some(token) = environment.get("CLAUDE_CODE_OAUTH_TOKEN") {
            request.insert("anthropicOAuthToken".to_owned(), json!(token));
        }
    }

    let key = environment.get("GATEHOUSE_API_KEY").cloned();
    let key = key.filter(|key| !key.is_empty()).map(SecretString::from);
    let client = shown::client(&options.url, key.as_ref(), &options.identity, environment)?;
    let response = client
        .post(format!("{}/run", options.url))
        .json(&request)
        .send()
        .await
        .with_context(|| format!("no gateway answers at {}", options.url))?;
    if !response.status().is_success() {
        let status = response.status();
        bail!(
            "the gateway refused: {status} {}",
            response.text().await.unwrap_or_default()
        );
    }

    let mut renderer = Renderer::new(std::io::stdout().is_terminal());
    let mut exit_code = 1;
    let mut bytes = response.bytes_stream();
    let mut parser = SseParser::default();
    while let Some(chunk) = bytes.next().await {
        for (name, data) in parser.feed(&chunk.context("the stream broke; the task may run on")?) {
            let value: Value = serde_json::from_str(&data).unwrap_or(Value::Null);
            if name == "done" {
                let code = value.get("exitCode").and_then(Value::as_i64).unwrap_or(1);
                exit_code = u8::try_from(code).unwrap_or(1);
            }
            if options.json {
                println!("{data}");
            } else {
                renderer.show(&name, &value);
            }
        }
    }
    Ok(exit_code)
}

fn read(file: &Path) -> anyhow::Result<serde_json::Map<String, Value>> {
    let text = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
    };
    serde_json::from_str(&text).with_context(|| format!("{} holds no JSON object", file.display()))
}

/// The few rules of event streams that a client of ours needs: events with a name and data.
#[derive(Debug, Default)]
struct SseParser {
    buffer: Vec<u8>,
}

impl SseParser {
    fn feed(&mut self, bytes: &[u8]) -> Vec<(String, String)> {
        self.buffer.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let block = String::from_utf8_lossy(&block);
            let field = |name: &str| {
                block
                    .lines()
                    .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                    .map(str::trim_start)
                    .collect::<Vec<_>>()
            };
            let data = field("data");
            if !data.is_empty() {
                let name = field("event")
                    .first()
                    .map_or("message", |name| *name)
                    .to_owned();
                events.push((name, data.join("\n")));
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::SseParser;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let stream = ": hello\n\nevent: task\ndata: {\"a\":1}\n\nid: 1\ndata: x\ndata: y\n\n";
        for cut in 0..stream.len() {
            let (head, tail) = stream.as_bytes().split_at(cut);
            let mut parser = SseParser::default();
            let mut events = parser.feed(head);
            events.extend(parser.feed(tail));
            let expected = [("task", "{\"a\":1}"), ("message", "x\ny")]
                .map(|(n, d)| (n.to_owned(), d.to_owned()));
            assert_eq!(events, expected);
        }
    }
}
