//! Jobs as executions of Cloud Run: started once whatever happens, watched by any gateway, ended once.

use std::time::Duration;

use fake_google::{ExecutionState, Fault};
use gatehouse_tests::gateway::Builder;
use gatehouse_tests::{CloudRun, Gateway, Receiver, binary, eventually};
use serde_json::{Value, json};

fn on(service: &CloudRun) -> Builder {
    Gateway::with()
        .cloud_run(service)
        .env("GATEHOUSE__JOB__HEARTBEAT", "1s")
        .env("GATEHOUSE__JOB__LEASE", "2s")
        .env("GATEHOUSE__JOB__CANCEL_GRACE", "1s")
}

/// With the job deployed.
async fn gateway(service: &CloudRun, scenario: &str) -> Gateway {
    let gateway = on(service).scenario(scenario).start().await;
    service.deploy(&gateway, |_| ());
    gateway
}

async fn a_task(gateway: &Gateway, receiver: &Receiver) -> String {
    let more =
        json!({"maxTurns": 50, "callbackUrl": receiver.url, "permissionMode": "bypassPermissions"});
    gateway
        .run_async(&gateway.request_with("do it", more))
        .await
}

/// The record, after one report and with no process left behind.
async fn one_end(gateway: &Gateway, receiver: &Receiver, id: &str) -> Value {
    let record = gateway.ended(id).await;
    let report = receiver.delivery(1).await.json();
    assert_eq!(
        (&report["taskId"], &report["status"]),
        (&json!(id), &record["status"])
    );
    // Workspaces of jobs that are killed go with their containers.
    eventually("nothing of it runs", || async {
        let processes = gateway.processes();
        let gateways_only = processes.iter().all(|one| one.command.ends_with(" serve"));
        gateways_only.then_some(())
    })
    .await;
    assert_eq!(gateway.get(&format!("/tasks/{id}")).await, record);
    assert_eq!(receiver.deliveries().len(), 1);
    record
}

#[tokio::test]
async fn tasks_of_both_endpoints_run_as_executions() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = gateway(&service, "text-only").await;

    let (report, _) = gateway.ends(&gateway.request("hello")).await;
    assert_eq!(report["status"], "completed", "{report:#}");
    let id = a_task(&gateway, &receiver).await;
    let record = one_end(&gateway, &receiver, &id).await;

    assert_eq!(record["status"], "completed", "{record:#}");
    service.is_idle().await;
    assert_eq!(service.executions(), [ExecutionState::Succeeded; 2]);
    assert_eq!(service.starts(), 2);
    gateway.has_leaked_nothing();
}

#[tokio::test]
async fn a_cancelled_task_ends_its_execution_and_is_reported_with_130() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = gateway(&service, "loops-bash-sleep").await;
    let id = a_task(&gateway, &receiver).await;
    gateway.process_named("sleep 300").await;

    gateway.post(&format!("/cancel/{id}"), &json!({})).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(
        (&record["status"], &record["exitCode"]),
        (&json!("cancelled"), &json!(130))
    );
    service.is_idle().await;
    assert_eq!(service.google.count("run.cancel"), 0, "it ended by itself");
}

#[tokio::test]
async fn a_job_that_does_not_answer_a_cancel_has_its_execution_cancelled() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = gateway(&service, "loops-bash-sleep").await;
    let id = a_task(&gateway, &receiver).await;
    gateway.process_named("sleep 300").await;

    gateway.process_named("run-job").await.pause();
    gateway.post(&format!("/cancel/{id}"), &json!({})).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "cancelled", "{record:#}");
    service.is_idle().await;
    assert_eq!(service.executions(), [ExecutionState::Cancelled]);
}

