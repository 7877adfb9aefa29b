//! An OCI image layout (a tar) that holds one image for several architectures, under an index.
//!
//! `skopeo copy --all oci-archive:…` pushes it to a registry; containerd, Podman and Docker load it. Layers are compressed by zstd,
//! which makes them a fifth smaller than gzip does. The same programs give the same bytes, whatever machine packs them.

use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::image::labels;
use super::sha256;
use super::source::Source;
use crate::image::{Image, append, config, layer};

/// What is written, and how large it is.
#[derive(Clone, Debug)]
pub struct Written {
    /// The digest of the index: by it the image is named in a registry.
    pub index: String,
    /// Of each architecture: its name, the digest of its manifest, and the bytes of its layer, compressed and not.
    pub images: Vec<(String, String, usize, usize)>,
}

/// Writes `images`, one of each architecture, to `file`. `name` is what they are loaded as, `source_url` where their source is.
///
/// # Errors
/// When a program cannot be read or the file cannot be written.
pub fn write(
    images: &[Image],
    name: &str,
    source: &Source,
    source_url: Option<&str>,
    file: &Path,
) -> io::Result<Written> {
    let mut blobs = Blobs::default();
    let mut annotations = json!({});
    for (label, value) in labels(source) {
        annotations[label] = json!(value);
    }
    if let Some(url) = source_url {
        annotations["org.opencontainers.image.source"] = json!(url);
    }
    let (mut manifests, mut written) = (Vec::new(), Vec::new());
    for image in images {
        let layer = layer(image)?;
        let compressed = compress(&layer)?;
        let (size, small) = (layer.len(), compressed.len());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blobs.add("application/vnd.oci.image.config.v1+json", config(image, &sha256(&layer))?),
            "layers": [blobs.add("application/vnd.oci.image.layer.v1.tar+zstd", compressed)],
            "annotations": annotations,
        });
        let mut descriptor = blobs.add(MANIFEST, serde_json::to_vec(&manifest)?);
        descriptor["platform"] = json!({"architecture": image.processor(), "os": "linux"});
        let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
        written.push((image.processor().to_owned(), digest, small, size));
        manifests.push(descriptor);
    }
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": annotations,
    });
    let mut descriptor = blobs.add(INDEX, serde_json::to_vec(&index)?);
    let tag = name.rsplit_once(':').map_or(name, |(_, tag)| tag);
    // By the first, tools find it in the archive; by the second, containerd knows what to call it.
    descriptor["annotations"] =
        json!({"org.opencontainers.image.ref.name": tag, "io.containerd.image.name": name});
    let digest = descriptor["digest"].as_str().unwrap_or_default().to_owned();
    blobs.write(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}), file)?;
    Ok(Written { index: digest, images: written })
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The parts of a layout, each named by what is in it.
#[derive(Default)]
struct Blobs(std::collections::BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Takes a part and returns its descriptor.
    fn add(&mut self, kind: &str, bytes: Vec<u8>) -> Value {
        let hash = sha256(&bytes);
        let descriptor = json!({"mediaType": kind, "digest": format!("sha256:{hash}"), "size": bytes.len()});
        self.0.insert(hash, bytes);
        descriptor
    }

    fn write(self, index: &Value, file: &Path) -> io::Result<()> {
        let mut archive = tar::Builder::new(Vec::new());
        append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        append(&mut archive, "index.json", 0o644, &serde_json::to_vec(index)?)?;
        for (hash, bytes) in self.0 {
            append(&mut archive, &format!("blobs/sha256/{hash}"), 0o644, &bytes)?;
        }
        crate::image::place(&archive.into_inner()?, file)
    }
}

/// A layer as it is pulled.
///
/// # Errors
/// When there is no memory for it.
pub fn compress(bytes: &[u8]) -> io::Result<Vec<u8>> {
    // Of the levels that every reader has the memory for, the one that makes the least.
    zstd::bulk::compress(bytes, 19)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::super::image::image;
    use super::*;

    fn parts(file: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(std::fs::File::open(file).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().uid().unwrap()), (0, 0));
            let (name, mut bytes) = (entry.path().unwrap().display().to_string(), Vec::new());
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        });
        entries.collect()
    }

    /// What a descriptor points to; its size and hash are right.
    fn part<'a>(parts: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let hash = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let bytes = &parts[&format!("blobs/sha256/{hash}")];
        assert_eq!(
            (descriptor["size"].as_u64().unwrap(), sha256(bytes)),
            (bytes.len() as u64, hash.to_owned())
        );
        bytes
    }

    #[test]
    fn an_index_leads_to_the_programs_of_each_architecture() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source { revision: "abc".into(), epoch: 1_700_000_000 };
        let mut images = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let of = folder.path().join(architecture);
            std::fs::create_dir(&of).unwrap();
            for name in super::super::PROGRAMS {
                std::fs::write(of.join(name), format!("{name} {architecture}")).unwrap();
            }
            images.push(image("r/ferrolb:v1", &of, architecture, &source));
        }
        let file = folder.path().join("a.tar");
        let written = write(&images, "r/ferrolb:v1", &source, Some("https://r"), &file).unwrap();
        let again = folder.path().join("b.tar");
        write(&images, "r/ferrolb:v1", &source, Some("https://r"), &again).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap());

        let parts = parts(&file);
        let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        let outer = json(&parts["index.json"]);
        assert_eq!(outer["manifests"][0]["digest"], json!(written.index));
        assert_eq!(outer["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "v1");
        let index = json(part(&parts, &outer["manifests"][0]));
        let annotation =
            |of: &Value, name: &str| of["annotations"][format!("org.opencontainers.image.{name}")].clone();
        for (name, value) in [
            ("revision", "abc"),
            ("created", "2023-11-14T22:13:20Z"),
            ("licenses", "Apache-2.0"),
            ("source", "https://r"),
        ] {
            assert_eq!(annotation(&index, name), json!(value));
        }
        for (number, architecture) in ["amd64", "arm64"].into_iter().enumerate() {
            let descriptor = &index["manifests"][number];
            assert_eq!(descriptor["platform"], json!({"architecture": architecture, "os": "linux"}));
            assert_eq!(written.images[number].1, descriptor["digest"].as_str().unwrap());
            let manifest = json(part(&parts, descriptor));
            assert_eq!(annotation(&manifest, "revision"), "abc");
            let config = json(part(&parts, &manifest["config"]));
            assert_eq!(
                (&config["architecture"], &config["created"]),
                (&json!(architecture), &json!("2023-11-14T22:13:20Z"))
            );
            let layer = zstd::bulk::decompress(part(&parts, &manifest["layers"][0]), 1 << 20).unwrap();
            assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", sha256(&layer))]));
            let text = String::from_utf8_lossy(&layer).into_owned();
            assert!(text.contains(&format!("ferrolb-speaker {architecture}")), "the programs are in it");
        }
    }
}
