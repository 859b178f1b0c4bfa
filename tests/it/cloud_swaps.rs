//! Two gateways on one bucket of Cloud Storage whose operators change the plugins at once: each change stands
//! once or is refused, both gateways end with the same set, and none undoes what the other did.

use std::collections::BTreeMap;

use fake_google::{FakeGoogle, Fault};
use gatehouse_tests::manifest::{Manifest, guest, shipped};
use gatehouse_tests::{BUCKET, Gateway, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Child;

const ROUNDS: usize = 20;

/// The plugins, each for one of the operators.
const PLUGINS: [&str; 2] = ["tool-rules", "denies-all"];

/// Two gateways and their operator.
struct World {
    google: FakeGoogle,
    gateway: Gateway,
    urls: [String; 2],
    _twin: Child,
    client: reqwest::Client,
    /// Answers that said that something was changed.
    made: Vec<Value>,
}

impl World {
    async fn start() -> Self {
        let google = FakeGoogle::start().await.expect("a free port");
        let manifest = Manifest::empty()
            .plugin("tool-rules", "tool-permission", shipped("tool-rules"), "")
            .plugin("denies-all", "tool-permission", guest("denies-all"), "");
        let gateway = Gateway::with()
            .plugins(&manifest)
            .storage(&google)
            .start()
            .await;
        let (twin, other) = gateway.twin().await;
        Self {
            urls: [gateway.url.clone(), other],
            google,
            gateway,
            _twin: twin,
            client: reqwest::Client::new(),
            made: Vec::new(),
        }
    }

    /// Asks one of them for a change of the set `seen`, or of whatever is active.
    async fn ask(&self, at: usize, change: &Change, seen: Option<&str>) -> (u16, Value) {
        let (method, path, body) = change;
        let request = self
            .client
            .request(method.clone(), format!("{}{path}", self.urls[at]))
            .bearer_auth(self.gateway.admin_key());
        let request = match seen {
            Some(seen) => request.header("if-match", format!("\"{seen}\"")),
            None => request,
        };
        let answer = request.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// Asks until it is taken, as an operator does who is told that somebody else was first, or that the
    /// storage failed. Null where there is nothing to do, because of what somebody else did.
    async fn insist(&self, at: usize, change: &Change) -> Value {
        loop {
            match self.ask(at, change, None).await {
                (200, answer) => return answer,
                (404 | 422, _) => return Value::Null,
                (409 | 503, _) => {}
                (status, answer) => panic!("{status}: {answer}"),
            }
        }
    }

    fn note(&mut self, answer: Value) {
        if answer["changed"] == true {
            self.made.push(answer["change"].clone());
        }
    }

    async fn get(&self, at: usize, path: &str) -> Value {
        let answer = self.client.get(format!("{}{path}", self.urls[at]));
        answer.send().await.unwrap().json().await.unwrap()
    }

    /// What both show, once it is the same.
    async fn agreed(&self) -> Value {
        eventually("both have the same set", || async {
            let facts = |status: &Value| {
                let plugins = status["plugins"].as_array().unwrap().iter();
                let modes = plugins.map(|plugin| (plugin["name"].clone(), plugin["mode"].clone()));
                let trial = &status["trial"];
                json!([
                    status["revision"],
                    trial["revision"],
                    trial["share"],
                    modes.collect::<Vec<_>>()
                ])
            };
            let both = [self.get(0, "/plugins").await, self.get(1, "/plugins").await];
            (facts(&both[0]) == facts(&both[1])).then_some(both[0].clone())
        })
        .await
    }

    /// The modes in a set, as the bucket has it.
    fn modes_of(&self, revision: &str) -> [String; 2] {
        let set = self
            .google
            .object(BUCKET, &format!("plugins/sets/{revision}.json"));
        let set: Value = serde_json::from_slice(&set.expect("it is kept")).unwrap();
        PLUGINS.map(|plugin| mode_of(&set, plugin))
    }

    /// The same at both, each change once, every change that was answered, each following the one before.
    async fn history_is_whole(&self) {
        let history = self.get(0, "/plugins/history").await;
        assert_eq!(history, self.get(1, "/plugins/history").await);
        let changes = history["changes"].as_array().unwrap();
        let told: BTreeMap<u64, &Value> = changes
            .iter()
            .map(|change| (change["number"].as_u64().unwrap(), change))
            .collect();
        let mut made = self.made.clone();
        made.sort_by_key(|change| change["number"].as_u64());
        let first = told.get(&1).unwrap_or_else(|| panic!("{history:#}"));
        let first = (*first).clone();
        assert_eq!(first["by"], "start");
        let expected: Vec<&Value> = std::iter::once(&first).chain(&made).collect();
        assert_eq!(told.into_values().collect::<Vec<_>>(), expected);
        for pair in changes.windows(2) {
            let (later, earlier) = (&pair[0], &pair[1]);
            assert!(
                later["from"] == earlier["revision"] || later["revision"] == earlier["revision"],
                "{pair:#?}"
            );
        }
    }
}

type Change = (Method, String, Value);

/// Another mode for one of the plugins than it has.
fn next_mode(modes: &[String; 2], one: usize) -> Change {
    let next = match &*modes[one] {
        "enforce" => "monitor",
        "monitor" => "off",
        _ => "enforce",
    };
    mode(PLUGINS[one], next)
}

fn mode(plugin: &str, mode: &str) -> Change {
    let path = format!("/plugins/{plugin}");
    (Method::PATCH, path, json!({ "mode": mode }))
}

fn post(verb: &str, body: Value) -> Change {
    (Method::POST, format!("/plugins/{verb}"), body)
}

fn mode_of(status: &Value, plugin: &str) -> String {
    let mut plugins = status["plugins"].as_array().unwrap().iter();
    let plugin = plugins
        .find(|one| one["name"] == plugin)
        .expect("it is active");
    plugin["mode"].as_str().unwrap_or("enforce").to_owned()
}

#[tokio::test]
async fn of_two_who_change_the_same_set_exactly_one_wins_each_time() {
    let mut world = World::start().await;
    let started = world.agreed().await;
    let mut seen = started["revision"].as_str().unwrap().to_owned();
    for round in 0..ROUNDS {
        // Each leads to another set than the one that is active, which one of them may not know of yet.
        let modes = world.modes_of(&seen);
        let changes = match round % 4 {
            3 => [post("rollback", json!({})), next_mode(&modes, 1)],
            _ => [next_mode(&modes, 0), next_mode(&modes, 1)],
        };

        let (one, other) = tokio::join!(
            world.ask(0, &changes[0], Some(&seen)),
            world.ask(1, &changes[1], Some(&seen)),
        );

        let (won, lost) = if one.0 == 200 {
            (one, other)
        } else {
            (other, one)
        };
        assert_eq!(
            (won.0, lost.0),
            (200, 409),
            "round {round}: {won:?} {lost:?}"
        );
        assert_eq!(lost.1["code"], "plugins-changed", "{lost:?}");
        won.1["revision"].as_str().unwrap().clone_into(&mut seen);
        world.note(won.1);
    }
    world.agreed().await;
    assert_eq!(world.made.len(), ROUNDS);
    world.history_is_whole().await;
}

#[tokio::test]
async fn neither_undoes_what_the_other_changed_whatever_the_storage_answers() {
    let mut world = World::start().await;
    world.google.every("storage.insert", 5, Fault::LostReply);
    world.google.every("storage.", 11, Fault::Status(503));
    world.google.every("storage.", 13, Fault::Reset);
    let modes = ["monitor", "off", "enforce"];
    for round in 0..ROUNDS {
        let changes = [0, 1].map(|one| mode(PLUGINS[one], modes[(round + one) % 3]));

        let (one, other) = tokio::join!(world.insist(0, &changes[0]), world.insist(1, &changes[1]));

        world.note(one);
        world.note(other);
    }
    let status = world.agreed().await;
    for (one, plugin) in PLUGINS.iter().enumerate() {
        let last = modes[(ROUNDS - 1 + one) % 3];
        assert_eq!(mode_of(&status, plugin), last, "{status:#}");
    }
    assert!(world.google.injected() > 10, "{}", world.google.injected());
    world.google.heal();
    assert_eq!(world.made.len(), 2 * ROUNDS);
    world.history_is_whole().await;
}

#[tokio::test]
async fn trials_modes_and_reloads_at_once_leave_both_gateways_with_the_same() {
    let mut world = World::start().await;
    let first = world.agreed().await["revision"]
        .as_str()
        .unwrap()
        .to_owned();
    for round in 0..ROUNDS {
        let trial = post("trial", json!({"revision": first, "share": 1 + round}));
        let verbs = [
            [mode(PLUGINS[0], "monitor"), mode(PLUGINS[1], "monitor")],
            [trial.clone(), mode(PLUGINS[1], "off")],
            [trial, post("rollback", json!({}))],
            [post("promote", json!({})), mode(PLUGINS[0], "off")],
            [post("reload", json!({})), post("reload", json!({}))],
        ];
        let [one, other] = &verbs[round % verbs.len()];

        let (one, other) = tokio::join!(world.insist(0, one), world.insist(1, other));

        if round % verbs.len() == 4 {
            assert!(
                one["changed"] != true || other["changed"] != true,
                "{one} {other}"
            );
            assert_eq!(
                (&one["revision"], &other["revision"]),
                (&json!(first), &json!(first))
            );
        }
        world.note(one);
        world.note(other);
    }
    world.agreed().await;
    world.history_is_whole().await;
}