#[tokio::test]
async fn whatever_google_answers_a_task_is_done_once() {
    let service = CloudRun::start().await;
    let gateway = gateway(&service, "text-only").await;
    let faults = [
        Fault::LostReply,
        Fault::Reset,
        Fault::Status(409),
        // As FAILED_PRECONDITION.
        Fault::Status(412),
        Fault::Status(429),
        Fault::Status(503),
        Fault::Status(500),
        Fault::BrokenStream(20),
    ];
    let mut done = 0;
    for fault in faults {
        for operation in ["run.run", "run.get", "run.list"] {
            let receiver = Receiver::start([]).await;
            service.google.nth(operation, 1, fault);
            if operation == "run.list" {
                service.google.nth("run.run", 1, Fault::LostReply);
            }
            let id = a_task(&gateway, &receiver).await;
            let record = one_end(&gateway, &receiver, &id).await;
            assert_eq!(
                record["status"], "completed",
                "{operation} {fault:?}: {record:#}"
            );
            service.google.heal();
            done += 1;
        }
    }
    // A second execution of a task, where the first could not be seen, does nothing.
    let conversations = gateway.model_requests();
    let tasks = conversations
        .iter()
        .filter(|request| gatehouse_tests::words_of(&request.body).contains("do it"))
        .count();
    assert_eq!(tasks, done);
}

#[tokio::test]
async fn a_job_that_is_killed_and_started_again_does_not_do_its_task_twice() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = on(&service).scenario("loops-bash-sleep").start().await;
    service.deploy(&gateway, |job| job.max_retries = 3);
    let id = a_task(&gateway, &receiver).await;
    gateway.process_named("sleep 300").await;

    gateway.process_named("run-job").await.kill();

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("lost")),
        "{record:#}"
    );
    let told = record["error"].as_str().unwrap();
    assert!(
        told.contains("is not done again"),
        "by the job, not by the gateway: {told}"
    );
    let begun = gateway.model_requests();
    let begun = begun.iter().filter(|request| {
        let words = gatehouse_tests::words_of(&request.body);
        !words.contains("A process in a session of its own.\nstarted")
    });
    assert_eq!(begun.count(), 1, "one agent was given the task");
}

#[tokio::test]
async fn commands_of_the_caller_are_not_run_twice_either() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = on(&service).start().await;
    service.deploy(&gateway, |job| job.max_retries = 3);
    let more = json!({"callbackUrl": receiver.url, "preExecutionCommands": ["sleep 299"]});
    let id = gateway.run_async(&gateway.request_with("wait", more)).await;
    gateway.process_named("sleep 299").await;

    gateway.process_named("run-job").await.kill();

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["reason"], "lost", "{record:#}");
}

#[tokio::test]
async fn a_job_that_died_before_it_began_is_started_again_by_the_platform() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = on(&service).start().await;
    service.deploy(&gateway, |job| {
        let script = format!(
            "[ $CLOUD_RUN_TASK_ATTEMPT = 0 ] && kill -9 $$; exec {} run-job",
            binary().display()
        );
        job.command = vec!["sh".to_owned(), "-c".to_owned(), script];
        job.max_retries = 1;
    });

    let id = a_task(&gateway, &receiver).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(service.starts(), 1);
}

#[tokio::test]
async fn an_execution_that_never_had_a_process_is_lost() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = on(&service).start().await;
    service.deploy(&gateway, |job| job.image_missing = true);

    let id = a_task(&gateway, &receiver).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("lost")),
    );
    assert!(
        gateway
            .log()
            .contains("Image 'registry.invalid/gatehouse' not found.")
    );
}

/// A minute of the task's own; a quarter of an hour in which it would be ended otherwise; an hour for actions.
const A_HUNG_JOBS_SECONDS: u32 = (1 + 15 + 60) * 60;

/// A task of one minute's time whose job the platform ends, since nobody else does.
async fn is_ended_by_the_platform(
    gateway: &Gateway,
    service: &CloudRun,
    hangs: impl AsyncFnOnce(),
) {
    let receiver = Receiver::start([]).await;
    let more = json!({
        "timeoutMinutes": 1, "callbackUrl": receiver.url, "permissionMode": "bypassPermissions",
    });
    let id = gateway.run_async(&gateway.request_with("hang", more)).await;
    hangs().await;

    let record = one_end(gateway, &receiver, &id).await;

    assert_eq!(
        (&record["status"], &record["reason"]),
        (&json!("failed"), &json!("lost")),
        "{record:#}"
    );
    service.is_idle().await;
    assert_eq!(service.executions(), [ExecutionState::Failed]);
    assert_eq!(service.google.count("run.cancel"), 0);
    let requests = service.google.requests();
    let run = requests.iter().find(|one| one.operation == "run.run");
    let run: Value = serde_json::from_slice(&run.unwrap().body).unwrap();
    let time = format!("{A_HUNG_JOBS_SECONDS}s");
    assert_eq!(run["overrides"]["timeout"], time, "{run:#}");
}

