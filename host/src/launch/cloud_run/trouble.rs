//! What went wrong with a call of Cloud Run's, told by what can be done about it.

use google_cloud_gax::error::rpc::Code;
use google_cloud_run_v2::Error;

/// Each with what the operator is to know.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// 404
    #[error("{0}")]
    Missing(String),
    /// 401, 403, or no credentials.
    #[error("{0}")]
    Denied(String),
    /// Any other fault of the request.
    #[error("{0}")]
    Refused(String),
    /// Nothing was done, and later it may be.
    #[error("{0}")]
    NotNow(String),
    /// It is open whether anything was done.
    #[error("{0}")]
    Open(String),
}

impl Trouble {
    pub(super) fn of(error: &Error, job: &str) -> Self {
        let denied = || {
            Self::Denied(format!(
                "permission denied for {job}: run scripts/grant-job-permissions.sh, or grant the gateway's service account \
                 what deploy/roles/gatehouseJobRunner.yaml lists on it ({error})"
            ))
        };
        let code = error.status().map(|status| status.code);
        match error.http_status_code() {
            Some(404) => Self::Missing(format!(
                "there is no {job}, or no such execution of it: deploy the job first, and look at google.project_id, \
                 google.region and google.job_name ({error})"
            )),
            Some(401 | 403) => denied(),
            Some(429) => Self::NotNow(format!("a quota of Cloud Run is used up ({error})")),
            Some(408 | 409) => Self::Open(error.to_string()),
            // As while the job is being deployed anew.
            Some(400) if code == Some(Code::FailedPrecondition) => Self::NotNow(error.to_string()),
            Some(400..500) => Self::Refused(error.to_string()),
            _ if error.is_transient_and_before_rpc() || error.is_connect() => {
                Self::NotNow(error.to_string())
            }
            _ if error.is_authentication() => denied(),
            _ if error.is_binding() || error.is_serialization() => Self::Refused(error.to_string()),
            // Cut off, timed out, 5xx: 503 is said also by a front end that has handed the request on.
            _ => Self::Open(error.to_string()),
        }
    }
}
