//! Pointers: what stands in a repository in place of the content of a file of LFS.

use std::collections::BTreeMap;

use super::LfsError;
use crate::git::run::{Bounded, Git, Take};

/// Every pointer is shorter, and nothing longer is looked at.
const LONGER: &str = "--filter=blob:limit=1024";
/// Different objects of one repository that are looked for.
const MOST: usize = 100_000;
/// Characters of a file's name that are shown.
const PATH: usize = 200;
/// Bytes of git's list of the blobs that may be pointers.
const LISTING: u64 = 512 << 20;

/// The first line, in its present form and in two that old repositories have.
const VERSIONS: [&str; 3] = [
    "version https://git-lfs.github.com/spec/v1",
    "version https://hawser.github.com/spec/v1",
    "version http://git-media.io/v/2",
];

/// What a pointer stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    /// SHA-256 of the content, 64 lower-case hexadecimal digits.
    pub(super) oid: String,
    pub(super) size: u64,
    /// A file that has it.
    pub(super) path: String,
}

/// Reads a blob; none where it is an ordinary file.
fn parse(content: &[u8]) -> Option<(String, u64)> {
    let text = str::from_utf8(content).ok()?;
    let mut lines = text.trim().lines();
    let version = lines.next()?;
    if !VERSIONS.contains(&version) {
        return None;
    }
    let (mut oid, mut size) = (None, None);
    for line in lines {
        match line.split_once(' ')? {
            ("oid", value) => oid = value.strip_prefix("sha256:"),
            ("size", value) => size = value.parse().ok(),
            _ => {}
        }
    }
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let oid = oid.filter(|oid| oid.len() == 64 && oid.bytes().all(is_digit))?;
    Some((oid.to_owned(), size?))
}

/// The pointers among the blobs of `range`, each object once, in the order of their ids.
pub(super) async fn find(git: &Git<'_>, range: &[&str]) -> Result<Vec<Pointer>, LfsError> {
    let mut arguments = vec![
        "rev-list",
        "--objects",
        "--filter=object:type=blob",
        LONGER,
        "--filter-provided-objects",
    ];
    arguments.extend_from_slice(range);
    arguments.push("--");
    let mut listed = Vec::new();
    let mut bounded = Bounded {
        into: &mut listed,
        most: LISTING,
    };
    git.stream(&arguments, Vec::new(), &mut bounded, |_| ())
        .await?;
    let mut blobs = Blobs::default();
    let format = "--batch=%(objecttype) %(objectsize) %(rest)";
    git.stream(
        &["cat-file", "--buffer", format],
        listed,
        &mut blobs,
        |_| (),
    )
    .await?;
    blobs.all()
}

/// Reads what `git cat-file --batch` writes, a header and the content for each blob.
#[derive(Debug, Default)]
struct Blobs {
    unread: Vec<u8>,
    found: BTreeMap<String, Pointer>,
}

impl Blobs {
    fn all(self) -> Result<Vec<Pointer>, LfsError> {
        if self.found.len() > MOST {
            return Err(LfsError::told(
                "too-large",
                format!("There are more than {MOST} objects of Git LFS."),
            ));
        }
        Ok(self.found.into_values().collect())
    }

    /// The length of the first entry if all of it is there; notes the pointer that it may be.
    fn entry(&mut self, from: usize) -> Option<usize> {
        let unread = self.unread.get(from..)?;
        let end = unread.iter().position(|byte| *byte == b'\n')?;
        let (header, rest) = unread.split_at(end);
        let header = String::from_utf8_lossy(header);
        let mut words = header.splitn(3, ' ');
        let (Some("blob"), Some(Ok(size)), path) = (
            words.next(),
            words.next().map(str::parse::<usize>),
            words.next(),
        ) else {
            // An object that is not there has no content.
            return Some(end + 1);
        };
        let content = rest.get(1..)?;
        if content.len() <= size {
            return None;
        }
        if let Some((oid, size)) = content.get(..size).and_then(parse)
            && self.found.len() <= MOST
        {
            // To be shown in a sentence, whatever else it may be.
            let path = path.unwrap_or_default().chars();
            let path: String = path.filter(|one| !one.is_control()).take(PATH).collect();
            self.found
                .entry(oid.clone())
                .or_insert(Pointer { oid, size, path });
        }
        Some(end + 1 + size + 1)
    }
}

impl Take for Blobs {
    async fn take(&mut self, piece: &[u8]) -> std::io::Result<bool> {
        self.unread.extend_from_slice(piece);
        let mut read = 0;
        while let Some(length) = self.entry(read) {
            read += length;
        }
        self.unread.drain(..read);
        Ok(true)
    }

    fn most(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const OID: &str = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";

    fn pointer() -> String {
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{OID}\nsize 12345\n")
    }

    #[test]
    fn a_pointer_is_known_and_nothing_else_is_taken_for_one() {
        let read = Some((OID.to_owned(), 12345));
        assert_eq!(parse(pointer().as_bytes()), read);
        let old = pointer().replace("git-lfs.github.com", "hawser.github.com");
        assert_eq!(parse(old.as_bytes()), read);
        let extended = pointer().replace("oid ", &format!("ext-0-x sha256:{OID}\noid "));
        assert_eq!(parse(extended.as_bytes()), read);
        for other in [
            "",
            "version https://git-lfs.github.com/spec/v1\n",
            &pointer().replace("spec/v1", "spec/v9"),
            &pointer().replace("sha256", "md5"),
            &pointer().replace("4d7a", "4D7A"),
            &pointer().replace("4d7a", "../a"),
            &pointer().replace("12345", "-1"),
            &format!("# About pointers\n\n{}", pointer()),
            &pointer().replace("size", "a line of text\nsize2"),
        ] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[tokio::test]
    async fn so_many_objects_are_taken_and_no_more() {
        let mut blobs = Blobs::default();
        for number in 0..MOST + 1 {
            let pointer = pointer().replace(OID, &format!("{number:064}"));
            let entry = format!("blob {} a\n{pointer}\n", pointer.len());
            if number == MOST {
                let found = blobs.found.clone();
                let unread = Vec::new();
                assert_eq!(Blobs { unread, found }.all().unwrap().len(), MOST);
            }
            blobs.take(entry.as_bytes()).await.unwrap();
        }
        assert!(blobs.all().unwrap_err().to_string().contains("100000"));
    }

    #[tokio::test]
    async fn blobs_are_read_in_any_pieces_and_each_object_once() {
        let pointer = pointer();
        let entry =
            |path: &str, content: &str| format!("blob {} {path}\n{content}\n", content.len());
        let written = [
            entry("a b", &pointer),
            "0123 missing\n".to_owned(),
            entry("text", "no\npointer\n"),
            entry("", ""),
            entry("again", &pointer),
        ]
        .concat();
        for length in [1, 7, written.len()] {
            let mut blobs = Blobs::default();
            for piece in written.as_bytes().chunks(length) {
                assert!(blobs.take(piece).await.unwrap());
            }
            assert!(blobs.unread.is_empty());
            let found: Vec<&str> = blobs.found.values().map(|one| one.path.as_str()).collect();
            assert_eq!(found, ["a b"]);
        }
    }
}
