//! How a call of Cloud Storage fails, over JSON and over gRPC.

use std::io;

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;

use crate::bucket::BucketError;
use crate::bucket::names::Name;

/// How a call failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The generation was another: 412 over JSON, `FAILED_PRECONDITION` over gRPC.
    Condition,
    /// There is no such object.
    Absent,
    /// The range begins at or behind the end.
    Range,
    /// What arrived is not what was sent, or not all of it.
    Broken(Error),
    Other(BucketError),
}

impl Failure {
    pub(super) fn of(name: &str, error: Error) -> Self {
        let code = error.status().map(|status| status.code);
        match (error.http_status_code(), code) {
            (Some(412), _) | (_, Some(Code::FailedPrecondition)) => Self::Condition,
            (Some(404), _) | (_, Some(Code::NotFound)) => Self::Absent,
            (Some(416), _) | (_, Some(Code::OutOfRange)) => Self::Range,
            _ if error.is_deserialization() => Self::Broken(error),
            _ => Self::Other(BucketError::Io {
                name: name.to_owned(),
                source: io::Error::other(error),
            }),
        }
    }

    pub(super) fn into_error(self, name: &Name) -> BucketError {
        let name = name.as_str().to_owned();
        match self {
            Self::Condition => BucketError::Conflict(name),
            Self::Absent => BucketError::Io {
                name,
                source: io::ErrorKind::NotFound.into(),
            },
            Self::Range => BucketError::Io {
                name,
                source: io::ErrorKind::UnexpectedEof.into(),
            },
            Self::Broken(error) => BucketError::Io {
                name,
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            },
            Self::Other(error) => error,
        }
    }
}

pub(super) fn absent_is_none<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Absent) => Ok(None),
        Err(failure) => Err(failure),
    }
}
