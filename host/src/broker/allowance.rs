//! What one task may ask of the upstream, whatever the CLI believes: models, sizes, sums.

use serde::Deserialize;

use super::meter::Meter;
use super::refusal::Refusal;

/// The operator's limits for each task, and the task's own budget. A limit of zero, or an empty list,
/// sets none.
#[derive(Clone, Debug, Default)]
pub(super) struct Allowance {
    models: Vec<String>,
    max_tokens: u64,
    requests: u64,
    output_tokens: u64,
    /// In billionths of a dollar.
    budget: Option<u64>,
}

/// The two fields of a request that are judged. What is absent is left to the upstream to refuse.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    max_tokens: Option<u64>,
}

impl Allowance {
    pub(super) fn new(settings: &crate::config::Broker, budget: Option<u64>) -> Self {
        Self {
            models: settings.allowed_models.clone(),
            max_tokens: u64::from(settings.max_tokens_per_request),
            requests: u64::from(settings.max_requests),
            output_tokens: u64::from(settings.max_output_tokens),
            budget,
        }
    }

    /// Whether the sums so far leave room for one more request. The answers that are under way count
    /// when they end, so the last may overshoot.
    pub(super) fn judge_sums(&self, meter: &Meter) -> Result<(), Refusal> {
        let spent = |limit: u64, sum: u64| limit > 0 && sum >= limit;
        if spent(self.requests, meter.requests())
            || spent(self.output_tokens, meter.output_tokens())
            || self.budget.is_some_and(|budget| meter.cost() >= budget)
        {
            return Err(Refusal::BudgetSpent);
        }
        Ok(())
    }

    /// Whether a request's body has to be read before it may go.
    pub(super) fn reads_bodies(&self) -> bool {
        !self.models.is_empty() || self.max_tokens > 0
    }

    /// Judges a whole body. One that cannot be read, or names one of the two twice, does not go.
    pub(super) fn judge_body(&self, body: &[u8]) -> Result<(), Refusal> {
        let asked: Asked = serde_json::from_slice(body).map_err(|_| Refusal::Malformed)?;
        let model = asked.model.unwrap_or_default();
        if !self.models.is_empty() && !self.models.iter().any(|allowed| matches(allowed, &model)) {
            return Err(Refusal::ModelDenied);
        }
        if self.max_tokens > 0
            && asked
                .max_tokens
                .is_some_and(|asked| asked > self.max_tokens)
        {
            return Err(Refusal::TooManyTokens);
        }
        Ok(())
    }
}

/// `claude-sonnet-*` is every name that begins so.
fn matches(allowed: &str, model: &str) -> bool {
    match allowed.strip_suffix('*') {
        Some(beginning) => model.starts_with(beginning),
        None => allowed == model,
    }
}
