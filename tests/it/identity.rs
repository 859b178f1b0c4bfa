//! What commands that speak to a gateway show of whom they speak for.

use gatehouse_tests::binary;

/// Behind Cloud Run's own check `Authorization` would be taken for a token of Google's.
#[tokio::test]
async fn commands_show_the_gateways_key_and_googles_token_each_where_it_is_looked_for() {
    let google = fake_google::FakeGoogle::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (token, task) = (folder.path().join("token"), folder.path().join("task.json"));
    std::fs::write(&token, "token-of-a-file\n").unwrap();
    std::fs::write(&task, "{}").unwrap();
    let commands: [(&[&str], &str, &str); 4] = [
        (&["plugin", "list"], "operators-key", "token-of-a-variable"),
        (
            &["approval", "list", "t1"],
            "operators-key",
            "token-of-a-variable",
        ),
        (
            &["run", task.to_str().unwrap()],
            "callers-key",
            "token-of-a-variable",
        ),
        (
            &[
                "plugin",
                "history",
                "--identity-token-file",
                token.to_str().unwrap(),
            ],
            "operators-key",
            "token-of-a-file",
        ),
    ];
    for (arguments, key, token) in commands {
        let variable = match arguments[0] {
            "run" => "GATEHOUSE_API_KEY",
            _ => "GATEHOUSE_ADMIN_KEY",
        };
        let command = tokio::process::Command::new(binary())
            .args(arguments)
            .args(["--url", &google.url()])
            .env_clear()
            .env("GATEHOUSE_DATA_DIR", folder.path())
            .env(variable, key)
            .env("GATEHOUSE_IDENTITY_TOKEN", "token-of-a-variable")
            .output();
        let output = command.await.unwrap();
        let shown = google.requests().pop().expect("it asks").headers;
        let shown = |name: &str| {
            let header = shown.iter().find(|(known, _)| known == name);
            header.map(|(_, value)| value.clone())
        };
        let bearer = format!("Bearer {token}");
        assert_eq!(shown("x-api-key").as_deref(), Some(key), "{arguments:?}");
        assert_eq!(shown("x-serverless-authorization"), Some(bearer));
        assert_eq!(shown("authorization"), None, "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !said.contains("token-of") && !said.contains("s-key"),
            "{said}"
        );
    }
}