#[tokio::test]
async fn a_job_that_stands_still_is_ended_by_the_platform_when_its_tasks_time_is_long_over() {
    let service = CloudRun::start().await;
    let gateway = on(&service).scenario("loops-bash-sleep").start().await;
    // Long enough to begin.
    service.deploy(&gateway, |job| job.haste = A_HUNG_JOBS_SECONDS / 15);
    let hangs = async || {
        gateway.process_named("sleep 300").await;
        gateway.process_named("run-job").await.pause();
    };
    is_ended_by_the_platform(&gateway, &service, hangs).await;
}

#[tokio::test]
async fn a_job_that_ignores_its_time_and_the_signal_is_ended_by_the_platform() {
    let service = CloudRun::start().await;
    let gateway = on(&service).start().await;
    service.deploy(&gateway, |job| {
        let script = "trap '' TERM; while :; do sleep 1; done";
        job.command = ["sh", "-c", script].map(str::to_owned).to_vec();
        job.haste = A_HUNG_JOBS_SECONDS;
    });
    is_ended_by_the_platform(&gateway, &service, async || ()).await;
}

#[tokio::test]
async fn a_job_that_is_not_deployed_fails_its_task_and_tells_the_operator_what_to_do() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = on(&service).start().await;

    let id = a_task(&gateway, &receiver).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["reason"], "internal", "{record:#}");
    let told = record["error"].as_str().unwrap();
    assert!(
        told.contains("not deployed") && !told.contains("projects/"),
        "{told}"
    );
    assert!(gateway.log().contains("deploy the job first"));
    assert_eq!(service.starts(), 1);
}

#[tokio::test]
async fn a_used_up_quota_keeps_tasks_waiting_and_they_can_be_cancelled() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let gateway = gateway(&service, "text-only").await;
    service.google.every("run.run", 1, Fault::Status(429));
    let id = a_task(&gateway, &receiver).await;
    eventually("it waits again", || async {
        let record = gateway.get(&format!("/tasks/{id}")).await;
        (service.starts() >= 8 && record["phase"] == "queued").then_some(())
    })
    .await;

    gateway.post(&format!("/cancel/{id}"), &json!({})).await;

    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "cancelled", "{record:#}");
}

#[tokio::test]
async fn a_gateway_that_is_killed_before_it_knows_its_job_finds_it_again() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let mut gateway = on(&service).start().await;
    service.deploy(&gateway, |job| {
        // Longer than a lease, so that nothing but the execution tells of it.
        let script = format!("sleep 8; exec {} run-job", binary().display());
        job.command = vec!["sh".to_owned(), "-c".to_owned(), script];
    });
    service.google.nth("run.run", 1, Fault::LostReply);
    service
        .google
        .nth("run.list", 1, Fault::Delay(Duration::from_secs(60)));
    let id = a_task(&gateway, &receiver).await;
    eventually("it looks for its job", || async {
        (service.google.count("run.list") > 0).then_some(())
    })
    .await;

    gateway.kill().await;
    service.google.heal();
    gateway.start_again().await;

    let status = eventually("it knows its job", || async {
        let status = gateway.get("/tasks/status").await;
        let name = status["tasks"][0]["executionName"].as_str()?.to_owned();
        name.starts_with("projects/").then_some(name)
    })
    .await;
    assert_eq!(status, service.google.executions()[0].0);
    let record = one_end(&gateway, &receiver, &id).await;
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(service.starts(), 1);
}

