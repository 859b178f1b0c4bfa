//! `gatehouse key new`: a key for a caller, shown once, and the line that lets it in.

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::EXIT_USAGE;
use crate::config::{caller_name, is_tenant};

/// What scanners for secrets look for, together with the checksum at the end.
const PREFIX: &str = "ghk_";
/// Of 62 characters each: 256 bits.
const RANDOM: usize = 43;
/// Of the checksum.
const CHECK: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a new key, once, and the line for auth.keys
    New {
        /// Of its caller, as records will show it
        #[arg(value_parser = name)]
        name: String,
        /// Whose tasks it makes and sees; without it, the default tenant's
        #[arg(long, value_parser = tenant)]
        tenant: Option<String>,
    },
}

fn name(text: &str) -> Result<String, String> {
    caller_name(text).map(|()| text.to_owned())
}

fn tenant(text: &str) -> Result<String, String> {
    let expected = "expected at most 128 letters, digits, `-`, `_`, `.`, `:` and `@`";
    is_tenant(text)
        .then(|| text.to_owned())
        .ok_or_else(|| expected.to_owned())
}

/// Prints the key on stdout's first line and the setting on its last; what they are for goes to stderr.
pub(super) fn run(options: Options) -> ExitCode {
    let Command::New { name, tenant } = options.command;
    let key = match new_key() {
        Ok(key) => key,
        Err(error) => {
            eprintln!("gatehouse: no random bytes are to be had: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let setting = setting(&name, tenant.as_deref(), &key);
    eprintln!("The key, which is shown this once; its line in [auth.keys] of the configuration:");
    let written = writeln!(std::io::stdout(), "{}\n{setting}", *key);
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn setting(name: &str, tenant: Option<&str>, key: &str) -> String {
    let digest = hex::encode(Sha256::digest(key));
    let tenant = tenant.map(|tenant| format!(", tenant = \"{tenant}\""));
    let tenant = tenant.unwrap_or_default();
    // A point in a bare name would make a table of it.
    format!("\"{name}\" = {{ sha256 = [\"{digest}\"]{tenant} }}")
}

/// `ghk_`, 43 random characters, and the CRC-32C of these in six more.
fn new_key() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM + CHECK));
    key.push_str(PREFIX);
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while key.len() < PREFIX.len() + RANDOM {
        getrandom::fill(&mut *bytes)?;
        let left = PREFIX.len() + RANDOM - key.len();
        // Each character is as likely as every other: bytes beyond four times the alphabet are left out.
        let fair = bytes
            .iter()
            .filter(|byte| usize::from(**byte) < 4 * ALPHABET.len());
        key.extend(fair.take(left).map(|byte| character(usize::from(*byte))));
    }
    let mut sum = usize::try_from(crc32c::crc32c(key.as_bytes().split_at(PREFIX.len()).1))
        .unwrap_or_default();
    let mut check = [' '; CHECK];
    for place in check.iter_mut().rev() {
        *place = character(sum);
        sum /= ALPHABET.len();
    }
    key.extend(check);
    Ok(key)
}

fn character(number: usize) -> char {
    let found = ALPHABET.get(number % ALPHABET.len());
    found.copied().map_or('0', char::from)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )]

    use super::*;

    #[test]
    fn a_key_has_its_prefix_256_random_bits_and_a_checksum() {
        let (key, other) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!(*key, *other);
        assert_eq!(key.len(), 53);
        let (random, check) = key.strip_prefix(PREFIX).unwrap().split_at(RANDOM);
        let value = |text: &str| {
            text.bytes().fold(0_u64, |sum, byte| {
                let digit = ALPHABET.iter().position(|known| *known == byte).unwrap();
                sum * 62 + digit as u64
            })
        };
        assert_eq!(value(check), u64::from(crc32c::crc32c(random.as_bytes())));
    }

    #[test]
    fn the_line_is_a_setting_that_holds_the_hash_alone() {
        let line = setting("ci.main", Some("team-a"), "ghk_x");
        assert!(!line.contains("ghk_x"));
        let table: toml::Table = line.parse().unwrap();
        let digest = hex::encode(Sha256::digest("ghk_x"));
        assert_eq!(table["ci.main"]["sha256"][0].as_str(), Some(&*digest));
        assert_eq!(table["ci.main"]["tenant"].as_str(), Some("team-a"));
    }
}
