//! Every test starts the real gateway; most run the real CLI against the scripted model.
//!
//! One binary, so that the machine links once. What a test waits for is an event, never a time.

mod attacks;
mod cancel;
mod crashes;
mod deliveries;
mod files;
mod first_task;
mod gate;
mod health;
mod limits;
mod plugins;
mod queue;
mod repeats;
mod requests;
mod secrets;
mod settings;
mod streams;
mod webhooks;
