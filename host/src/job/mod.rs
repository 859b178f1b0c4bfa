//! The life of a job: open, prepare, run, act, report.
