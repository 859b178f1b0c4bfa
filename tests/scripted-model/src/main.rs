//! `scripted-model --scenario DIR|FILE [--listen 127.0.0.1:PORT] [--expect-key KEY]`
//!
//! The first line on stdout is its address; it serves until it is ended.

use anyhow::{Context as _, bail};
use scripted_model::{Options, Scenarios, ScriptedModel};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut scenarios = None;
    let mut options = Options::default();
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--scenario" => scenarios = Some(Scenarios::load(value)?),
            "--listen" => options.listen = value.parse().context("--listen")?,
            "--expect-key" => options.expect_key = Some(value),
            _ => bail!("{name} is not known; there are --scenario, --listen and --expect-key"),
        }
    }
    let scenarios = scenarios.context("--scenario DIR|FILE is needed")?;
    let model = ScriptedModel::start_with(scenarios, options).await?;
    println!("{}", model.url());
    eprintln!("scripted model: answers are read from scenario files, no AI is behind them");
    model.ended().await;
    Ok(())
}
