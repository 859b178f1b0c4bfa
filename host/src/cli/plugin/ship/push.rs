//! `gatehouse plugin push`.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::super::author::told;
use super::{as_source, open};
use crate::config::Sources;

pub(super) async fn run(
    what: &Path,
    reference: &str,
    as_json: bool,
    sources: &Sources,
) -> anyhow::Result<()> {
    let (_, shipping) = open(sources).await?;
    let what = std::path::absolute(what).context("what to push")?;
    let path = what
        .to_str()
        .context("what to push has a path that is no UTF-8")?;
    let parcel = shipping
        .fetch(path, Path::new("/"), None)
        .await
        .map_err(told)?;
    let pushed = shipping.push(&parcel, &as_source(reference)).await;
    let published = pushed.map_err(told)?;
    let about = &parcel.about;
    if as_json {
        let told = json!({
            "name": about.name,
            "version": about.version,
            "source": published.reference,
            "manifestDigest": published.manifest_digest,
            "sha256": parcel.digest,
        });
        println!("{told:#}");
    } else {
        println!(
            "{} {} is published, and was read back as a gateway does.\nsource    {}\nsha256    {}",
            about.name, about.version, published.reference, parcel.digest
        );
    }
    Ok(())
}
