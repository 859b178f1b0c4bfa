//! Gatehouse runs coding-agent tasks: it checks a request, seals its secrets, starts an isolated job
//! that runs the Claude Code CLI, streams every event back, carries out what was asked for afterwards
//! and reports. ARCHITECTURE.md tells the life of a task with a file named at each step.

pub mod access;
pub mod admission;
pub mod agent;
pub mod app;
pub mod broker;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod envelope;
pub mod git;
#[cfg(feature = "gcp")]
mod google;
pub mod http;
pub mod isolation;
pub mod job;
pub mod launch;
pub mod outbound;
pub mod plugin;
pub mod redact;
pub mod secret_file;
pub mod secrets;
pub mod task;
pub mod telemetry;
pub mod wasm;
pub mod webhook;
