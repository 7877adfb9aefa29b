//! Certificates and kubeconfigs: one authority, one identity for each program.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::{Config, LabError, Paths};

/// Who gets a client certificate: file name, common name, organisation. The last two are the user and
/// the group that RBAC sees.
fn identities(config: &Config) -> Vec<(String, String, &'static str)> {
    let mut list = vec![
        ("admin".to_owned(), "kubernetes-admin".to_owned(), "system:masters"),
        ("apiserver-kubelet".to_owned(), "kube-apiserver-kubelet-client".to_owned(), "system:masters"),
        ("controller-manager".to_owned(), "system:kube-controller-manager".to_owned(), ""),
        ("scheduler".to_owned(), "system:kube-scheduler".to_owned(), ""),
        ("proxy".to_owned(), "system:kube-proxy".to_owned(), ""),
    ];
    list.extend(config.node_names().into_iter().map(|node| {
        let user = format!("system:node:{node}");
        (node, user, "system:nodes")
    }));
    list
}

/// Makes all keys, certificates and kubeconfigs of a lab.
///
/// # Errors
/// When a file cannot be written.
pub fn make(config: &Config, paths: &Paths, api_server: &str) -> Result<(), LabError> {
    let folder = paths.pki();
    let failed = |error: rcgen::Error| LabError::program("making certificates", error);

    let authority_key = KeyPair::generate().map_err(failed)?;
    let mut authority = CertificateParams::default();
    authority.distinguished_name = name("ferrolb-lab", "");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let authority_pem = authority.self_signed(&authority_key).map_err(failed)?.pem();
    write(&folder, "ca.crt", &authority_pem)?;
    let issuer = Issuer::new(authority, authority_key);

    let hosts = [
        "kubernetes",
        "kubernetes.default.svc",
        "127.0.0.1",
        "10.96.0.1",
        "10.20.0.10",
        "10.10.0.10",
        "fd96::1",
    ];
    let mut server = CertificateParams::new(hosts.map(str::to_owned)).map_err(failed)?;
    server.distinguished_name = name("kube-apiserver", "");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(failed)?;
    write(&folder, "apiserver.crt", &server.signed_by(&key, &issuer).map_err(failed)?.pem())?;
    write(&folder, "apiserver.key", &key.serialize_pem())?;

    let accounts = KeyPair::generate().map_err(failed)?;
    write(&folder, "service-accounts.key", &accounts.serialize_pem())?;
    write(&folder, "service-accounts.pub", &accounts.public_key_pem())?;

    for (file, user, group) in identities(config) {
        let mut client = CertificateParams::default();
        client.distinguished_name = name(&user, group);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = client.signed_by(&key, &issuer).map_err(failed)?.pem();
        write(&folder, &format!("{file}.crt"), &certificate)?;
        write(&folder, &format!("{file}.key"), &key.serialize_pem())?;
        let text = kubeconfig(api_server, &authority_pem, &certificate, &key.serialize_pem());
        write(&folder, &format!("{file}.kubeconfig"), &text)?;
    }
    Ok(())
}

/// Writes the administrator's kubeconfig for use outside the lab, where the API server is `server`.
///
/// # Errors
/// When a file cannot be read or written.
pub fn admin(paths: &Paths, server: &str) -> Result<(), LabError> {
    let read = |file: &str| {
        let path = paths.pki().join(file);
        std::fs::read_to_string(&path).map_err(LabError::at(path))
    };
    let text = kubeconfig(server, &read("ca.crt")?, &read("admin.crt")?, &read("admin.key")?);
    let path = paths.kubeconfig();
    std::fs::write(&path, text).map_err(LabError::at(path))
}

fn name(user: &str, group: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, user);
    if !group.is_empty() {
        name.push(DnType::OrganizationName, group);
    }
    name
}

/// A kubeconfig; JSON is YAML too.
fn kubeconfig(server: &str, authority: &str, certificate: &str, key: &str) -> String {
    let data = |pem: &str| base64(pem.as_bytes());
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority-data": data(authority)}}],
        "users": [{"name": "lab", "user": {"client-certificate-data": data(certificate), "client-key-data": data(key)}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
    })
    .to_string()
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    serde_json::to_value(k8s_openapi::ByteString(bytes.to_vec()))
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn write(folder: &Path, file: &str, text: &str) -> Result<(), LabError> {
    let path = folder.join(file);
    std::fs::write(&path, text).map_err(LabError::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_encoded_as_kubeconfigs_want_them() {
        assert_eq!(base64(b"a~?"), "YX4/");
    }

    #[test]
    fn each_program_has_an_identity_of_its_own() {
        let list = identities(&Config::new("a").unwrap().nodes(2));
        let users: Vec<_> = list.iter().map(|(_, user, _)| user.as_str()).collect();
        assert!(users.contains(&"system:node:node2") && users.contains(&"system:kube-proxy"));
        assert!(
            list.iter().all(|(_, user, group)| !user.starts_with("system:node:") || *group == "system:nodes")
        );
    }
}
