//! What the documents say, held against the code: codes and their pages, requests, settings.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gatehouse::admission::Admission;
use gatehouse::config::{Sources, load, settings};
use gatehouse::task::Mode;
use serde_json::{Value, json};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `folder` with this ending, the folder's own folders included.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "{folder}/**.{ending}");
    found
}

/// README and everything below `docs/`, as path and text.
fn documents() -> Vec<(PathBuf, String)> {
    let mut pages = files("docs", "md");
    pages.push(repository().join("README.md"));
    pages
        .into_iter()
        .map(|page| (page.clone(), fs::read_to_string(page).unwrap()))
        .collect()
}

/// The fenced blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(fence.as_str())
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

/// Literals of the sources below `folder` that begin with `prefix` and are made like a code.
fn literals(folder: &str, prefix: &str) -> BTreeSet<String> {
    let is_code = |text: &&str| {
        text.len() > prefix.len()
            && text.starts_with(prefix)
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte))
    };
    files(folder, "rs")
        .iter()
        .flat_map(|file| {
            let source = fs::read_to_string(file).unwrap();
            let codes: Vec<String> = source
                .split('"')
                .filter(is_code)
                .map(str::to_owned)
                .collect();
            codes
        })
        .collect()
}

/// Every code that can reach a caller, an operator or the agent.
fn codes() -> BTreeSet<String> {
    let ours = gatehouse::http::CODES
        .iter()
        .chain(gatehouse::admission::CODES);
    let mut codes: BTreeSet<String> = ours.map(|code| (*code).to_owned()).collect();
    for (folder, prefix) in [
        ("host/src/plugin", "plugin-"),
        ("host/src/wasm", "plugin-"),
        ("host/src/broker", "proxy_"),
    ] {
        let found = literals(folder, prefix);
        assert!(found.len() > 3, "{folder}: {found:?}");
        codes.extend(found);
    }
    codes
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let pages: BTreeSet<String> = files("docs/errors", "md")
        .iter()
        .map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(codes(), pages);
}

#[test]
fn a_page_of_a_code_says_what_it_means_and_what_to_check_and_gives_an_example() {
    for page in files("docs/errors", "md") {
        let code = page.file_stem().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let begins = |line: usize, with: &str| lines[line].starts_with(with);
        assert_eq!(lines.len(), 5, "{code}");
        assert_eq!(lines[0], format!("# {code}"));
        assert!(begins(2, "**Means**: "), "{code}");
        assert!(begins(3, "**Check**: "), "{code}");
        assert!(begins(4, "**Example**: "), "{code}");
    }
}

/// Whether the request is taken. One that leaves out prompt or credential gets them: a page may show a
/// part, and `gatehouse run` adds the caller's own key.
fn accept(request: &Value, from: &Path) {
    let mut request = request.clone();
    let fields = request.as_object_mut().unwrap();
    fields.entry("prompt").or_insert_with(|| json!("x"));
    fields
        .entry("anthropicApiKey")
        .or_insert_with(|| json!("k"));
    let mode = if fields.contains_key("callbackUrl") {
        Mode::Async
    } else {
        Mode::Sync
    };
    let admission = Admission::new(&load(&Sources::default()).unwrap());
    if let Err(refusal) = admission.check(request.to_string().as_bytes(), mode) {
        panic!("{}: {}", from.display(), refusal.message);
    }
}

#[test]
fn the_example_tasks_are_accepted_and_hold_no_key() {
    for file in files("examples/tasks", "json") {
        let request: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        // A key in the file would be taken instead of the caller's.
        assert_eq!(request.get("anthropicApiKey"), None, "{}", file.display());
        accept(&request, &file);
    }
}

#[test]
fn the_requests_in_the_documents_are_accepted() {
    let mut seen = 0;
    for (page, text) in documents() {
        let shown = blocks(&text, "json")
            .into_iter()
            .filter_map(|block| serde_json::from_str::<Value>(block).ok());
        // A body of curl, with the key put in by the shell.
        let sent = blocks(&text, "sh").into_iter().filter_map(|block| {
            let (_, body) = block.split_once("-d '{")?;
            let (body, _) = body.split_once("\n}'")?;
            // Every second piece stands outside of the single quotes and is the shell's to fill in.
            let filled_in = body
                .split('\'')
                .enumerate()
                .map(|(n, piece)| if n % 2 == 0 { piece } else { "key" });
            let body = format!("{{{}}}", filled_in.collect::<String>());
            Some(serde_json::from_str(&body).expect(&body))
        });
        for value in shown.chain(sent) {
            if value.get("prompt").is_some() || value.get("postExecutionActions").is_some() {
                accept(&value, &page);
                seen += 1;
            }
        }
    }
    assert!(seen >= 2, "{seen}");
}

#[test]
fn toml_in_the_documents_can_be_read() {
    for (page, text) in documents() {
        for block in blocks(&text, "toml") {
            if let Err(error) = toml::from_str::<toml::Table>(block) {
                panic!("{}: {error}", page.display());
            }
        }
    }
}

#[test]
fn the_settings_that_documents_name_exist() {
    let known: BTreeSet<String> = settings(&Sources::default())
        .unwrap()
        .into_iter()
        .map(|setting| setting.key)
        .collect();
    let sections: BTreeSet<&str> = known
        .iter()
        .filter_map(|key| Some(key.split_once('.')?.0))
        .collect();
    let mut seen = 0;
    for (page, text) in documents() {
        for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || "._".contains(c))) {
            let key = match word.strip_prefix("GATEHOUSE__") {
                Some("SECTION__KEY" | "AUTH__") => continue,
                Some(name) => name.to_ascii_lowercase().replace("__", "."),
                None => word.trim_matches('.').to_owned(),
            };
            let Some((section, rest)) = key.split_once('.') else {
                continue;
            };
            let named = text.contains(&format!("`{key}")) || word.starts_with("GATEHOUSE__");
            // `tasks.json` and `task.md` are files, `git.example.com` is a host.
            let other = ["md", "rs", "json", "toml", "lock"].contains(&rest)
                || rest.ends_with("example.com");
            if named && sections.contains(section) && !other {
                let below = format!("{key}.");
                let is_known =
                    known.contains(&key) || known.iter().any(|known| known.starts_with(&below));
                assert!(is_known, "{}: `{key}`", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen}");
}

/// The names in the last column of the table of attacks.
#[test]
fn the_tests_that_the_threat_model_names_exist() {
    let page = repository().join("docs/explanation/plugins.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, table) = page.split_once("## Each attack").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    let sources: String = ["tests/it", "host/src"]
        .into_iter()
        .flat_map(|folder| files(folder, "rs"))
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut named = 0;
    for row in rows {
        let tests = row.split(" | ").last().unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a row without a test: {row}");
        for name in names {
            assert!(
                sources.contains(&format!("fn {name}(")),
                "no test is named {name}"
            );
            named += 1;
        }
    }
    assert!(named > 30, "only {named} names were found");
}
