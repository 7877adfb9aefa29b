//! Container images from static programs: no container engine, no base image, no shell.
//!
//! The form is Docker's archive (`docker save`), which containerd, Docker, Podman and k3s all load: a tar with
//! `manifest.json`, the configuration, and one layer, itself a tar. The same input gives the same
//! bytes.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;
use tar::{Builder, EntryType, Header};

use crate::release::sha256 as hex;

/// What an image is made of.
#[derive(Clone, Debug)]
pub struct Image {
    tag: String,
    files: Vec<(PathBuf, String)>,
    /// The programs, by where they are in the image, that open packet sockets as any user.
    raw: BTreeSet<String>,
    entrypoint: Option<String>,
    user: String,
    labels: serde_json::Map<String, serde_json::Value>,
    architecture: String,
    created: String,
}

impl Image {
    /// An empty image of this name and tag, for machines like this one.
    pub fn new(tag: &str) -> Self {
        Image {
            tag: tag.to_owned(),
            files: Vec::new(),
            raw: BTreeSet::new(),
            entrypoint: None,
            user: "65532".to_owned(),
            labels: serde_json::Map::new(),
            architecture: architecture(std::env::consts::ARCH).to_owned(),
            created: "1970-01-01T00:00:00Z".to_owned(),
        }
    }

    /// With the program `from` as `/to`.
    #[must_use]
    pub fn file(mut self, from: &Path, to: &str) -> Self {
        self.files.push((from.to_owned(), to.trim_start_matches('/').to_owned()));
        self
    }

    /// The program `/to` has the file capability NET_RAW: whoever may have that capability has it in that program, whatever user
    /// that is (capabilities(7)). A pod that adds it to its container does; all others run the program without.
    #[must_use]
    pub fn net_raw(mut self, to: &str) -> Self {
        self.raw.insert(to.trim_start_matches('/').to_owned());
        self
    }

    /// What runs when a pod names no command.
    #[must_use]
    pub fn entrypoint(mut self, path: &str) -> Self {
        self.entrypoint = Some(path.to_owned());
        self
    }

    /// As whom it runs, as a number: there is no /etc/passwd.
    #[must_use]
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// For another processor, in the words of the image format: `amd64`, `arm64`.
    #[must_use]
    pub fn architecture(mut self, name: &str) -> Self {
        name.clone_into(&mut self.architecture);
        self
    }

    /// Made at this time, as in RFC 3339, and not at the beginning of time.
    #[must_use]
    pub fn created(mut self, time: &str) -> Self {
        time.clone_into(&mut self.created);
        self
    }

    /// The processor it is for.
    pub(crate) fn processor(&self) -> &str {
        &self.architecture
    }

    /// With a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.insert(name.to_owned(), json!(value));
        self
    }
}

/// Writes `image` to `file`, whole or not at all.
///
/// # Errors
/// When a program cannot be read or the file cannot be written.
pub fn write(image: &Image, file: &Path) -> io::Result<()> {
    place(&archive(image)?, file)
}

/// Puts `bytes` where `file` is named, whole or not at all.
pub(crate) fn place(bytes: &[u8], file: &Path) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    draft.write_all(bytes)?;
    // A temporary file is its maker's alone; an image made by root is for whoever runs the cluster.
    draft.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    draft.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn archive(image: &Image) -> io::Result<Vec<u8>> {
    let layer = layer(image)?;
    let digest = hex(&layer);
    let config = config(image, &digest)?;
    let (config_name, layer_name) = (format!("{}.json", hex(&config)), format!("{digest}/layer.tar"));
    let manifest = serde_json::to_vec(
        &json!([{"Config": config_name, "RepoTags": [image.tag], "Layers": [layer_name]}]),
    )?;
    let mut archive = Builder::new(Vec::new());
    for (name, bytes) in [(config_name, config), (layer_name, layer), ("manifest.json".to_owned(), manifest)]
    {
        append(&mut archive, &name, 0o644, &bytes)?;
    }
    archive.into_inner()
}

/// The image's configuration; `layer` is the digest of its only layer, uncompressed.
pub(crate) fn config(image: &Image, layer: &str) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&json!({
        "architecture": image.architecture, "os": "linux", "created": image.created,
        "config": {
            "User": image.user, "WorkingDir": "/", "Env": ["PATH=/"],
            "Entrypoint": image.entrypoint.as_ref().map(|path| vec![path]), "Labels": image.labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer}")]},
        "history": [{"created": image.created, "created_by": "ferrolb"}],
    }))?)
}

