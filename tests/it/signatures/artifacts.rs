//! Signatures that cosign leaves beside an artifact in a registry.

use gatehouse_tests::registry::Registry;

use super::*;

#[tokio::test]
async fn an_artifact_is_loaded_once_it_is_signed_as_cosign_signs_and_stays_without_its_registry() {
    let (desk, mut registry) = (Desk::new(), Registry::start().await);
    desk.configure(&["alice"], "all_of = ['alice']");
    registry.push(&desk.component(), "acme/guard:1").await;
    let manifest = format!(
        "[[plugin]]\nname = \"policy\"\nworld = \"tool-permission\"\nsource = \"{}\"\n",
        registry.source("acme/guard:1")
    );
    let mut gateway = Gateway::with()
        .plugins(&Manifest::empty())
        .env(
            "GATEHOUSE_CONFIG",
            desk.path("gatehouse.toml").to_str().unwrap(),
        )
        .env("GATEHOUSE__PLUGINS__REGISTRIES", &registry.settings())
        .start()
        .await;
    std::fs::write(gateway.data().with_file_name("plugins.toml"), manifest).unwrap();
    fails_with(&gateway, "plugin-unsigned", "alice").await;

    let digest = registry.digest("acme/guard:1").await;
    let payload = json!({
        "critical": {
            "identity": { "docker-reference": registry.source("acme/guard") },
            "image": { "docker-manifest-digest": digest },
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    let file = desk.path("payload.json");
    std::fs::write(&file, payload.to_string()).unwrap();
    for signer in ["mallory", "alice"] {
        let (payload, signature) = (payload.to_string(), desk.signature(signer, &file));
        registry
            .put_signature("acme/guard", &digest, payload.as_bytes(), &signature)
            .await;
        gateway.hang_up();
        match signer {
            "alice" => is_active(&gateway, json!(["alice"])).await,
            _ => fails_with(&gateway, "plugin-signature-refused", "none of the 1").await,
        };
    }

    registry.stop();
    gateway.kill().await;
    gateway.start_again().await;
    line(&gateway, |plugin| {
        plugin["state"] == "active" && plugin["signedBy"] == json!(["alice"])
    })
    .await;
}
