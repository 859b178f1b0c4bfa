#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;

use super::*;
use files::Directory;

/// Marks in the files of cases, so that no case holds a credential itself: `[[rule]]`.
fn sample(rule: &str) -> String {
    let run = |length: usize| {
        "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7"
            .chars()
            .cycle()
            .take(length)
            .collect::<String>()
    };
    match rule {
        "aws-access-key" => format!("{}{}", "AKIA", run(16).to_uppercase()),
        "github-token" => format!("{}{}", "ghp_", run(36)),
        "github-pat" => format!("{}{}_{}", "github_pat_", run(22), run(59)),
        "gitlab-token" => format!("{}{}", "glpat-", run(20)),
        "anthropic-key" => format!("{}{}", "sk-ant-", run(40)),
        "openai-key" => format!("{}{}", "sk-proj-", run(48)),
        "slack-token" => format!("{}{}", "xoxb-", run(24)),
        "slack-webhook" => format!(
            "https://{}{}/B{}/{}",
            "hooks.slack.com/services/T",
            run(8),
            run(8),
            run(24)
        ),
        "google-api-key" => format!("{}{}", "AIza", run(35)),
        "stripe-key" => format!("{}{}", "sk_live_", run(24)),
        "npm-token" => format!("{}{}", "npm_", run(36)),
        "pypi-token" => format!("{}{}", "pypi-AgEIcHlwaS5vcmc", run(60)),
        "sendgrid-key" => format!("SG.{}.{}", run(22), run(43)),
        "jwt" => format!("eyJ{}.eyJ{}.{}", run(20), run(30), run(40)),
        "private-key" => format!("-----BEGIN RSA {}\n{}\n", "PRIVATE KEY-----", run(64)),
        "random" => run(32),
        other => format!("[[{other}]]"),
    }
}

fn filled(text: &str) -> String {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("[[") {
        let (mark, after) = after.split_once("]]").unwrap();
        filled.push_str(before);
        filled.push_str(&sample(mark));
        rest = after;
    }
    filled + rest
}

/// The files of a case with its marks filled in.
struct Filled(Directory);

impl Files for Filled {
    fn find(&self, patterns: &[String]) -> Result<Vec<(String, u64)>, String> {
        let mut found = self.0.find(patterns)?;
        for (path, size) in &mut found {
            *size = u64::try_from(self.content(path).len()).unwrap();
        }
        Ok(found)
    }

    fn read(&self, path: &str, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        let content = self.content(path);
        let start = usize::try_from(offset).unwrap().min(content.len());
        let end = (start + usize::try_from(length).unwrap()).min(content.len());
        Ok(content.as_bytes()[start..end].to_vec())
    }
}

impl Filled {
    fn content(&self, path: &str) -> String {
        filled(&fs::read_to_string(self.0.0.join(path)).unwrap())
    }
}

#[test]
fn every_case_folder_comes_out_as_expected() {
    let result = cases::run(env!("CARGO_MANIFEST_DIR"), 20, |case| {
        let settings = filled(&case.read("settings")?.to_string());
        if let Err(error) = Settings::check(&settings) {
            return Ok(json!({ "settingsError": error }));
        }
        let settings = Settings::read(&settings)?;
        let options = match Options::read(&case.read("options")?.to_string()) {
            Ok(options) => options,
            Err(error) => return Ok(json!({ "optionsError": error })),
        };
        let files = Filled(Directory(case.path("workspace")));
        let scanned = scan(&files, &settings, &options)?;
        let found: Vec<String> = scanned
            .findings
            .iter()
            .map(|found| format!("{}:{} {}", found.path, found.line, found.rule))
            .collect();
        let result = scanned.into_result(&settings);
        let told = format!("{result:?}");
        for rule in crate::forms::RULES {
            assert!(
                !told.contains(&sample(rule)),
                "the secret itself is told: {rule}"
            );
        }
        Ok(match result {
            Ok(value) => {
                json!({ "found": found, "skipped": value["skipped"], "files": value["files"] })
            }
            Err(error) => json!({ "found": found, "error": error }),
        })
    });
    assert_eq!(result, Ok(()));
}

/// One file in memory.
struct Single(Vec<u8>);

impl Files for Single {
    fn find(&self, _patterns: &[String]) -> Result<Vec<(String, u64)>, String> {
        Ok(vec![("a".to_owned(), u64::try_from(self.0.len()).unwrap())])
    }

    fn read(&self, _path: &str, offset: u64, length: u32) -> Result<Vec<u8>, String> {
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        let end = (start + usize::try_from(length).unwrap()).min(self.0.len());
        Ok(self.0[start..end].to_vec())
    }
}

#[test]
fn what_lies_across_two_pieces_is_found_once_with_its_line() {
    let piece = usize::try_from(PIECE).unwrap();
    let secret = sample("github-token");
    for shift in [0, 1, 20, secret.len(), OVERLAP, OVERLAP + 20, 3 * OVERLAP] {
        let mut content = vec![b'\n'; piece - shift];
        content.extend(secret.bytes());
        content.extend(vec![b'.'; 2 * piece]);
        let settings = Settings {
            max_file_bytes: 1 << 30,
            ..Settings::default()
        };
        let findings = scan(&Single(content), &settings, &Options::default())
            .unwrap()
            .findings;
        let lines: Vec<u64> = findings.iter().map(|found| found.line).collect();
        assert_eq!(
            lines,
            [u64::try_from(piece - shift + 1).unwrap()],
            "{shift}"
        );
    }
}

#[test]
fn the_schema_s_defaults_are_the_settings_defaults() {
    let schema: Value = serde_json::from_str(crate::SCHEMA).unwrap();
    let defaults = schema["properties"].as_object().unwrap();
    let defaults: serde_json::Map<_, _> = defaults
        .iter()
        .map(|(name, member)| (name.clone(), member["default"].clone()))
        .collect();
    let read: Settings = serde_json::from_value(defaults.into()).unwrap();
    assert_eq!(format!("{read:?}"), format!("{:?}", Settings::default()));
}
