//! The image as it is run: its gateway and its jobs in containers that can write one volume and nothing else.
//! `scripts/check-image.sh` builds it, and has these tests start it in place of the binary.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use gatehouse_tests::gateway::Builder;
use gatehouse_tests::{CloudRun, Event, Gateway, Receiver, eventually};
use serde_json::{Value, json};
use tokio::process::Command;

/// A gateway of the image whose directory this variable names; its agent runs these commands.
fn image(variable: &str, commands: &[&str]) -> Builder {
    let image = std::env::var(variable).expect("started by scripts/check-image.sh");
    let turns = commands.iter().map(|command| {
        json!({"text": "A command.", "tools": [{"name": "Bash", "input": {"command": command}}]})
    });
    let turns: Vec<Value> = turns.chain([json!({"text": "Done."})]).collect();
    Gateway::with()
        .on_an_empty_disk()
        .env("GATEHOUSE_IMAGE", &image)
        .turns(json!(turns))
}

fn request(gateway: &Gateway, more: Value) -> Value {
    let mut request = gateway.request_with("work", more);
    request["permissionMode"] = "bypassPermissions".into();
    request
}

/// A task of `/run` to its end, after which none of its processes is left in the container.
async fn ends(gateway: &Gateway, request: &Value) -> (Value, Vec<Event>) {
    let events = gateway.run(request).await.rest().await;
    eventually("only the gateway is left", || async {
        let left = gateway.processes().into_iter();
        let mut others = left.filter(|process| !process.command.contains("gatehouse serve"));
        others.next().is_none().then_some(())
    })
    .await;
    (events.last().expect("an end").json(), events)
}

fn text(events: &[Event]) -> String {
    events.iter().map(|event| event.data.as_str()).collect()
}

