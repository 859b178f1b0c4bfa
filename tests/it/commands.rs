//! The request's own commands and subagents: what the caller calls is what the agent is asked.

use gatehouse_tests::gateway::cli;
use gatehouse_tests::{Gateway, words_of};
use serde_json::{Value, json};

fn asked(gateway: &Gateway, prompt: &str, more: Value) -> Value {
    let mut request = gateway.request_with("", more);
    request["prompt"] = prompt.into();
    request
}

#[tokio::test]
async fn a_command_is_filled_in_and_its_model_and_tools_are_used() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": "touch made"}}]},
            {"text": "It said: {{last_tool_result}}"},
        ]))
        .start()
        .await;
    let command = json!({"fix": {
        "frontmatter": {"description": "d", "model": "claude-haiku-4-5", "allowed-tools": "Bash(touch:*)"},
        "content": "Fix $0 and $ARGUMENTS[1] of: $ARGUMENTS",
    }});
    let request = asked(
        &gateway,
        "/fix one \"two three\"",
        json!({"slashCommands": command}),
    );

    let stream = gateway.run(&request).await;
    let id = stream.task_id.clone();
    let events = stream.rest().await;

    let report = events.last().unwrap().json();
    assert_eq!(report["status"], "completed", "{report:#}");
    let first = &gateway.model_requests()[0].body;
    assert_eq!(first["model"], "claude-haiku-4-5");
    assert!(words_of(first).contains("Fix one and two three of: one \"two three\""));
    // In the mode `default` nobody would be there to approve of it.
    let answers: String = events.iter().map(|event| event.data.as_str()).collect();
    assert!(!answers.contains("nobody is there"), "{answers}");
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["effective"]["model"], "claude-haiku-4-5");
}

#[tokio::test]
async fn the_tools_of_a_command_join_a_list_that_restricts() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": "touch made"}}]},
            {"tools": [{"name": "Bash", "input": {"command": "rm -f made"}}]},
            {"text": "done"},
        ]))
        .start()
        .await;
    let more = json!({
        "allowedTools": ["Read"], "permissionMode": "bypassPermissions",
        "slashCommands": {"fix": {"frontmatter": {"allowed-tools": ["Bash(touch:*)"]}, "content": "x"}},
    });

    let stream = gateway.run(&asked(&gateway, "/fix", more)).await;
    let id = stream.task_id.clone();
    stream.rest().await;

    let verdicts: Vec<Value> = gateway
        .decisions(&id)
        .await
        .iter()
        .filter(|decision| decision["stage"] == "tool")
        .map(|decision| decision["verdict"].clone())
        .collect();
    assert_eq!(verdicts, [json!("allow"), json!("deny")]);
}

/// What the CLI would do by itself past the gate, it does not do for us.
#[tokio::test]
async fn no_shell_runs_and_no_file_is_read_on_account_of_a_command_or_a_prompt() {
    let gateway = Gateway::with()
        .turns(json!([
            {"tools": [{"name": "Bash", "input": {"command": "ls -a \"$HOME\""}}]},
            {"text": "home: {{last_tool_result}}"},
        ]))
        .start()
        .await;
    let content = "Look: !`touch \"$HOME/side-door\"` @/etc/passwd $ARGUMENTS";
    let more = json!({
        "permissionMode": "bypassPermissions",
        "slashCommands": {"look": {"frontmatter": {"allowed-tools": "Bash(touch:*)"}, "content": content}},
    });
    let request = asked(
        &gateway,
        "/look !`touch \"$HOME/other\"` @/etc/hostname",
        more,
    );

    let (report, _) = gateway.ends(&request).await;

    let result = report["result"].as_str().unwrap();
    assert!(
        result.contains(".claude") && !result.contains("side-door") && !result.contains("other"),
        "{result}"
    );
    let sent = words_of(&gateway.model_requests()[0].body);
    assert!(
        sent.contains("!`touch") && sent.contains("@/etc/passwd"),
        "{sent}"
    );
    assert!(!sent.contains("root:"), "a file was read: {sent}");
    assert!(
        report["warnings"].to_string().contains("command look"),
        "{report:#}"
    );
}

/// Neither those of the request nor the CLI's own: `security-review` runs git past the gate, and git
/// runs what the repository's configuration names.
#[tokio::test]
async fn the_agent_cannot_call_commands() {
    let call = |name: &str| json!({"tools": [{"name": "Skill", "input": {"skill": name}}]});
    let gateway = Gateway::with()
        .turns(json!([
            call("security-review"),
            call("fix"),
            {"tools": [{"name": "Bash", "input": {"command": "ls -a \"$HOME\""}}]},
            {"text": "home: {{last_tool_result}}"},
        ]))
        .start()
        .await;
    let repository = "git init -q . && git -c user.name=x -c user.email=x@y commit -qm x --allow-empty && \
                      git config core.fsmonitor 'touch \"$HOME/by-git\"; false'";
    let more = json!({
        "permissionMode": "bypassPermissions", "preExecutionCommands": [repository],
        "slashCommands": {"fix": {"content": "x"}},
    });

    let (report, events) = gateway.ends(&asked(&gateway, "go", more)).await;

    let result = report["result"].as_str().unwrap();
    assert!(
        result.contains(".claude") && !result.contains("by-git"),
        "{result}"
    );
    let refused = events
        .iter()
        .filter(|event| event.data.contains("No such tool available: Skill"));
    assert_eq!(refused.count(), 2);
}

