//! Names for addresses: `config/samples/dns`.

use ferrolb_tests::scene::Scene;

use crate::ask::{Way, page, resolve, unknown};
use crate::stage::{socket, with_sample};
use crate::{LAN, LabError};

#[test]
fn dns() {
    with_sample("dns", LAN, async |scene, _| names(scene).await);
}

async fn names(scene: &Scene) -> Result<(), LabError> {
    let client = scene.client_host()?;
    let server = scene.address("dns").await?;
    assert_eq!(server.to_string(), "10.10.0.241", "as the manifest asks");
    let web = socket(scene, "web", 80).await?;
    for way in [Way::Udp, Way::Tcp] {
        let found = resolve(&client, server, "web.sample-dns.lb.home.arpa", way).await?;
        assert_eq!(found, [web.ip()], "by {way:?}");
    }
    page(&client, web).await?;

    // A Service that comes has a name, and one that goes has none any more.
    let name = "later.sample-dns.lb.home.arpa";
    unknown(&client, server, name).await?;
    scene.service("later").create().await?;
    let address = scene.address("later").await?;
    assert_eq!(resolve(&client, server, name, Way::Udp).await?, [address]);
    scene.delete_service("later").await?;
    unknown(&client, server, name).await
}