#[tokio::test]
async fn two_gateways_bring_each_task_to_one_end() {
    let service = CloudRun::start().await;
    let mut gateway = gateway(&service, "text-only").await;
    let (_twin, other) = gateway.twin().await;
    let urls = [gateway.url.clone(), other];
    let mut tasks = Vec::new();
    for number in 0..6 {
        let receiver = Receiver::start([]).await;
        gateway.url.clone_from(&urls[number % 2]);
        tasks.push((a_task(&gateway, &receiver).await, receiver));
    }

    let key = gateway.admin_key();
    let looks = (0..6).map(|number| look(&urls[number % 2], &key));
    for report in futures::future::join_all(looks).await {
        assert_eq!(report["failed"], 0, "{report}");
    }

    for (id, receiver) in tasks {
        let record = one_end(&gateway, &receiver, &id).await;
        assert_eq!(record["status"], "completed", "{record:#}");
    }
    assert_eq!(service.starts(), 6);
}

async fn look(url: &str, key: &str) -> Value {
    let request = reqwest::Client::new().post(format!("{url}/internal/reconcile"));
    let answer = request.bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

#[tokio::test]
async fn one_look_on_demand_ends_what_another_gateway_left() {
    let (service, receiver) = (CloudRun::start().await, Receiver::start([]).await);
    let mut gateway = gateway(&service, "loops-bash-sleep").await;
    let (mut twin, other) = gateway.twin().await;
    let here = std::mem::replace(&mut gateway.url, other);
    let id = a_task(&gateway, &receiver).await;
    gateway.process_named("sleep 300").await;
    gateway.url = here;
    let refused = gateway.post("/internal/reconcile", &json!({})).await;
    assert_eq!(refused.status(), 403);
    let looked = look(&gateway.url, &gateway.admin_key()).await;
    assert_eq!(
        (&looked["looked"], &looked["ended"]),
        (&json!(1), &json!(0)),
        "{looked}"
    );

    twin.kill().await.unwrap();
    gateway.process_named("run-job").await.kill();
    service.is_idle().await;
    look(&gateway.url, &gateway.admin_key()).await;

    // Not later: the look itself did it, if nobody had before.
    let record = gateway.get(&format!("/tasks/{id}")).await;
    assert_eq!(record["reason"], "lost", "{record:#}");
    one_end(&gateway, &receiver, &id).await;
    let looked = look(&gateway.url, &gateway.admin_key()).await;
    assert_eq!(
        looked,
        json!({"looked": 0, "ended": 0, "adopted": 0, "failed": 0})
    );
}

#[tokio::test]
async fn tasks_of_another_gateway_are_in_nobodys_share_at_the_one_that_watches_over_them() {
    let service = CloudRun::start().await;
    let mut gateway = on(&service)
        .scenario("hang")
        .env("GATEHOUSE__AUTH__LIMITS__UNFINISHED_PER_CALLER", "1")
        .env("MAX_CONCURRENT_TASKS", "1")
        .env("GATEHOUSE__QUEUE__MAX_WAITING", "0")
        .start()
        .await;
    service.deploy(&gateway, |_| ());
    // The first one looks for tasks that nobody watches.
    let (_twin, other) = gateway.twin().await;
    let here = std::mem::replace(&mut gateway.url, other);
    let receiver = Receiver::start([]).await;
    let theirs = a_task(&gateway, &receiver).await;

    gateway.url = here;
    eventually("the first gateway watches it too", || async {
        let status = gateway.get("/tasks/status").await;
        (status["tasks"][0]["taskId"] == theirs.as_str()).then_some(())
    })
    .await;
    let ours = a_task(&gateway, &receiver).await;

    let request = gateway.request_with("more", json!({"callbackUrl": receiver.url}));
    let refused = gateway.post("/run-async", &request).await;
    assert_eq!(refused.status(), 429);
    let health = gateway.get("/health?verbose=true").await;
    assert_eq!(health["queue"]["running"], 1, "{health:#}");
    for id in [theirs, ours] {
        gateway.post(&format!("/cancel/{id}"), &json!({})).await;
        gateway.ended(&id).await;
    }
}
