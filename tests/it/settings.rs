//! Configuration, the doctor, and the order in which things fail.

use std::process::{Command, Output};

use gatehouse_tests::{binary, gateway::cli, repository};

fn gatehouse(arguments: &[&str], environment: &[(&str, &str)]) -> (Output, tempfile::TempDir) {
    let data = tempfile::tempdir().unwrap();
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(data.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GATEHOUSE_DATA_DIR", data.path().join("data"))
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    (output, data)
}

#[test]
fn every_mistake_is_listed_at_once_before_a_port_is_bound() {
    let (output, data) = gatehouse(
        &["serve"],
        &[
            ("PORT", "eighty"),
            ("MAX_CONCURRENT_TASKS", "0"),
            ("GATEHOUSE__AGENT__IDEL_TIMEOUT", "5m"),
            ("GATEHOUSE__BROKER__MAX_BODY", "32 parsecs"),
            ("PERMISSION_MODE", "yolo"),
            ("GATEHOUSE_ADMIN_KEY", "a-secret-that-is-not-repeated"),
        ],
    );

    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    for expected in [
        "PORT",
        "MAX_CONCURRENT_TASKS",
        "IDLE_TIMEOUT",
        "max_body",
        "PERMISSION_MODE",
    ] {
        assert!(said.contains(expected), "{expected} is missing in:\n{said}");
    }
    assert!(!said.contains("a-secret-that-is-not-repeated"));
    assert!(
        !data.path().join("data").exists(),
        "nothing was started or stored"
    );
}

#[test]
fn config_shows_what_is_in_force_and_from_where_and_hides_secrets() {
    let (output, _data) = gatehouse(
        &["config", "--set", "queue.max_waiting=7"],
        &[
            ("LOG_LEVEL", "debug"),
            ("CLOUDRUN_CALLBACK_SECRET", "whsec-that-is-not-shown"),
        ],
    );

    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let shown = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| {
        shown
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_else(|| panic!("{key}\n{shown}"))
    };
    assert!(line("queue.max_waiting").contains('7'));
    assert!(line("log.level").contains("LOG_LEVEL"));
    assert!(line("webhook.secret").contains("CLOUDRUN_CALLBACK_SECRET"));
    assert!(!shown.contains("whsec-that-is-not-shown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_passes_on_a_machine_that_is_set_up_and_says_what_is_missing_on_one_that_is_not()
{
    let manifest = repository().join("plugins/manifest.toml");
    let model = scripted_model::ScriptedModel::start(scripted_model::Scenarios::default())
        .await
        .unwrap();
    let upstream = model.url();
    let cli = cli();
    let set_up = [
        ("GATEHOUSE_CLAUDE_BIN", cli.to_str().unwrap()),
        ("GATEHOUSE_PLUGINS", manifest.to_str().unwrap()),
        ("GATEHOUSE_ANTHROPIC_URL", upstream.as_str()),
        ("GATEHOUSE_LISTEN", "127.0.0.1:0"),
    ];
    let (output, _data) = gatehouse(&["doctor"], &set_up);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("2.1.330"), "{said}");
    assert!(said.contains("git-lfs/"), "{said}");

    let (output, _data) = gatehouse(
        &["doctor"],
        &[
            ("GATEHOUSE_CLAUDE_BIN", "/nonexistent/claude"),
            ("GATEHOUSE_LISTEN", "127.0.0.1:0"),
        ],
    );
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("scripts/install-cli.sh"),
        "it says what to do: {said}"
    );
}

#[test]
fn an_isolation_minimum_that_cannot_be_met_stops_the_start() {
    if !nix::unistd::Uid::effective().is_root() {
        let (output, _data) = gatehouse(
            &["serve"],
            &[
                ("GATEHOUSE__ISOLATION__MINIMUM", "uid"),
                ("GATEHOUSE_LISTEN", "127.0.0.1:0"),
            ],
        );
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("isolation"));
        return;
    }
    // As root the same is tried by a user who may not change uid.
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(
        data.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(binary())
        .arg("serve")
        .env("GATEHOUSE_DATA_DIR", data.path().join("data"))
        .env("GATEHOUSE__ISOLATION__MINIMUM", "uid")
        .env("GATEHOUSE_LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("isolation"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_system_prompt_that_cannot_be_read_is_told_at_the_start_and_by_the_doctor() {
    for command in ["serve", "doctor"] {
        let (output, _data) = gatehouse(
            &[command],
            &[
                (
                    "GATEHOUSE__TASK__SYSTEM_PROMPT_FILE",
                    "/nonexistent/prompt.md",
                ),
                ("GATEHOUSE_LISTEN", "127.0.0.1:0"),
            ],
        );
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("/nonexistent/prompt.md"), "{command}: {said}");
    }
}
