//! Bundles that no git would make, given to what takes them in: the very arguments, and a real git.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::*;

const ID: [&str; 4] = ["-c", "user.name=A", "-c", "user.email=a@b"];

fn git_in(directory: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", crate::git::PATH)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("HOME", directory)
        .env("GIT_ALLOW_PROTOCOL", "file")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn git(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    fed(directory, arguments, b"")
}

fn fed(directory: &Path, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let output = git_in(directory, arguments, input);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    output.stdout
}

fn id(output: &[u8]) -> String {
    String::from_utf8_lossy(output).trim().to_owned()
}

/// The agent's repository with a commit on top of what the bare one holds, and the bare one.
struct Both {
    directory: tempfile::TempDir,
    base: String,
    tip: String,
}

impl Both {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent");
        std::fs::create_dir(&agent).unwrap();
        git(&agent, &["init", "--quiet", "."]);
        let commit = |message| {
            std::fs::write(agent.join("file"), message).unwrap();
            git(&agent, &["add", "."]);
            git(
                &agent,
                &[&ID[..], &["commit", "--quiet", "-m", message]].concat(),
            );
            id(&git(&agent, &["rev-parse", "HEAD"]))
        };
        let (base, tip) = (commit("base"), commit("tip"));
        git(&agent, &["branch", "base", &base]);
        Self {
            directory,
            base,
            tip,
        }
    }

    /// Made anew: objects that a refused bundle left there would be taken for known ones.
    fn make_bare(&self) {
        let bare = self.bare();
        let _ = std::fs::remove_dir_all(&bare);
        std::fs::create_dir(&bare).unwrap();
        git(&bare, &["init", "--quiet", "--bare", "."]);
        let from = self.agent().display().to_string();
        git(
            &bare,
            &["fetch", "--quiet", &from, "base:refs/gatehouse/base"],
        );
    }

    fn agent(&self) -> std::path::PathBuf {
        self.directory.path().join("agent")
    }

    fn bare(&self) -> std::path::PathBuf {
        self.directory.path().join("bare")
    }

    /// What the agent's git makes for us.
    fn bundle(&self) -> Vec<u8> {
        let new = [
            "bundle",
            "create",
            "--quiet",
            "-",
            "HEAD",
            &format!("^{}", self.base),
        ];
        git(&self.agent(), &new)
    }

    /// A bundle of one commit that git made of this tree.
    fn bundle_of(&self, tree: &str) -> Vec<u8> {
        let agent = self.agent();
        let commit = [
            &ID[..],
            &["commit-tree", tree, "-p", &self.base, "-m", "evil"],
        ]
        .concat();
        let commit = id(&git(&agent, &commit));
        git(&agent, &["update-ref", "HEAD", &commit]);
        self.bundle()
    }

    fn tree(&self, entries: &str) -> String {
        id(&fed(
            &self.agent(),
            &["mktree", "--missing"],
            entries.as_bytes(),
        ))
    }

    /// Takes it in; what stands there then, or what git said.
    fn take_in(&self, bundle: &[u8]) -> Result<String, String> {
        self.make_bare();
        let file = self.directory.path().join("out.bundle");
        std::fs::write(&file, bundle).unwrap();
        let (file, wanted) = (file.display().to_string(), format!("+HEAD:{OUT}"));
        let taken = git_in(
            &self.bare(),
            &[&TAKE_IN[..], &[&file, &wanted]].concat(),
            b"",
        );
        let stands = git_in(
            &self.bare(),
            &["rev-parse", "--verify", &format!("{OUT}^{{commit}}")],
            b"",
        );
        match taken.status.success() && stands.status.success() {
            true => Ok(id(&stands.stdout)),
            false => {
                Err(String::from_utf8_lossy(&[taken.stderr, stands.stderr].concat()).into_owned())
            }
        }
    }
}

/// Header and pack.
fn split(bundle: &[u8]) -> (String, Vec<u8>) {
    let at = bundle.windows(2).position(|two| two == b"\n\n").unwrap() + 2;
    (
        String::from_utf8(bundle[..at].to_vec()).unwrap(),
        bundle[at..].to_vec(),
    )
}

fn joined(header: &str, pack: &[u8]) -> Vec<u8> {
    [header.as_bytes(), pack].concat()
}

#[test]
fn of_a_sound_bundle_the_one_agreed_reference_is_taken_and_nothing_else() {
    let both = Both::new();
    let agent = both.agent();
    git(&agent, &["tag", "a-tag"]);
    git(&agent, &["update-ref", "refs/heads/main-of-others", "HEAD"]);
    let all = ["bundle", "create", "--quiet", "-", "--all", "HEAD"];
    for bundle in [both.bundle(), git(&agent, &all)] {
        assert_eq!(both.take_in(&bundle).unwrap(), both.tip);
        let names = ["for-each-ref", "--format=%(refname)"];
        let names = git(&both.bare(), &names);
        assert_eq!(id(&names), "refs/gatehouse/base\nrefs/gatehouse/out");
    }
}