/// The image's only layer, a tar.
pub(crate) fn layer(image: &Image) -> io::Result<Vec<u8>> {
    let mut layer = Builder::new(Vec::new());
    let mut folders: Vec<String> = Vec::new();
    let mut files = image.files.clone();
    files.sort_by(|left, right| left.1.cmp(&right.1));
    for (from, to) in files {
        for parent in Path::new(&to).ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()) {
            folders.push(format!("{}/", parent.display()));
        }
        folders.sort();
        folders.dedup();
        let bytes = std::fs::read(&from)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", from.display())))?;
        if image.raw.contains(&to) {
            layer.append_pax_extensions([("SCHILY.xattr.security.capability", &NET_RAW[..])])?;
        }
        append(&mut layer, &to, 0o755, &bytes)?;
    }
    // A runtime makes missing folders itself, but not with the mode that everybody may enter.
    let mut with_folders = Builder::new(Vec::new());
    for folder in folders {
        let mut header = header(0o755, 0);
        header.set_entry_type(EntryType::Directory);
        with_folders.append_data(&mut header, folder, io::empty())?;
    }
    let mut bytes = with_folders.into_inner()?;
    // The end of a tar is two empty blocks; what follows the folders takes their place.
    bytes.truncate(bytes.len().saturating_sub(1024));
    bytes.extend(layer.into_inner()?);
    Ok(bytes)
}

/// The extended attribute of a file with `CAP_NET_RAW` (13), permitted and effective: `struct vfs_cap_data` of linux/capability.h,
/// revision 2.
const NET_RAW: [u8; 20] = {
    let mut data = [0; 20];
    // The revision is the highest byte of the first word, "effective" its lowest bit.
    (data[0], data[3]) = (1, 2);
    // Permitted, the lower word.
    data[5] = 1 << (13 - 8);
    data
};

/// One file of an archive.
pub(crate) fn append(archive: &mut Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    archive.append_data(&mut header(mode, bytes.len() as u64), name, bytes)
}

/// Without times and owners, so that the same input gives the same bytes.
fn header(mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The processor in the words of the image format (Go's).
pub(crate) fn architecture(rust: &str) -> &str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn entries(bytes: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(bytes);
        archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let (name, mode) =
                    (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap());
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                (name, (mode, content))
            })
            .collect()
    }

    #[test]
    fn an_archive_names_its_configuration_and_layer_by_their_hashes() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "bytes").unwrap();
        let image = Image::new("a/b:1")
            .file(&program, "/bin/x")
            .file(&program, "a")
            .net_raw("/bin/x")
            .entrypoint("/bin/x")
            .user("0");
        let bytes = archive(&image).unwrap();
        assert_eq!(bytes, archive(&image).unwrap(), "the same input gives the same bytes");

        let outer = entries(&bytes);
        let manifest: serde_json::Value = serde_json::from_slice(&outer["manifest.json"].1).unwrap();
        assert_eq!(manifest[0]["RepoTags"], json!(["a/b:1"]));
        let config = &outer[manifest[0]["Config"].as_str().unwrap()].1;
        let layer = &outer[manifest[0]["Layers"][0].as_str().unwrap()].1;
        assert_eq!(manifest[0]["Config"], json!(format!("{}.json", hex(config))));
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([format!("sha256:{}", hex(layer))]));
        assert_eq!(
            (&config["config"]["Entrypoint"], &config["config"]["User"]),
            (&json!(["/bin/x"]), &json!("0"))
        );

        let mut archive = tar::Archive::new(&layer[..]);
        let mut attributes = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            for known in entry.pax_extensions().unwrap().into_iter().flatten() {
                let known = known.unwrap();
                attributes
                    .insert((name.clone(), known.key().unwrap().to_owned()), known.value_bytes().to_vec());
            }
        }
        let capability = ("bin/x".to_owned(), "SCHILY.xattr.security.capability".to_owned());
        // As setcap cap_net_raw=ep writes it.
        let value = *b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(attributes, [(capability, value.to_vec())].into());

        let inner = entries(layer);
        assert_eq!(inner.keys().collect::<Vec<_>>(), ["a", "bin/", "bin/x"]);
        assert_eq!(inner["bin/x"], (0o755, b"bytes".to_vec()));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = archive(&Image::new("a:1").file(Path::new("/no/such"), "x")).unwrap_err();
        assert!(error.to_string().contains("/no/such"), "{error}");
    }
}
