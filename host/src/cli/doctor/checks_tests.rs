#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use super::super::report::State;
use super::*;

#[test]
fn a_data_directory_that_does_not_exist_yet_is_judged_by_where_it_would_be_made() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a/b");
    assert_eq!(data_dir(&path).state, State::Ok);
    assert!(!path.exists());
    assert_eq!(data_dir(Path::new("/proc/nothing-here")).state, State::Fail);
}

#[test]
fn a_data_directory_that_others_can_write_is_warned_of() {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(data_dir(scratch.path()).state, State::Warn);
}

#[test]
fn a_port_in_use_is_told_from_a_free_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(port(listener.local_addr().unwrap()).state, State::Warn);
    assert_eq!(port("127.0.0.1:0".parse().unwrap()).state, State::Ok);
    assert_eq!(port("192.0.2.1:80".parse().unwrap()).state, State::Fail);
}

#[test]
fn another_version_of_the_cli_than_the_tested_one_is_warned_of() {
    let judge = |output: &str| judge_version(Path::new("/claude"), output, "install it").state;
    assert_eq!(judge(&format!("{CLI_VERSION} (Claude Code)\n")), State::Ok);
    assert_eq!(judge("1.0.0 (Claude Code)\n"), State::Warn);
    assert_eq!(judge("\n"), State::Fail);
}

#[tokio::test]
async fn a_program_that_is_absent_or_fails_is_no_answer() {
    let environment = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
    let ask = async |program: &str, arguments: &[&str]| {
        answer(Path::new(program), arguments, &environment).await
    };
    assert!(ask("/nowhere/claude", &[]).await.is_err());
    assert!(ask("/bin/false", &[]).await.is_err());
    let seen = ask("/bin/sh", &["-c", "echo $GREETING $CARGO_MANIFEST_DIR"]).await;
    assert_eq!(seen.unwrap(), "hello\n");
}

#[test]
fn an_open_network_and_keys_as_plain_text_are_warned_of() {
    let states = |flags: &[(&str, &str)]| -> Vec<State> {
        let flags = flags
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let sources = crate::config::Sources {
            flags,
            ..Default::default()
        };
        let found = auth(&crate::config::load(&sources).unwrap());
        found.into_iter().map(|finding| finding.state).collect()
    };
    let everywhere = ("server.listen", "0.0.0.0:8080");
    let digest = "0".repeat(64);
    let keys = format!("{{ ci = {{ sha256 = \"{digest}\" }} }}");
    assert_eq!(states(&[]), [State::Ok]);
    assert_eq!(states(&[everywhere]), [State::Warn]);
    assert_eq!(states(&[everywhere, ("auth.keys", &keys)]), [State::Ok]);
    assert_eq!(
        states(&[everywhere, ("auth.api_keys", "plain")]),
        [State::Ok, State::Warn]
    );
    assert_eq!(
        states(&[("auth.admin_key", "plain")]),
        [State::Ok, State::Warn]
    );
}