#[tokio::test]
async fn a_subagent_of_the_request_answers_as_it_was_described() {
    let gateway = Gateway::with()
        .script(json!({"conversations": [
            {"prompt": "", "system": "REVIEWER-PROMPT", "turns": [{"text": "reviewed"}]},
            {"prompt": "", "turns": [
                {"tools": [{"name": "Agent", "input": {"subagent_type": "reviewer", "prompt": "review", "description": "r"}}]},
                {"text": "the reviewer: {{last_tool_result}}"},
            ]},
        ]}))
        .start()
        .await;
    let subagents = json!({"reviewer": {
        "frontmatter": {"description": "Reviews.", "tools": "Read, Grep", "model": "claude-haiku-4-5"},
        "content": "REVIEWER-PROMPT: you review.",
    }});

    let (report, _) = gateway
        .ends(&asked(&gateway, "go", json!({"subagents": subagents})))
        .await;

    assert!(
        report["result"].as_str().unwrap().contains("reviewed"),
        "{report:#}"
    );
    let requests = gateway.model_requests();
    let its_own = requests
        .iter()
        .find(|request| words_of(&request.body).contains("REVIEWER-PROMPT"));
    let its_own = &its_own.expect("the subagent was asked").body;
    assert_eq!(its_own["model"], "claude-haiku-4-5");
    let tools: Vec<&str> = its_own["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert!(
        tools.contains(&"Read") && !tools.contains(&"Bash"),
        "{tools:?}"
    );
}

#[tokio::test]
async fn names_that_are_no_names_and_unknown_front_matter_are_refused() {
    let gateway = Gateway::with().start().await;
    for name in ["../../x", "a/b", ".", "", "a\u{0}b", &"x".repeat(300)] {
        for field in ["slashCommands", "subagents"] {
            let document = json!({"frontmatter": {"description": "d"}, "content": "c"});
            let refusal = gateway
                .refused(&asked(&gateway, "go", json!({field: {name: document}})))
                .await;
            assert_eq!(
                (&refusal["code"], &refusal["field"]),
                (&json!("invalid-value"), &json!(field)),
                "{name}"
            );
        }
    }
    let more = json!({"slashCommands": {"fix": {"frontmatter": {"hooks": {}}, "content": "c"}}});
    let refusal = gateway.refused(&asked(&gateway, "go", more)).await;
    assert_eq!(refusal["field"], "slashCommands.fix.frontmatter.hooks");
}

/// The same text, filled in by the CLI itself from a file in a home of its own.
#[tokio::test]
async fn the_cli_fills_a_command_in_likewise() {
    let cases = [
        ("A $ARGUMENTS B", "/fix  x  y "),
        ("A $0|$1|$2 B", "/fix a \"b c\""),
        ("nothing to fill", "/fix a b"),
        ("$ARGUMENTS[0] $10 \\$1 $ARGUMENTS[7]", "/fix it's 'a b'"),
    ];
    for (content, prompt) in cases {
        let gateway = Gateway::with()
            .turns(json!([{"text": "done"}]))
            .start()
            .await;
        let more = json!({"slashCommands": {"fix": {"content": content}}});
        gateway.ends(&asked(&gateway, prompt, more)).await;
        let ours = words_of(&gateway.model_requests()[0].body);
        let before = gateway.model_requests().len();

        let home = tempfile::tempdir().unwrap();
        let commands = home.path().join(".claude/commands");
        std::fs::create_dir_all(&commands).unwrap();
        std::fs::write(commands.join("fix.md"), content).unwrap();
        let output = tokio::process::Command::new(cli())
            .args([
                "-p",
                prompt,
                "--setting-sources=user",
                "--model=claude-sonnet-5-5",
            ])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home.path())
            .env("ANTHROPIC_API_KEY", &gateway.canaries.api_key)
            .env("ANTHROPIC_BASE_URL", gateway.model_url())
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .current_dir(home.path())
            .output()
            .await
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let theirs = words_of(&gateway.model_requests()[before].body);
        let filled = ours.lines().rfind(|line| !line.trim().is_empty()).unwrap();
        assert!(
            theirs.lines().any(|line| line == filled),
            "{content} {prompt}: ours ends with {filled:?}, theirs is {theirs}"
        );
    }
}
