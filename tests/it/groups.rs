//! Plugins that judge together: what counts is an expression over them, and whoever is refused is told because of whom.

use std::path::{Path, PathBuf};

use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{Gateway, binary, eventually, repository};
use serde_json::{Value, json};

/// Where no webhook is taken.
const NOBODY: &str = "http://127.0.0.1:8099/hook";

/// `denies-all` denies, `asks` asks, `traps` traps, `rewrites` rewrites, `passes` has nothing against anything.
fn policies() -> Manifest {
    let rewrites = "settings = { Bash = { command = \"echo rewritten\" } }";
    Manifest::empty()
        .plugin("passes", "tool-permission", shipped("tool-rules"), "")
        .guest("denies-all", "tool-permission")
        .guest("asks", "tool-permission")
        .guest("traps", "tool-permission")
        .plugin("rewrites", "tool-permission", guest("rewrites"), rewrites)
}

/// Only those of [`policies`] that the expression names, and the group `together` of them.
fn together(expression: &str, more: &str) -> Manifest {
    let named = |entry: &&str| {
        let mut words = expression.split(|char: char| !(char.is_ascii_lowercase() || char == '-'));
        words.any(|word| !word.is_empty() && entry.contains(&format!("name = \"{word}\"")))
    };
    let policies = policies();
    let entries = policies.text().split_inclusive("\n\n").filter(named);
    Manifest::empty()
        .text_of(&entries.collect::<String>())
        .text_of(&group("together", expression, more))
}

fn group(name: &str, expression: &str, more: &str) -> String {
    format!("[[group]]\nname = \"{name}\"\nexpression = \"{expression}\"\n{more}\n\n")
}

async fn start(manifest: &Manifest) -> Gateway {
    let gateway = Gateway::with().scenario("one-bash-call").plugins(manifest);
    gateway.start().await
}

fn write(gateway: &Gateway, manifest: &Manifest) {
    let path = gateway.data().with_file_name("plugins.toml");
    std::fs::write(path, manifest.text()).unwrap();
}

