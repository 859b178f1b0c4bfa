//! What tokens cost, by the table in `prices.toml`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

/// Sums are in billionths of a dollar, in which every price of a token is a whole number.
const PER_DOLLAR: f64 = 1e9;
/// A price per million tokens in dollars is so many billionths for one token.
const PER_TOKEN: f64 = 1e3;
/// One search by the server.
const WEB_SEARCH: u64 = 10_000_000;

/// Tokens of one answer, as far as they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    pub(super) input: u64,
    pub(super) output: u64,
    pub(super) cache_read: u64,
    pub(super) cache_creation: u64,
    /// Of those, what is kept for an hour.
    pub(super) kept_for_an_hour: u64,
    pub(super) web_searches: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    input: f64,
    output: f64,
    cache_read: f64,
    /// Prompts above so many tokens cost more.
    #[serde(default)]
    above: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    input: f64,
    output: f64,
    cache_read: f64,
    long: Option<Price>,
}

/// The table. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Prices {
    by_name: Arc<BTreeMap<String, Entry>>,
    dearest: Price,
}

impl Prices {
    /// The table that is compiled in.
    pub(super) fn read() -> Result<Self, toml::de::Error> {
        let by_name: BTreeMap<String, Entry> = toml::from_str(include_str!("prices.toml"))?;
        let most = |rate: fn(&Entry) -> f64| by_name.values().map(rate).fold(0.0, f64::max);
        let dearest = Price {
            input: most(|entry| entry.input),
            output: most(|entry| entry.output),
            cache_read: most(|entry| entry.cache_read),
            above: 0,
        };
        Ok(Self {
            by_name: Arc::new(by_name),
            dearest,
        })
    }

    /// In billionths of a dollar. A model that nobody knows counts like the dearest.
    pub(super) fn cost(&self, model: &str, tokens: &Tokens) -> u64 {
        let named = self.by_name.iter().filter(|(name, _)| begins(model, name));
        let price = match named.max_by_key(|(name, _)| name.len()) {
            None => self.dearest,
            Some((_, entry)) => {
                let prompt = tokens.input + tokens.cache_read + tokens.cache_creation;
                entry
                    .long
                    .filter(|long| prompt > long.above)
                    .unwrap_or(Price {
                        input: entry.input,
                        output: entry.output,
                        cache_read: entry.cache_read,
                        above: 0,
                    })
            }
        };
        let hour = tokens.kept_for_an_hour.min(tokens.cache_creation);
        let of = |tokens: u64, rate: f64| tokens as f64 * rate * PER_TOKEN;
        let tokens_cost = of(tokens.input, price.input)
            + of(tokens.output, price.output)
            + of(tokens.cache_read, price.cache_read)
            + of(tokens.cache_creation - hour, price.input * 1.25)
            + of(hour, price.input * 2.0);
        (tokens_cost.round() as u64).saturating_add(tokens.web_searches.saturating_mul(WEB_SEARCH))
    }
}

/// `claude-opus-4` is also `claude-opus-4-20250514`, and not `claude-opus-45`.
fn begins(model: &str, name: &str) -> bool {
    model
        .strip_prefix(name)
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
}

/// Dollars as the sums count them.
pub(super) fn from_dollars(dollars: f64) -> u64 {
    (dollars * PER_DOLLAR).round() as u64
}

pub(super) fn to_dollars(sum: u64) -> f64 {
    sum as f64 / PER_DOLLAR
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn dollars(model: &str, tokens: Tokens) -> f64 {
        to_dollars(Prices::read().unwrap().cost(model, &tokens))
    }

    fn million(change: impl Fn(&mut Tokens)) -> Tokens {
        let mut tokens = Tokens::default();
        change(&mut tokens);
        tokens
    }

    #[test]
    fn the_longest_name_counts_and_an_unknown_model_is_the_dearest() {
        let input = million(|tokens| tokens.input = 1_000_000);
        for (model, expected) in [
            ("claude-sonnet-4-5-20250929", 3.0),
            ("claude-sonnet-5-5", 2.0),
            ("claude-opus-4-20250514", 15.0),
            ("claude-opus-4-1", 15.0),
            ("claude-opus-4-5", 5.0),
            ("claude-opus-5-5[1m]", 4.0),
            ("claude-opus-45", 15.0),
            ("somebody-elses", 15.0),
            ("", 15.0),
        ] {
            assert_eq!(dollars(model, input), expected, "{model}");
        }
    }

    #[test]
    fn every_kind_of_token_has_its_price() {
        let model = "claude-haiku-4-5";
        assert_eq!(
            dollars(model, million(|tokens| tokens.output = 1_000_000)),
            5.0
        );
        assert_eq!(
            dollars(model, million(|tokens| tokens.cache_read = 1_000_000)),
            0.1
        );
        let written = million(|tokens| tokens.cache_creation = 1_000_000);
        assert_eq!(dollars(model, written), 1.25);
        let kept = Tokens {
            kept_for_an_hour: 1_000_000,
            ..written
        };
        assert_eq!(dollars(model, kept), 2.0);
        assert_eq!(
            dollars(model, million(|tokens| tokens.web_searches = 100)),
            1.0
        );
        let long = million(|tokens| tokens.input = 100_001);
        assert!(dollars("claude-haiku-5-5", long) > 0.05);
        let short = million(|tokens| tokens.input = 100_000);
        assert_eq!(dollars("claude-haiku-5-5", short), 0.01);
    }
}
