//! Stands in for the CLI where the real one cannot be made to misbehave on demand. Speaks its control
//! protocol, passes the canary as the real one does, and then does what the prompt says. For the
//! benchmarks it also behaves, at a known pace.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

fn main() {
    if std::env::args().any(|argument| argument == "--version") {
        println!("2.1.330 (misbehaving)");
        return;
    }
    let mut lines = std::io::stdin().lines();
    let mut hook = Value::Null;
    while let Some(Ok(line)) = lines.next() {
        let frame: Value = serde_json::from_str(&line).expect("the host sends JSON");
        match frame["type"].as_str() {
            Some("control_request") => {
                hook = frame["request"]["hooks"]["PreToolUse"][0]["hookCallbackIds"][0].clone();
                say(&json!({"type": "control_response", "response": {
                "subtype": "success", "request_id": frame["request_id"],
                "response": {"hooks_applied": true, "hook_on_failure_supported": true, "session_state": "idle"},
                }}));
            }
            Some("user") => {
                let prompt = frame["message"]["content"].to_string();
                misbehave(&prompt, &hook, &mut lines);
            }
            _ => {}
        }
    }
}

fn misbehave(
    prompt: &str,
    hook: &Value,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) {
    if prompt.contains("say nothing") {
        sleep_on();
    } else if prompt.contains("stay after the result") {
        ignore_terminate();
        init();
        result("done, but I stay");
        sleep_on();
    } else if prompt.contains("exit without a result") {
        init();
        std::process::exit(0);
    } else if prompt.contains("write a line of 100 MiB") {
        init();
        let mut out = std::io::stdout().lock();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..100 {
            out.write_all(&block).expect("read by the host");
        }
        out.write_all(b"\n").expect("read by the host");
        out.flush().expect("read by the host");
        drop(out);
        sleep_on();
    } else if prompt.contains("write odd lines") {
        init();
        let mut out = std::io::stdout().lock();
        out.write_all(b"plain words\n\n{\"half\": \xff\xfe\n{\"type\":\"odd\",\"text\":\"a\\r\\nb\xe2\x80\xa8c\"}\r\n").expect("read");
        out.flush().expect("read by the host");
        drop(out);
        result("odd lines were written");
    } else if prompt.contains("ask the API once") {
        init();
        result(&what_came(&exchange(
            &json!([{"role": "user", "content": prompt}]),
        )));
    } else if prompt.contains("put a secret into a call") {
        init();
        let tool = std::env::var("DEPLOY_TOKEN").expect("given");
        ask_the_gate(hook, 0, &tool, &json!({}));
        let answer = lines.next().expect("an answer").expect("read");
        result(&answer);
    } else if prompt.contains("tell the time") {
        tell_the_time(prompt);
    } else if prompt.contains("ask about calls") {
        ask_about_calls(prompt, hook, lines);
    } else {
        pass_the_canary(prompt, hook, lines);
    }
}

/// `tell the time: GROUPS of LINES every MILLISECONDS`. Each line says when it was written.
fn tell_the_time(prompt: &str) {
    let [groups, lines, pause] = numbers(prompt);
    init();
    for _ in 0..groups {
        std::thread::sleep(Duration::from_millis(pause));
        for _ in 0..lines {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("after 1970");
            say(&json!({"type": "system", "subtype": "tick", "at": now.as_nanos() as u64}));
        }
    }
    result("that was the time");
}

/// `ask about calls: NUMBER of BYTES every MILLISECONDS`. Tells how long each answer took.
fn ask_about_calls(
    prompt: &str,
    hook: &Value,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) {
    let [calls, bytes, pause] = numbers(prompt);
    init();
    let cwd = std::env::current_dir().expect("there is one");
    let input = json!({"file_path": cwd.join("file.txt"), "content": "x".repeat(bytes as usize)});
    let mut nanos = Vec::new();
    for number in 0..calls {
        std::thread::sleep(Duration::from_millis(pause));
        let since = Instant::now();
        ask_the_gate(hook, number, "Write", &input);
        lines.next().expect("an answer").expect("read");
        nanos.push(since.elapsed().as_nanos() as u64);
    }
    say(&json!({"type": "system", "subtype": "asked", "nanos": nanos}));
    result("every call was asked about");
}