async fn said(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.plugin(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn refused(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = gateway.plugin(arguments).await;
    assert!(!output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The manifest's set becomes active.
async fn becomes(gateway: &Gateway, manifest: &Manifest) -> String {
    write(gateway, manifest);
    said(gateway, &["reload"]).await;
    let status = gateway.get("/plugins").await;
    status["revision"].as_str().unwrap().to_owned()
}

/// What the agent was told of its one call, and the decisions about it.
async fn call(gateway: &Gateway) -> (String, String, Vec<Value>) {
    let request = gateway.request_with("run it", json!({"permissionMode": "bypassPermissions"}));
    let (report, events) = gateway.ends(&request).await;
    let lines = events.iter().filter(|event| event.id.is_some());
    let told = lines
        .map(|event| event.json())
        .find(|line| line["type"] == "user")
        .expect("a result");
    let told = told["message"]["content"][0]["content"].as_str().unwrap();
    let id = report["taskId"].as_str().unwrap().to_owned();
    let decisions = gateway.decisions(&id).await;
    (id, told.to_owned(), decisions)
}

/// `name verdict`, with `*` where it counts.
fn verdicts(decisions: &[Value]) -> Vec<String> {
    let line = |one: &Value| {
        let by = one["plugin"].as_str().or(one["group"].as_str()).unwrap();
        let counts = if one["enforced"] == true { "*" } else { "" };
        format!("{by} {}{counts}", one["verdict"].as_str().unwrap())
    };
    decisions.iter().map(line).collect()
}

#[tokio::test]
async fn a_call_is_denied_with_the_causes_named_and_runs_where_another_branch_holds() {
    let message = "message = \"Commands need a policy that knows them.\"";
    let gateway = start(&together("passes && denies-all", message)).await;

    let (id, told, decisions) = call(&gateway).await;

    let words = "Commands need a policy that knows them. `denies-all`: ";
    assert!(told.contains(words), "{told}");
    let expected = ["passes abstain", "denies-all deny", "together deny*"];
    assert_eq!(verdicts(&decisions), expected);
    assert_eq!(decisions[1]["group"], "together");
    let whole = &decisions[2];
    assert_eq!(whole["causes"], json!(["denies-all"]), "{whole:#}");
    assert_eq!(whole["rule"], "passes && denies-all", "{whole:#}");
    assert!(whole.get("plugin").is_none() && whole.get("digest").is_none());
    let explained = said(&gateway, &["explain", &id]).await;
    for words in [
        "denies-all (in together), ",
        "the group together, set",
        "because of: denies-all",
        "rule: passes && denies-all",
    ] {
        assert!(explained.contains(words), "{words} is not in: {explained}");
    }
    let counted = |denials: u64| {
        let gateway = &gateway;
        eventually("the group's calls are counted", move || async move {
            let status = gateway.get("/plugins").await;
            let line = status["groups"][0].clone();
            (line["denials"] == denials && line["calls"] == 1).then_some(line)
        })
    };
    let line = counted(1).await;
    assert_eq!(line["members"], json!(["passes", "denies-all"]), "{line:#}");
    let listed = said(&gateway, &["list"]).await;
    assert!(
        listed.contains("1 calls, 1 denials\n    passes && denies-all"),
        "{listed}"
    );
    let shown = said(&gateway, &["show", "together"]).await;
    assert!(shown.contains("\"world\": \"tool-permission\""), "{shown}");

    becomes(&gateway, &together("passes || denies-all", message)).await;
    let (id, told, decisions) = call(&gateway).await;

    assert_eq!(told, "as the agent asked");
    let expected = ["passes abstain", "denies-all deny", "together abstain*"];
    assert_eq!(verdicts(&decisions), expected);
    let explained = said(&gateway, &["explain", &id]).await;
    assert!(explained.contains("no call of"), "{explained}");
    let line = counted(0).await;
    assert_eq!(line["state"], "active", "{line:#}");
}

#[tokio::test]
async fn a_request_is_refused_with_the_causes_and_taken_where_another_branch_holds() {
    let settings = r#"settings = { allowed_models = ["claude-haiku-*"] }"#;
    let manifest = Manifest::empty()
        .guest("rejects", "validator")
        .plugin("small", "validator", shipped("request-rules"), settings)
        .text_of(&group("admission", "rejects || small", ""));
    let gateway = start(&manifest).await;

    let refusal = gateway.refused(&gateway.request("hello")).await;

    assert_eq!(
        (&refusal["status"], &refusal["code"]),
        (&json!(403), &json!("rejected-by-policy"))
    );
    let sentence = refusal["error"].as_str().unwrap();
    let words = "The policy group `admission` denies this. `rejects`: this guest accepts no request; `small`: ";
    assert!(sentence.starts_with(words), "{sentence}");
    let causes = &refusal["details"]["causes"];
    assert_eq!(refusal["details"]["group"], "admission", "{refusal:#}");
    assert_eq!(causes[0]["code"], "rejected-by-guest", "{refusal:#}");
    assert_eq!(causes[1]["plugin"], "small", "{refusal:#}");
    assert_eq!(causes[1]["field"], "model", "{refusal:#}");

    let request = gateway.request_with("hello", json!({"model": "claude-haiku-4-5"}));
    let (report, _) = gateway.ends(&request).await;

    let decisions = gateway.decisions(report["taskId"].as_str().unwrap()).await;
    let expected = ["rejects reject", "small accept", "admission accept*"];
    assert_eq!(verdicts(&decisions), expected);
    let status = gateway.get("/plugins").await;
    let line = &status["groups"][0];
    assert_eq!((&line["calls"], &line["denials"]), (&json!(2), &json!(1)));
}

#[tokio::test]
async fn a_validator_of_a_group_that_cannot_answer_or_amends_makes_it_unavailable() {
    let loops = "limits = { time = \"50ms\" }";
    let amends = r#"settings = { maxTurns = 1 }"#;
    for (name, more) in [("loops-validator", loops), ("amends", amends)] {
        let manifest = Manifest::empty()
            .plugin(name, "validator", guest(name), more)
            .guest("rejects", "validator")
            .text_of(&group("admission", &format!("{name} || rejects"), ""));
        let gateway = start(&manifest).await;

        let refusal = gateway.refused(&gateway.request("hello")).await;

        let (status, code) = (&refusal["status"], &refusal["code"]);
        assert_eq!((status, code), (&json!(503), &json!("plugin-failed")));
        let sentence = refusal["error"].as_str().unwrap();
        assert!(sentence.contains("could not judge this"), "{sentence}");
    }
}

#[tokio::test]
async fn a_person_is_asked_where_the_answer_depends_on_it_and_only_there() {
    let gateway = start(&together("denies-all || asks", "")).await;
    let more = json!({"permissionMode": "bypassPermissions", "callbackUrl": NOBODY});
    let id = gateway
        .run_async(&gateway.request_with("run it", more))
        .await;
    let asked = eventually("a person is asked", || async {
        let answer = gateway.get(&format!("/tasks/{id}/approvals")).await;
        answer["approvals"].get(0).cloned()
    })
    .await;
    assert_eq!(asked["plugins"], json!(["together"]), "{asked:#}");
    let words =
        "The policy group `together` leaves this to a person. `asks`: a person must look at Bash";
    assert_eq!(asked["reason"], words);

    let arguments = ["approval", "allow", &id, asked["call"].as_str().unwrap()];
    let allowed = tokio::process::Command::new(binary())
        .args(arguments)
        .args(["--url", &gateway.url])
        .current_dir(repository())
        .env_clear()
        .env("GATEHOUSE_DATA_DIR", gateway.data())
        .output()
        .await
        .unwrap();
    assert!(allowed.status.success(), "{allowed:?}");
    gateway.ended(&id).await;
    gateway.is_clean().await;

    let decisions = gateway.decisions(&id).await;
    let expected = [
        "denies-all deny",
        "asks ask",
        "together ask*",
        "together allow*",
    ];
    assert_eq!(verdicts(&decisions), expected);
    assert_eq!(decisions[3]["stage"], "approval");
    assert_eq!(decisions[3]["approval"]["by"], "operator");

    for (expression, ran) in [("passes || asks", true), ("denies-all && asks", false)] {
        becomes(&gateway, &together(expression, "")).await;
        let (id, told, _) = call(&gateway).await;
        assert_eq!(told == "as the agent asked", ran, "{expression}: {told}");
        let answer = gateway.get(&format!("/tasks/{id}/approvals")).await;
        assert_eq!(answer["approvals"], json!([]), "{expression}");
    }
}

#[tokio::test]
async fn a_member_that_cannot_answer_never_makes_a_group_hold() {
    let gateway = start(&together("passes", "")).await;
    for (expression, ran, fault) in [
        ("traps && passes", false, json!("trapped")),
        ("!traps && passes", false, json!("trapped")),
        ("traps || passes", true, Value::Null),
        // Without it nothing would be otherwise.
        ("traps && denies-all", false, Value::Null),
        ("rewrites && passes", false, json!("error")),
    ] {
        becomes(&gateway, &together(expression, "")).await;
        let (_, told, decisions) = call(&gateway).await;
        assert_eq!(told == "as the agent asked", ran, "{expression}: {told}");
        let whole = decisions.last().unwrap();
        assert_eq!(whole["fault"], fault, "{expression}: {whole:#}");
        assert_eq!(decisions.len(), 3, "everybody is asked: {expression}");
        if !fault.is_null() {
            assert!(told.contains("could not judge"), "{expression}: {told}");
        }
    }

    let permissive = Manifest::empty()
        .plugin(
            "traps",
            "tool-permission",
            guest("traps"),
            "on_error = \"allow\"",
        )
        .text_of(&group("together", "traps", ""));
    becomes(&gateway, &permissive).await;
    let (_, told, decisions) = call(&gateway).await;
    assert_eq!(told, "as the agent asked");
    assert_eq!(verdicts(&decisions), ["traps abstain", "together abstain*"]);
}

#[tokio::test]
async fn a_group_is_part_of_its_set_and_its_mode_is_its_members() {
    let alone = Manifest::empty().guest("denies-all", "tool-permission");
    let gateway = start(&together("passes || denies-all", "")).await;
    let grouped = gateway.get("/plugins").await["revision"].clone();
    let grouped = grouped.as_str().unwrap();
    let without = becomes(&gateway, &alone).await;
    assert!(call(&gateway).await.1.contains("denied"));

    said(&gateway, &["rollback"]).await;
    let (id, told, _) = call(&gateway).await;
    assert_eq!(told, "as the agent asked");
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["pluginSet"], grouped);
    let difference = said(&gateway, &["diff", grouped, &without]).await;
    assert!(
        difference.contains("together             removed"),
        "{difference}"
    );
    assert!(
        difference.contains("passes               removed"),
        "{difference}"
    );

    let stricter = becomes(&gateway, &together("passes && denies-all", "")).await;
    for mode in ["monitor", "off"] {
        let told = refused(&gateway, &["mode", "denies-all", mode]).await;
        assert!(told.contains("give the group a mode"), "{told}");
    }
    let told = refused(&gateway, &["mode", "passes", "off", "--caller", "ci-*"]).await;
    assert!(told.contains("give the group a mode"), "{told}");
    let told = refused(&gateway, &["mode", "nobody", "off"]).await;
    assert!(told.contains("passes, denies-all, together"), "{told}");
    said(&gateway, &["mode", "together", "monitor"]).await;
    let (_, told, decisions) = call(&gateway).await;
    assert_eq!(told, "as the agent asked");
    let expected = ["passes abstain", "denies-all deny", "together deny"];
    assert_eq!(verdicts(&decisions), expected);
    said(
        &gateway,
        &["mode", "together", "off", "--label", "team=ops"],
    )
    .await;
    said(&gateway, &["mode", "together", "off"]).await;
    let (_, told, decisions) = call(&gateway).await;
    assert_eq!((&*told, decisions.len()), ("as the agent asked", 0));
    said(&gateway, &["enable", "together"]).await;
    assert_eq!(gateway.get("/plugins").await["revision"], stricter);

    let text = format!("trial = {{ shadow = true }}\n{}", policies().text());
    let tried = Manifest::empty()
        .text_of(&text)
        .text_of(&group("watched", "asks && denies-all", ""))
        .text_of(&group("others", "passes || traps || rewrites", ""));
    write(&gateway, &tried);
    said(&gateway, &["mode", "together", "off"]).await;
    let new = eventually("a set is tried", || async {
        let status = gateway.get("/plugins").await;
        let tried = status["trial"]["groups"].as_array()?.len();
        (tried == 2).then(|| status["trial"]["revision"].as_str().unwrap().to_owned())
    })
    .await;
    let (_, told, decisions) = call(&gateway).await;
    assert_eq!(told, "as the agent asked");
    assert!(decisions.iter().all(|one| one["shadow"] == true));
    assert_eq!(decisions.len(), 7, "{decisions:#?}");
    let of_group = decisions.iter().find(|one| one["causes"].is_array());
    assert_eq!(of_group.unwrap()["revision"], new);
}

#[tokio::test]
async fn past_calls_are_judged_again_by_a_group() {
    let gateway = Gateway::with()
        .scenario("one-bash-call")
        .plugins(&together("passes || denies-all", ""))
        .env("GATEHOUSE__PLUGINS__KEEP_INPUTS", "true")
        .start()
        .await;
    let (id, _, _) = call(&gateway).await;
    let revision = gateway.get("/plugins").await["revision"].clone();
    let revision = revision.as_str().unwrap();
    let again = ["replay", &id, "--revision", revision, "--strict"];
    let told = said(&gateway, &again).await;
    assert!(told.contains("0 of 1 questions"), "{told}");

    let stricter = gateway.data().with_file_name("stricter.toml");
    let text = together("passes && denies-all", "");
    std::fs::write(&stricter, text.text()).unwrap();
    let stricter = stricter.to_str().unwrap();
    let told = said(&gateway, &["replay", "--manifest", stricter]).await;
    assert!(told.contains("abstain -> deny by together"), "{told}");
}

#[tokio::test]
async fn a_group_that_cannot_be_used_leaves_what_was_active_and_says_why() {
    let gateway = start(&together("passes", "")).await;
    let before = gateway.get("/plugins").await["revision"].clone();
    for (expression, words) in [
        (
            "passes && nobody",
            "no plugin is named `nobody`; there are: passes",
        ),
        ("passes & denies-all", "expected `&&`"),
        ("passes || !passes", "whatever its members say"),
    ] {
        write(&gateway, &together(expression, ""));
        let told = refused(&gateway, &["reload"]).await;
        assert!(told.contains("group `together`: "), "{told}");
        assert!(told.contains(words), "{told}");
        let status = gateway.get("/plugins").await;
        assert_eq!(status["revision"], before);
        let line = &status["groups"][0];
        assert_eq!(line["code"], "plugin-group-invalid", "{line:#}");
        assert_eq!(line["state"], "active", "{line:#}");
    }

    let in_two = policies()
        .text_of(&group("one", "passes || asks", ""))
        .text_of(&group("two", "passes || traps", ""));
    write(&gateway, &in_two);
    let told = refused(&gateway, &["reload"]).await;
    assert!(told.contains("group `two`: "), "{told}");
    let listed = said(&gateway, &["list"]).await;
    assert!(
        listed.contains("a member of the group `one` already"),
        "{listed}"
    );
}

/// What a page shows in TOML, with the components where they were built.
fn shown(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```toml\n").skip(1);
    let block = |rest: &str| rest.split("```").next().unwrap().to_owned();
    blocks.map(block).collect()
}

fn in_place(text: &str) -> Manifest {
    let built = repository().join("plugins/dist");
    let text = text.replace("\"dist/", &format!("\"{}/", built.display()));
    Manifest::empty().text_of(&text)
}

#[tokio::test]
async fn the_examples_of_the_page_and_of_the_shipped_manifest_load() {
    let page: PathBuf = repository().join("docs/how-to/combine-policies.md");
    let whole = |text: &&String| text.contains("[[group]]") && text.contains("[[plugin]]");
    let pages = shown(&page);
    let manifests: Vec<_> = pages.iter().filter(whole).collect();
    assert_eq!(manifests.len(), 2);
    let shipped = std::fs::read_to_string(repository().join("plugins/manifest.toml")).unwrap();
    let blocks = shipped.split("\n\n").flat_map(|part| part.split("\n#\n"));
    let wanted = |part: &&str| {
        ["\"shell-guard\"", "\"egress-allowlist\"", "[[group]]"]
            .iter()
            .any(|word| part.contains(word))
    };
    let taken: Vec<String> = blocks
        .filter(wanted)
        .map(|part| {
            let lines = part.lines().filter(|line| line.contains(['=', '[']));
            let bare = lines.map(|line| line.trim_start_matches("# ").to_owned() + "\n");
            bare.collect()
        })
        .collect();
    assert_eq!(taken.len(), 3, "{taken:#?}");

    let gateway = start(&Manifest::empty().text_of("# none")).await;
    for text in manifests.into_iter().chain([&taken.concat()]) {
        becomes(&gateway, &in_place(text)).await;
        let status = gateway.get("/plugins").await;
        assert_eq!(status["groups"].as_array().unwrap().len(), 1, "{text}");
        assert_eq!(status["groups"][0]["state"], "active", "{status:#}");
    }
}
