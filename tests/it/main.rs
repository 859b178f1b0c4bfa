//! Every test starts the real gateway; most run the real CLI against the scripted model.
//!
//! One binary, so that the machine links once. What a test waits for is an event, never a time.

mod actions;
mod approvals;
mod attacks;
mod authoring;
mod cancel;
mod capabilities;
mod clients;
mod commands;
mod contract;
mod crashes;
mod deliveries;
mod environment;
mod examples;
mod files;
mod first_task;
mod gate;
mod git_action;
mod health;
mod hostile_repositories;
mod lfs;
mod limits;
mod lists;
mod mcp;
mod parameters;
mod pauses;
mod plugins;
mod pushes;
mod queue;
mod recoveries;
mod repeats;
mod repo_config;
mod repositories;
mod requests;
mod required_actions;
mod secrets;
mod settings;
mod shipped;
mod sources;
mod streams;
mod swaps;
mod trials;
mod tutorial;
mod upstream;
mod webhooks;