fn ask_the_gate(hook: &Value, number: u64, tool: &str, input: &Value) {
    let cwd = std::env::current_dir().expect("there is one");
    let id = format!("toolu_{number}");
    say(
        &json!({"type": "control_request", "request_id": format!("hook-{number}"), "request": {
            "subtype": "hook_callback", "callback_id": hook, "tool_use_id": id,
            "input": {"hook_event_name": "PreToolUse", "tool_name": tool, "tool_input": input,
                      "tool_use_id": id, "cwd": cwd},
        }}),
    );
}

/// The first three numbers.
fn numbers(prompt: &str) -> [u64; 3] {
    let mut found = prompt
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok());
    [(); 3].map(|()| found.next().expect("three numbers"))
}

/// What the real CLI does with a prompt: asks the API, asks the hook about the tool, tells the API.
fn pass_the_canary(
    prompt: &str,
    hook: &Value,
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) {
    init();
    let question = json!([{"role": "user", "content": prompt}]);
    let Some(call) = ask_the_api(&question) else {
        return result("the API asked for nothing");
    };
    let skips = std::env::args().any(|argument| argument.contains("skips-the-gate"));
    if !skips {
        say(
            &json!({"type": "control_request", "request_id": "hook-1", "request": {
                "subtype": "hook_callback", "callback_id": hook, "tool_use_id": call["id"],
                "input": {"hook_event_name": "PreToolUse", "tool_name": call["name"], "tool_input": call["input"],
                          "tool_use_id": call["id"], "cwd": std::env::current_dir().expect("there is one")},
            }}),
        );
        let _answer = lines.next();
    }
    let told = json!({"type": "tool_result", "tool_use_id": call["id"], "is_error": !skips,
        "content": if skips { "it ran" } else { "denied by the gate" }});
    say(&json!({"type": "user", "message": {"role": "user", "content": [told]}}));
    let conversation = json!([
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [told]},
    ]);
    let _end = ask_the_api(&conversation);
    result("the canary sang");
}

/// `200 whole: BODY`, or `200 broken off: BODY` where the body did not come to its end.
fn what_came(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).unwrap_or("no answer");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let (whole, text) = match length {
        Some(length) => (length == body.len().to_string(), body.to_owned()),
        // Pieces, each after a line with its length.
        None => {
            let pieces = body.split("\r\n").skip(1).step_by(2);
            (body.ends_with("\r\n0\r\n\r\n"), pieces.collect())
        }
    };
    let whole = if whole { "whole" } else { "broken off" };
    format!("{status} {whole}: {text}")
}

/// The tool call in the API's answer, if there is one.
fn ask_the_api(messages: &Value) -> Option<Value> {
    let answer = exchange(messages);
    let events = answer
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let (mut call, mut input) = (None, String::new());
    for event in events {
        if event["content_block"]["type"] == "tool_use" {
            call = Some(event["content_block"].clone());
        }
        if let Some(part) = event["delta"]["partial_json"].as_str() {
            input.push_str(part);
        }
    }
    let mut call = call?;
    call["input"] = serde_json::from_str(&input).unwrap_or_else(|_| json!({}));
    Some(call)
}

/// Puts the conversation to the API; all that came back.
fn exchange(messages: &Value) -> String {
    let base = std::env::var("ANTHROPIC_BASE_URL").expect("given");
    let address = base
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let key = std::env::var("ANTHROPIC_API_KEY")
        .or_else(|_| std::env::var("CLAUDE_CODE_OAUTH_TOKEN"))
        .unwrap_or_default();
    let body = json!({"model": "claude-sonnet-5-5", "max_tokens": 100, "stream": true, "messages": messages}).to_string();
    let mut stream = TcpStream::connect(&address).expect("the broker listens");
    write!(
        stream,
        "POST /v1/messages?beta=true HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .expect("the broker reads");
    let mut answer = String::new();
    // A connection that breaks is at its end as well.
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn init() {
    say(
        &json!({"type": "system", "subtype": "init", "session_id": "misbehaving", "tools": ["Bash"], "mcp_servers": []}),
    );
}

fn result(text: &str) {
    say(
        &json!({"type": "result", "subtype": "success", "is_error": false, "num_turns": 1, "result": text,
        "terminal_reason": "completed", "session_id": "misbehaving", "total_cost_usd": 0.0}),
    );
}

fn say(frame: &Value) {
    println!("{frame}");
}

fn sleep_on() {
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn ignore_terminate() {
    use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
    let mut set = SigSet::empty();
    set.add(Signal::SIGTERM);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&set), None).expect("blockable");
}