/// Of the gateway itself.
fn user_of_the_gateway(gateway: &Gateway) -> String {
    let processes = gateway.processes();
    let mut processes = processes.iter();
    let found = processes.find(|process| process.command.starts_with("gatehouse serve"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", found.expect("it runs").pid));
    let status = status.expect("it runs");
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
    ids.expect("a line of ids").to_owned()
}

/// What the agent can do to the image, and what it finds there.
async fn looks_around(gateway: &Gateway) {
    let (report, events) = ends(gateway, &request(gateway, json!({}))).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    let text = text(&events);
    for (said, is) in [
        ("I am claudeuser of claudeuser", true),
        ("all tools", true),
        ("could write own", true),
        ("could write other", false),
        ("could read own", true),
        ("could read other", false),
    ] {
        assert_eq!(text.contains(said), is, "{said}: {text}");
    }
    let task = format!("/tasks/{}", report["taskId"].as_str().unwrap());
    assert_eq!(gateway.get(&task).await["isolation"]["level"], "uid");
    gateway.has_leaked_nothing();
}

/// The commands hold none of the words that they may print.
const AROUND: [&str; 4] = [
    "echo I am $(id --user --name) of $(id --groups --name)",
    "git --version && git lfs version && rg --version && ssh -V && curl --version && printf 'all %s' tools",
    "for place in own:$HOME/x other:/usr/local/bin/gatehouse other:/usr/local/bin/x other:/opt/gatehouse/plugins/manifest.toml \
     other:/opt/gatehouse/compiled/x other:/etc/passwd other:/var/lib/gatehouse/x other:/root/x; do \
     (: >>${place#*:}) 2>/dev/null && printf 'could write %s\\n' $place; done; true",
    "for place in own:/proc/self/environ other:/proc/1/environ $(printf 'other:/proc/%s/environ ' $(pgrep gatehouse)) \
     other:/var/lib/gatehouse/keys/local.key other:/var/lib/gatehouse/keys/admin.key other:/etc/shadow; do \
     cat ${place#*:} >/dev/null 2>&1 && printf 'could read %s\\n' $place; done; true",
];

#[tokio::test]
#[ignore = "started by scripts/check-image.sh"]
async fn an_agent_is_claudeuser_finds_its_tools_and_can_neither_change_nor_read_what_is_not_its_own()
 {
    looks_around(&image("GATEHOUSE_IMAGE", &AROUND).start().await).await;
}

#[tokio::test]
#[ignore = "started by scripts/check-image.sh"]
async fn nor_can_it_where_the_root_can_be_written() {
    let gateway = image("GATEHOUSE_IMAGE", &AROUND).env("IMAGE_ROOT_WRITABLE", "true");
    looks_around(&gateway.start().await).await;
}

#[tokio::test]
#[ignore = "started by scripts/check-image.sh"]
async fn no_plugin_is_compiled_when_it_starts_and_its_health_check_holds_until_it_ends() {
    let mut gateway = image("GATEHOUSE_IMAGE", &[]).start().await;

    let plugins = gateway.get("/plugins").await;
    let report = ends(&gateway, &request(&gateway, json!({}))).await.0;

    assert_eq!(
        plugins["plugins"].as_array().unwrap().len(),
        5,
        "{plugins:#}"
    );
    assert_eq!(report["status"], "completed", "{report:#}");
    // Of the gateway, and of the job.
    let logs = std::fs::read_dir(gateway.data().with_file_name("job-logs")).unwrap();
    let mut logs: Vec<String> = logs
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(logs.len(), 1);
    logs.push(gateway.log());
    assert!(!logs.concat().contains("compiled a component"), "{logs:#?}");
    assert!(health_check(&gateway).await);
    gateway.stop().await;
    assert!(!health_check(&gateway).await);
}

/// What an engine asks from time to time, asked from here.
async fn health_check(gateway: &Gateway) -> bool {
    let image = std::env::var("GATEHOUSE_IMAGE").unwrap();
    let said = std::fs::read(format!("{image}/image.json")).unwrap();
    let said: Value = serde_json::from_slice(&said).unwrap();
    let mut check = Command::new("sh");
    check.args(["-c", said["Healthcheck"]["Test"][1].as_str().unwrap()]);
    let port = gateway.url.rsplit(':').next().unwrap();
    check.env("PORT", port).status().await.unwrap().success()
}

#[tokio::test]
#[ignore = "started by scripts/check-image.sh"]
async fn on_cloud_run_the_gateway_is_serveruser_and_each_job_a_container_of_the_same_image() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = image("GATEHOUSE_IMAGE", &["echo I am $(id --user --name)"]);
    let mut gateway = gateway.cloud(&service).start().await;
    service.deploy(&gateway, |_| ());

    let request = request(&gateway, json!({"callbackUrl": receiver.url}));
    let id = gateway.run_async(&request).await;

    assert_eq!(user_of_the_gateway(&gateway), "1001\t1001\t1001\t1001");
    let report = receiver.delivery(1).await.json();
    assert_eq!(report["status"], "completed", "{report:#}");
    let events = gateway.events(&id, 0).await.rest().await;
    assert!(text(&events).contains("I am claudeuser"), "{events:#?}");
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["isolation"]["level"], "uid", "{record:#}");
    let health = gateway.get("/health?verbose=true").await;
    assert_eq!(health["isolation"]["level"], Value::Null, "{health:#}");
    assert_eq!(health["keys"], "cloud-kms");
    service.is_idle().await;
    assert!(gateway.stop().await.success());
    gateway.has_leaked_nothing();
}

#[tokio::test]
#[ignore = "started by scripts/check-image.sh"]
async fn the_image_with_a_browser_shows_an_agent_a_page() {
    let page = Router::new().route("/", get(async || Html("<h1>Out of order</h1>")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, page).await });
    let url = format!("http://{address}/");
    let words = "() => document.body.innerText";
    let visit = json!([
        {"text": "A page.", "tools": [{"name": "mcp__browser__browser_navigate", "input": {"url": url}}]},
        {"text": "Its words.", "tools": [{"name": "mcp__browser__browser_evaluate", "input": {"function": words}}]},
        {"text": "I read them."},
    ]);
    let gateway = image("GATEHOUSE_IMAGE_WITH_BROWSER", &[])
        .turns(visit)
        .start()
        .await;

    let servers = json!({"mcpServers": {"browser": {"command": "playwright-mcp"}}});
    let more = json!({"mcpConfig": servers, "requiredMcpServers": ["browser"]});
    let (report, events) = ends(&gateway, &request(&gateway, more)).await;

    assert_eq!(report["status"], "completed", "{report:#}");
    assert!(text(&events).contains("Out of order"), "{events:#?}");
}
