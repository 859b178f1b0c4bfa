#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::time::Duration;

use secrecy::ExposeSecret;

use super::super::merge::DEFAULTS;
use super::super::variables::NAMED;
use super::super::{LogFormat, PrivateAddresses, job_environment};
use super::*;

fn environment(pairs: &[(&str, &str)]) -> Sources {
    let environment = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Sources {
        environment,
        ..Sources::default()
    }
}

fn mistakes(sources: &Sources) -> Vec<String> {
    load(sources).unwrap_err().0
}

fn file(content: &str) -> (tempfile::TempDir, Sources) {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("gatehouse.toml");
    std::fs::write(&path, content).unwrap();
    (
        scratch,
        Sources {
            file: Some(path),
            ..Sources::default()
        },
    )
}

#[test]
fn without_any_source_everything_is_embedded_and_on_loopback() {
    let config = load(&Sources::default()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert!(config.data_dir.is_absolute() && config.data_dir.ends_with(".gatehouse"));
    assert_eq!(
        config.envelope.local_key,
        config.data_dir.join("keys/local.key")
    );
    assert!(config.plugins.manifest.ends_with("plugins/manifest.toml"));
    assert_eq!(
        config.outbound.private_addresses,
        PrivateAddresses::Loopback
    );
    assert_eq!(
        (config.task.max_turns, config.task.timeout_minutes),
        (6, 55)
    );
    assert_eq!(config.server.body_limit, 2 << 20);
    assert_eq!(config.webhook.retry.len(), 10);
    assert_eq!(config.isolation.minimum, crate::isolation::Level::None);
    assert!(config.storage.logs_bucket.is_none() && config.agent.claude_bin.is_none());
}

#[test]
fn flags_go_over_the_environment_over_the_file_over_the_defaults() {
    let (_scratch, mut sources) = file(
        "[queue]\nmax_waiting = 1\nmax_concurrent = 1\n[task]\nmax_turns = 1\nmodel = 'opus'\n",
    );
    sources.environment = environment(&[
        ("MAX_CONCURRENT_TASKS", "2"),
        ("GATEHOUSE__TASK__MAX_TURNS", "2"),
        ("GATEHOUSE__SERVER__BODY_LIMIT", "1MiB"),
        ("GATEHOUSE__WEBHOOK__RETRY", "0s, 5s"),
        ("GATEHOUSE__OUTBOUND__ALLOW_HTTP", "false"),
    ])
    .environment;
    sources.flags.insert("task.max_turns".into(), "3".into());
    let config = load(&sources).unwrap();
    assert_eq!(
        (
            config.queue.max_waiting,
            config.queue.max_concurrent,
            config.task.max_turns
        ),
        (1, 2, 3)
    );
    assert_eq!(config.task.model.as_deref(), Some("opus"));
    assert_eq!(config.server.body_limit, 1 << 20);
    assert_eq!(
        config.webhook.retry,
        [Duration::ZERO, Duration::from_secs(5)]
    );
    assert!(!config.outbound.allow_http);
    let origin = |key: &str| config.origins[key].to_string();
    assert_eq!(
        origin("queue.max_waiting"),
        format!("file {}", sources.file.as_ref().unwrap().display())
    );
    assert_eq!(
        origin("queue.max_concurrent"),
        "environment MAX_CONCURRENT_TASKS"
    );
    assert_eq!(origin("task.max_turns"), "command line");
    assert_eq!(origin("task.timeout_minutes"), "default");
    assert_eq!(origin("outbound.private_addresses"), "derived: embedded");
    assert_eq!(config.origins.len(), defaults().unwrap().len());
}

#[test]
fn the_named_variables_of_the_node_service_keep_their_meaning() {
    let config = load(&environment(&[
        ("PORT", "9001"),
        ("ALLOWED_TOOLS", "Read,Bash(npm run test:*)"),
        ("PERMISSION_MODE", "acceptEdits"),
        ("LOG_LEVEL", "debug"),
        ("LOG_LEVEL_CLAUDE_RUNNER", "error"),
        ("CLOUDRUN_CALLBACK_SECRET", "whsec-1,whsec-2"),
        ("GCS_PROJECT_ID", "storage-project"),
        ("PROJECT_ID", "project"),
        ("KMS_LOCATION", "x"),
        ("REGION", "y"),
        ("CLOUDRUN_JOB_NAME", "z"),
        ("GCS_LOGS_BUCKET", ""),
    ]))
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:9001");
    assert_eq!(config.task.allowed_tools, ["Read", "Bash(npm run test:*)"]);
    assert_eq!(config.task.permission_mode.as_str(), "acceptEdits");
    assert_eq!(config.log.level, "debug,gatehouse::agent=error");
    let google = &config.google;
    assert_eq!(
        (
            &*google.project_id,
            &*google.kms_location,
            &*google.region,
            &*google.job_name
        ),
        ("project", "x", "y", "z")
    );
    assert_eq!(
        config.origins["log.level"].to_string(),
        "environment LOG_LEVEL, LOG_LEVEL_CLAUDE_RUNNER"
    );
    let secrets: Vec<_> = config
        .webhook
        .secret
        .iter()
        .map(|secret| secret.expose_secret())
        .collect();
    assert_eq!(secrets, ["whsec-1", "whsec-2"]);
}

#[test]
fn a_host_alone_leaves_the_port_to_others() {
    for (listen, port, expected) in [
        ("0.0.0.0", Some("81"), "0.0.0.0:81"),
        (" :: ", Some("81"), "[::]:81"),
        ("0.0.0.0", None, "0.0.0.0:8080"),
    ] {
        let mut variables = vec![("GATEHOUSE_LISTEN", listen)];
        variables.extend(port.map(|port| ("PORT", port)));
        let config = load(&environment(&variables)).unwrap();
        assert_eq!(config.server.listen.to_string(), expected);
    }
}

#[test]
fn on_cloud_run_it_listens_to_everybody_unless_told_where() {
    let config = load(&environment(&[("K_SERVICE", "gatehouse"), ("PORT", "80")])).unwrap();
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    let config = load(&environment(&[
        ("K_SERVICE", "g"),
        ("PORT", "80"),
        ("GATEHOUSE_LISTEN", "[::1]:1"),
    ]))
    .unwrap();
    assert_eq!(config.server.listen.to_string(), "[::1]:1");
}

#[test]
fn the_file_may_be_named_by_the_environment() {
    let (_scratch, sources) = file("[log]\nformat = 'json'\n");
    let path = sources.file.unwrap();
    let config = load(&environment(&[(
        "GATEHOUSE_CONFIG",
        path.to_str().unwrap(),
    )]))
    .unwrap();
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(
        mistakes(&environment(&[("GATEHOUSE_CONFIG", "/nowhere.toml")]))[0]
            .starts_with("/nowhere.toml: cannot be read")
    );
}

#[test]
fn all_mistakes_are_listed_at_once_with_key_and_source() {
    let (_scratch, mut sources) = file(
        "dta_dir = 'x'\n[server]\nbody_limt = '1MiB'\nheader_timeout = '10'\nmax_connections = 0\n[job]\nlease = '6s'\n",
    );
    sources.environment = environment(&[
        ("GATEHOUSE__AGENT__IDLE_TIMEOT", "5m"),
        ("GATEHOUSE_API_KEY", "k"),
        ("PERMISSION_MODE", "yolo"),
        ("LOG_LEVEL_AGNET", "debug"),
        ("LOG_LEVEL", "loud"),
        ("MAX_CONCURRENT_TASKS", "many"),
        ("GCS_LOGS_BUCKET", "logs"),
        ("PORT", "http"),
    ])
    .environment;
    sources.flags.insert("nonsense.key".into(), "1".into());
    let found = mistakes(&sources);
    let path = sources.file.as_ref().unwrap().display();
    let expected = [
        format!("`dta_dir` (file {path}) is no setting; did you mean `data_dir`?"),
        format!(
            "`server.body_limt` (file {path}) is no setting; did you mean `server.body_limit`?"
        ),
        format!("`server.header_timeout` (file {path}): expected a duration"),
        format!("`server.max_connections` (file {path}): expected a whole number from 1"),
        format!(
            "`job.lease` (file {path}), `job.heartbeat` (default): the lease must last two heartbeats"
        ),
        "is no setting; did you mean `GATEHOUSE__AGENT__IDLE_TIMEOUT`?".into(),
        "GATEHOUSE_API_KEY is no variable of Gatehouse; did you mean GATEHOUSE_API_KEYS?".into(),
        "`task.permission_mode` (environment PERMISSION_MODE): unknown variant `yolo`".into(),
        "LOG_LEVEL_AGNET names no module of Gatehouse; did you mean LOG_LEVEL_AGENT?".into(),
        "`log.level` (environment LOG_LEVEL): expected off, error, warn".into(),
        "`queue.max_concurrent` (environment MAX_CONCURRENT_TASKS): expected a whole number".into(),
        "`google.project_id` (default): must be set for Cloud KMS and Cloud Run jobs".into(),
        "`google.region` (default): must be set for Cloud KMS and Cloud Run jobs".into(),
        "`server.listen` (environment PORT): expected an address".into(),
        "`nonsense.key` (command line) is no setting".into(),
    ];
    for sentence in &expected {
        assert!(
            found
                .iter()
                .any(|mistake| mistake.contains(sentence.as_str())),
            "{sentence}\nis not in\n{found:#?}"
        );
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn settings_must_agree_with_each_other() {
    for (name, value, key) in [
        ("GATEHOUSE__TASK__MAX_TURNS", "2000", "task.max_turns"),
        (
            "GATEHOUSE__TASK__TIMEOUT_MINUTES",
            "1441",
            "task.timeout_minutes",
        ),
        ("GATEHOUSE__TASK__MODEL", "--flag", "task.model"),
        ("ALLOWED_TOOLS", "Read\u{7}", "task.allowed_tools"),
        (
            "GATEHOUSE__AGENT__DECISION_TIMEOUT",
            "20m",
            "agent.decision_timeout",
        ),
        ("GATEHOUSE__PLUGINS__TIME", "1m", "plugins.time"),
        ("GATEHOUSE__PLUGINS__OUTPUT", "128MiB", "plugins.output"),
        ("GATEHOUSE__ENVELOPE__ACCEPT", "v1", "envelope.accept"),
        ("GATEHOUSE__ENVELOPE__MAX_SIZE", "3MiB", "envelope.max_size"),
        ("GATEHOUSE__JOB__FLUSH_SIZE", "1GiB", "job.flush_size"),
        ("GATEHOUSE__AGENT__MAX_LINE", "1GiB", "agent.max_line"),
        ("GATEHOUSE__WEBHOOK__RETRY", "", "webhook.retry"),
        (
            "GATEHOUSE_ANTHROPIC_URL",
            "http://api.example.com",
            "broker.upstream",
        ),
        (
            "GATEHOUSE_ANTHROPIC_URL",
            "https://user:pw@api.example.com",
            "broker.upstream",
        ),
        (
            "GATEHOUSE__BROKER__EXTRA_PATHS",
            "/v1/../x",
            "broker.extra_paths",
        ),
        ("GATEHOUSE__ISOLATION__UID_BASE", "0", "isolation.uid_base"),
        (
            "GATEHOUSE__ISOLATION__UID_BASE",
            "500",
            "isolation.uid_base",
        ),
        (
            "GATEHOUSE__ISOLATION__UID_BASE",
            "4294967290",
            "isolation.uid_base",
        ),
        ("GATEHOUSE_ADMIN_KEY", "two words", "auth.admin_key"),
    ] {
        let found = mistakes(&environment(&[(name, value)]));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        assert!(
            found[0].starts_with(&format!("`{key}` (environment {name})")),
            "{name}: {found:?}"
        );
    }
    load(&environment(&[(
        "GATEHOUSE_ANTHROPIC_URL",
        "http://127.0.0.1:9/prefix",
    )]))
    .unwrap();
}

#[test]
fn no_secret_is_repeated_in_a_mistake_or_a_listing() {
    let (_scratch, sources) = file(
        "[auth]\napi_keys = ['s3cr3t key', 5]\nadmin_key = ['s3cr3t']\n[webhook]\nsecret = { value = 's3cr3t' }\n",
    );
    let found = mistakes(&sources).join("\n");
    assert!(
        found.contains("auth.api_keys") && found.contains("auth.admin_key"),
        "{found}"
    );
    assert!(!found.contains("s3cr3t"), "{found}");

    let (_scratch, sources) = file("[auth]\n\nadmin_key = \"s3cr3t\nx = 1");
    let found = mistakes(&sources).join("\n");
    assert!(
        found.contains("line 3") && !found.contains("s3cr3t"),
        "{found}"
    );

    let sources = environment(&[
        ("GATEHOUSE_API_KEYS", "s3cr3t"),
        ("CLOUDRUN_CALLBACK_SECRET", "s3cr3t"),
    ]);
    assert!(!format!("{:?}", load(&sources).unwrap()).contains("s3cr3t"));
    let listing = settings(&sources).unwrap();
    assert!(!format!("{listing:?}").contains("s3cr3t"));
    let shown = |key: &str| {
        listing
            .iter()
            .find(|setting| setting.key == key)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(shown("auth.api_keys"), "[set]".into());
    assert_eq!(shown("auth.admin_key"), "[not set]".into());

    let shared = environment(&[
        ("GATEHOUSE_API_KEYS", "s3cr3t"),
        ("GATEHOUSE_ADMIN_KEY", "s3cr3t"),
    ]);
    let found = mistakes(&shared).join("\n");
    assert!(
        found.contains("must not be one of the callers'") && !found.contains("s3cr3t"),
        "{found}"
    );
}

#[test]
fn a_job_gets_what_configures_it_and_no_secret() {
    let mut sources = environment(&[
        ("PATH", "/bin"),
        ("HOME", "/root"),
        ("LC_ALL", "C"),
        ("LOG_LEVEL_AGENT", "debug"),
        ("PERMISSION_MODE", "plan"),
        ("GATEHOUSE__AGENT__IDLE_TIMEOUT", "5m"),
        ("GATEHOUSE_DATA_DIR", "relative"),
        ("GATEHOUSE_API_KEYS", "s3cr3t"),
        ("GATEHOUSE_ADMIN_KEY", "s3cr3t-2"),
        ("GATEHOUSE_IDENTITY_TOKEN", "s3cr3t-3"),
        ("CLOUDRUN_CALLBACK_SECRET", "s3cr3t-3"),
        ("ANTHROPIC_API_KEY", "s3cr3t"),
        ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
        ("GATEHOUSE__auth__API_KEYS", "s3cr3t"),
        ("GATEHOUSE__WEBHOOK__SECRET", "s3cr3t"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/account.json"),
        (
            "GATEHOUSE__PLUGINS__REGISTRIES",
            "{ \"r.example\" = { username = \"u\", password = \"s3cr3t\" } }",
        ),
    ]);
    sources.flags.insert("job.lease".into(), "30s".into());
    sources
        .flags
        .insert("auth.admin_key".into(), "s3cr3t-4".into());
    let config = load(&sources).unwrap();
    let job = job_environment(&sources, &config);
    assert!(!format!("{job:?}").contains("s3cr3t"), "{job:?}");
    for (name, value) in [
        ("PATH", "/bin"),
        ("LC_ALL", "C"),
        ("PERMISSION_MODE", "plan"),
        ("LOG_LEVEL_AGENT", "debug"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/account.json"),
    ] {
        assert_eq!(job[name], value);
    }
    // The job reads the same settings from these, wherever it is started.
    let of_job = load(&Sources {
        environment: job,
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(of_job.data_dir, config.data_dir);
    assert_eq!(of_job.agent.idle_timeout, Duration::from_secs(300));
    assert_eq!(of_job.job.lease, Duration::from_secs(30));
    assert_eq!(of_job.plugins.manifest, config.plugins.manifest);
    assert!(of_job.auth.api_keys.is_empty() && of_job.webhook.secret.is_empty());
}

#[test]
fn the_reference_page_names_every_variable_with_its_setting() {
    let page = include_str!("../../../docs/reference/configuration.md");
    for (name, key) in NAMED {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")));
        assert!(
            row.is_some_and(|row| row.contains(&format!("`{key}`"))),
            "{name}"
        );
        assert!(
            DEFAULTS.contains(name),
            "{name} does not stand beside its setting"
        );
    }
}

#[test]
fn the_pool_of_users_has_two_for_each_job_at_once() {
    let of = |jobs: &str| {
        let sources = Sources {
            environment: [
                ("MAX_CONCURRENT_TASKS".to_owned(), jobs.to_owned()),
                ("GATEHOUSE__ISOLATION__UID_COUNT".to_owned(), "8".to_owned()),
            ]
            .into(),
            ..Sources::default()
        };
        load(&sources)
            .map(drop)
            .map_err(|mistakes| mistakes.to_string())
    };
    assert_eq!(of("4"), Ok(()));
    assert!(of("5").unwrap_err().contains("two user ids for each job"));
}

#[test]
fn registries_come_by_their_hosts_from_a_file_or_in_one_line() {
    let (_scratch, sources) = file(
        "[plugins.registries]\n\"registry.example:8443\" = { username = 'u', password = 's3cr3t' }\n\
         [plugins.registries.\"127.0.0.1:5000\"]\nplain_http = true\n",
    );
    let config = load(&sources).unwrap();
    let registries = &config.plugins.registries;
    let theirs = &registries["registry.example:8443"];
    assert_eq!(theirs.password.as_ref().unwrap().expose_secret(), "s3cr3t");
    assert!(registries["127.0.0.1:5000"].plain_http && !theirs.plain_http);
    assert!(!format!("{config:?}").contains("s3cr3t"));
    assert!(!format!("{:?}", settings(&sources).unwrap()).contains("s3cr3t"));

    let line = "{ \"localhost:5000\" = { plain_http = true } }";
    let sources = environment(&[("GATEHOUSE__PLUGINS__REGISTRIES", line)]);
    assert_eq!(load(&sources).unwrap().plugins.registries.len(), 1);

    for (text, words) in [
        ("s3cr3t", "expected registries by their hosts"),
        (
            "{ \"r.example\" = 's3cr3t' }",
            "expected of `r.example` a table",
        ),
        (
            "{ \"r.example\" = { password = 5 } }",
            "expected of `r.example` a table",
        ),
        (
            "{ \"r.example\" = { pasword = 's3cr3t' } }",
            "expected of `r.example` a table",
        ),
        (
            "{ \"r.example\" = { password = 's3cr3t' } }",
            "username and password, or neither",
        ),
        ("{ \"https://r.example\" = {} }", "is no host"),
        ("{ \"R.example\" = {} }", "is no host"),
        ("{ \"r.example/a\" = {} }", "is no host"),
        (
            "{ \"r.example\" = { plain_http = true } }",
            "is not this machine",
        ),
        (
            "{ \"127.0.0.1.evil.example\" = { plain_http = true } }",
            "is not this machine",
        ),
    ] {
        let found = mistakes(&environment(&[("GATEHOUSE__PLUGINS__REGISTRIES", text)])).join("\n");
        assert!(
            found.contains(words) && !found.contains("s3cr3t"),
            "{text}: {found}"
        );
    }
    let many: Vec<_> = (0..65)
        .map(|n| format!("\"r{n}.example\" = {{}}"))
        .collect();
    let many = format!("{{ {} }}", many.join(", "));
    let found = mistakes(&environment(&[("GATEHOUSE__PLUGINS__REGISTRIES", &many)])).join("\n");
    assert!(found.contains("at most 64"), "{found}");
}

#[path = "signatures_tests.rs"]
mod signatures;

#[test]
fn what_was_meant_to_keep_strangers_out_never_lets_them_in_by_a_slip() {
    for (name, value, key) in [
        ("AUDIENCE", "https://gatehouse.example", "audience"),
        ("JWKS_URL", "https://issuer.example/keys", "jwks_url"),
        ("CALLER_CLAIM", "email", "caller_claim"),
        ("TENANT_CLAIM", "hd", "tenant_claim"),
        ("REQUIRE", "{ hd = \"example.com\" }", "require"),
    ] {
        let name = format!("GATEHOUSE__AUTH__OIDC__{name}");
        let said = mistakes(&environment(&[(&name, value)]));
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains(&format!("`auth.oidc.{key}`")) && said[0].contains("auth.oidc.issuer")
        );
    }
    for variable in ["GATEHOUSE_API_KEYS", "GATEHOUSE__AUTH__API_KEYS"] {
        let said = mistakes(&environment(&[(variable, " , ")])).join("\n");
        assert!(said.contains("`auth.api_keys`"), "{said}");
    }

    let empty = ("GATEHOUSE__AUTH__API_KEYS", " ");
    let named = load(&environment(&[("GATEHOUSE_API_KEYS", "key-1"), empty])).unwrap();
    assert_eq!(named.auth.api_keys.len(), 1);
    let (_scratch, mut sources) = file("[auth]\napi_keys = \"key-1\"");
    sources
        .environment
        .insert(empty.0.to_owned(), String::new());
    assert_eq!(load(&sources).unwrap().auth.api_keys.len(), 1);
}

#[test]
fn a_job_knows_nothing_of_tokens_wherever_they_were_set() {
    let (_scratch, mut sources) = file(
        "[auth.oidc]\nissuer = \"https://issuer.example\"\naudience = \"us\"\ncaller_claim = \"email\"\n\
         jwks_url = \"https://issuer.example/keys\"\nrequire = { hd = \"example.com\" }",
    );
    let tenant = "GATEHOUSE__AUTH__OIDC__TENANT_CLAIM";
    sources
        .environment
        .insert(tenant.to_owned(), "hd".to_owned());
    let environment = job_environment(&sources, &load(&sources).unwrap());
    let of_job = load(&Sources {
        environment,
        ..Sources::default()
    });
    assert_eq!(of_job.unwrap().auth.oidc.issuer, None);
}
