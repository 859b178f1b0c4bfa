//! What an agent may have left to harm whoever looks at its workspace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;

fn empty() -> (tempfile::TempDir, Workspace) {
    let directory = tempfile::tempdir().unwrap();
    let workspace = Workspace::open(directory.path()).unwrap();
    (directory, workspace)
}

async fn all(workspace: &Workspace) -> Vec<String> {
    let found = workspace.find(vec!["**".into()]).await.unwrap();
    found.into_iter().map(|found| found.path).collect()
}

#[tokio::test]
async fn a_socket_is_neither_found_nor_opened() {
    let (directory, workspace) = empty();
    let _socket = UnixListener::bind(directory.path().join("socket")).unwrap();
    assert!(all(&workspace).await.is_empty());
    assert_eq!(workspace.file("socket").unwrap_err().code, "not-a-file");
}

#[tokio::test]
async fn a_link_to_a_device_or_into_proc_is_not_followed() {
    let (directory, workspace) = empty();
    for (name, target) in [
        ("zero", "/dev/zero"),
        ("environ", "/proc/self/environ"),
        ("root", "/proc/self/root"),
        ("passwd", "/etc/passwd"),
    ] {
        symlink(target, directory.path().join(name)).unwrap();
        assert_eq!(workspace.file(name).unwrap_err().code, "bad-path", "{name}");
    }
    let through = workspace.file("root/etc/passwd").unwrap_err();
    assert_eq!(through.code, "bad-path");
    assert!(all(&workspace).await.is_empty());
}

#[tokio::test]
async fn a_second_name_counts_only_for_a_file_of_the_workspaces_owner() {
    let (directory, workspace) = empty();
    fs::write(directory.path().join("one"), "1").unwrap();
    fs::hard_link(directory.path().join("one"), directory.path().join("two")).unwrap();
    assert_eq!(all(&workspace).await, ["one", "two"]);
    assert!(workspace.file("two").is_ok());

    // As the agent's workspace is: of its own user, and read by ours. Only root can play both.
    if rustix::process::geteuid().is_root() {
        let other = Some(rustix::fs::Uid::from_raw(12_345));
        rustix::fs::chown(directory.path(), other, None).unwrap();
        assert_eq!(workspace.file("two").unwrap_err().code, "no-access");
        rustix::fs::chown(directory.path().join("two"), other, None).unwrap();
        assert!(workspace.file("two").is_ok());
        fs::write(directory.path().join("ours"), "3").unwrap();
        assert!(
            workspace.file("ours").is_ok(),
            "a single name leads nowhere else"
        );
    }
}

#[tokio::test]
async fn a_directory_that_is_swapped_for_a_link_all_the_time_never_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "secret").unwrap();
    let (directory, workspace) = empty();
    let place = directory.path().join("d");
    let (real, link) = (directory.path().join("real"), directory.path().join("link"));
    fs::create_dir(&real).unwrap();
    fs::write(real.join("file"), "plain").unwrap();
    symlink(outside.path(), &link).unwrap();

    let over = AtomicBool::new(false);
    let swap = |from: &PathBuf| {
        fs::rename(from, &place).unwrap();
        std::thread::yield_now();
        fs::rename(&place, from).unwrap();
    };
    let (mut plain, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                swap(&real);
                swap(&link);
            }
        });
        let search = Search::new(&["**".to_owned()]).unwrap();
        let mut rounds = 0;
        // A thousand rounds, and on until both states were met; the clock only ends a hopeless wait.
        let started = Instant::now();
        while rounds < 1_000
            || ((plain == 0 || refused == 0) && started.elapsed() < Duration::from_secs(60))
        {
            rounds += 1;
            for found in workspace.walk(&search).unwrap() {
                assert!(!found.path.starts_with("link/"), "{}", found.path);
            }
            match workspace.file("d/file") {
                Ok(mut file) => {
                    let mut content = String::new();
                    file.read_to_string(&mut content).unwrap();
                    assert_eq!(content, "plain");
                    plain += 1;
                }
                Err(failure) => {
                    // EAGAIN: the kernel saw a rename while it looked.
                    let codes = ["not-found", "bad-path", "io"];
                    assert!(codes.contains(&failure.code), "{failure:?}");
                    refused += usize::from(failure.code == "bad-path");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(plain > 0 && refused > 0, "{plain} {refused}");
}

#[tokio::test]
async fn braces_cost_no_more_than_their_length() {
    let (directory, workspace) = empty();
    fs::write(directory.path().join("a".repeat(200)), "").unwrap();
    let started = Instant::now();
    for bomb in [
        "{a,b}".repeat(200),
        "{".repeat(512) + &"}".repeat(512),
        "{a,{a,".repeat(150),
        "**/".repeat(300) + "x",
        "*a".repeat(500),
        "[".repeat(1000),
    ] {
        match workspace.find(vec![bomb.clone(); 100]).await {
            Ok(found) => assert!(found.len() <= 1),
            Err(failure) => assert_eq!(failure.code, "bad-pattern", "{bomb}"),
        }
    }
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_million_names_end_a_search_in_bounded_time() {
    // In memory where there is such a place: this is about the search, not about the disk. Second
    // names of a few files are as many names, and cheaper to make.
    let memory = Path::new("/dev/shm");
    let directory = match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    };
    let workspace = Workspace::open(directory.path()).unwrap();
    for folder in 0..101 {
        let folder = directory.path().join(folder.to_string());
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("first"), "").unwrap();
        let at = rustix::fs::open(&folder, OFlags::PATH, Mode::empty()).unwrap();
        for name in 0..10_000 {
            rustix::fs::linkat(&at, "first", &at, name.to_string(), AtFlags::empty()).unwrap();
        }
    }
    let started = Instant::now();
    // Few of them match, and all are looked at.
    let failure = workspace.find(vec!["*/9999".into()]).await.unwrap_err();
    assert_eq!(failure.code, "too-many");
    assert!(failure.message.contains("1000000 names"), "{failure:?}");
    // Most of them match, and the files are what there is too much of.
    let failure = workspace.find(vec!["**".into()]).await.unwrap_err();
    assert!(failure.message.contains("10000 matching"), "{failure:?}");
    assert!(
        started.elapsed() < Duration::from_secs(60),
        "{:?}",
        started.elapsed()
    );
}