#[test]
fn a_bundle_that_no_git_would_make_is_refused_and_leaves_no_commit() {
    let both = Both::new();
    let (header, pack) = split(&both.bundle());
    let nowhere = "1234567890".repeat(4);
    let mut flipped = pack.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let counted = |count: u32| {
        let mut pack = pack.clone();
        pack[8..12].copy_from_slice(&count.to_be_bytes());
        pack
    };
    // A blob whose size is said to be 2^46 bytes: type 3, four bits of size, then seven by seven.
    let mut huge = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    huge.extend([0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
    huge.extend(&pack[pack.len() - 60..]);
    let blob = id(&fed(&both.agent(), &["hash-object", "-w", "--stdin"], b"x"));
    let of_blob = header.replace(&both.tip, &blob);
    let entry = |name: &str| format!("100644 blob {blob}\t{name}\n");
    let link = |name: &str, target: &str| {
        let target = fed(
            &both.agent(),
            &["hash-object", "-w", "--stdin"],
            target.as_bytes(),
        );
        format!("120000 blob {}\t{name}\n", id(&target))
    };
    let inside = |name: &str| {
        let tree = both.tree(&entry("pre-push"));
        both.bundle_of(&both.tree(&format!("040000 tree {tree}\t{name}\n")))
    };

    for (case, bundle, words) in [
        ("nothing", Vec::new(), ""),
        ("no bundle", b"\x7fELF and so on".to_vec(), ""),
        (
            "another version",
            joined(&header.replace("# v2 ", "# v9 "), &pack),
            "",
        ),
        (
            "a filter",
            joined(
                &header.replace(
                    "# v2 git bundle\n",
                    "# v3 git bundle\n@object-format=sha256\n",
                ),
                &pack,
            ),
            "",
        ),
        (
            "a header without end",
            header.trim_end().as_bytes().to_vec(),
            "",
        ),
        (
            "another reference than was agreed",
            joined(&header.replace(" HEAD", " refs/heads/main"), &pack),
            "HEAD",
        ),
        (
            "a prerequisite that nobody has",
            joined(&header.replace(&both.base, &nowhere), &pack),
            "prerequisite",
        ),
        (
            "a commit that is not in it",
            joined(&header.replace(&both.tip, &nowhere), &pack),
            "",
        ),
        ("a blob for a commit", joined(&of_blob, &pack), ""),
        (
            "cut off in the middle",
            joined(&header, &pack[..pack.len() / 2]),
            "",
        ),
        (
            "cut off at its end",
            joined(&header, &pack[..pack.len() - 1]),
            "",
        ),
        ("without a pack", header.clone().into_bytes(), ""),
        ("an object of another digest", joined(&header, &flipped), ""),
        (
            "fewer objects than there are",
            joined(&header, &counted(1)),
            "",
        ),
        (
            "four thousand million objects",
            joined(&header, &counted(u32::MAX)),
            "",
        ),
        ("an object of 64 TiB", joined(&header, &huge), ""),
        (
            "a file .git",
            both.bundle_of(&both.tree(&entry(".git"))),
            "hasDotgit",
        ),
        ("a directory .GIT", inside(".GIT"), "hasDotgit"),
        ("a directory git~1", inside("git~1"), "hasDotgit"),
        (
            "a file ..",
            both.bundle_of(&both.tree(&entry(".."))),
            "hasDotdot",
        ),
        (
            "a link .gitmodules",
            both.bundle_of(&both.tree(&link(".gitmodules", "/etc/passwd"))),
            "gitmodulesSymlink",
        ),
    ] {
        let said = both.take_in(&bundle).expect_err(case);
        assert!(said.contains(words), "{case}: {said}");
        let PushError::Told(code, sentence) = not_taken(RunError::Failed {
            what: "fetch".to_owned(),
            code: 128,
            complaint: said,
        }) else {
            panic!("{case}");
        };
        assert_eq!(code, "git-failed");
        assert!(
            sentence.starts_with("Nothing was pushed: the commits are not such as git takes: ")
                && !sentence.trim_end().ends_with(':'),
            "{case}: {sentence}"
        );
        assert_eq!(
            id(&git(
                &both.bare(),
                &["for-each-ref", "refs/heads", "refs/tags"]
            )),
            ""
        );
    }
}
