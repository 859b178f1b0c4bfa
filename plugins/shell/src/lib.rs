//! Reads a command line of bash and says what it would run, read and write.
//!
//! Three steps. [`parser`] makes a tree of the line. [`expand`] makes fields of its words, as far as
//! that can be told without running anything: quotes, braces, globs, variables that the line itself
//! sets, and the output of a few commands. [`walk`] goes through the tree as the shell would, with
//! every directory that it may stand in, and sees through what runs other commands: `env`, `xargs`,
//! `find -exec`, `bash -c`, functions, scripts on standard input.
//!
//! Nothing is run and no file is looked at. What cannot be read is an error, and what cannot be told
//! stays unknown: whoever judges has to decide what becomes of that.

mod ast;
mod braces;
mod builtin;
mod carriers;
mod command;
mod expand;
mod output;
mod parser;
mod path;
mod reach;
mod script;
mod simple;
mod state;
mod text;
mod walk;

pub use command::{Operands, base_name};
pub use path::{Place, resolve};
pub use text::{Origin, Piece, Text};
pub use walk::{Context, Deed, Event, events};

/// Why a line cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);
