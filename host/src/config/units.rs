//! Durations and sizes with their units, lists in one word.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserializer;

macro_rules! unit { ($($name:ident: $type:ty),*) => { $(pub(super) fn $name<'de, D: Deserializer<'de>>(_from: D) -> Result<$type, D::Error> { unimplemented!() })* } }
unit!(bytes: u64, duration: Duration, durations: Vec<Duration>, secrets: Vec<SecretString>, optional_secret: Option<SecretString>, optional: Option<String>, optional_path: Option<PathBuf>, words: Vec<String>);
