//! The certificate that is shown to whoever reads metrics by HTTPS: that of a Secret, as it is mounted, or one made at start.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig, version};
use tokio_util::sync::CancellationToken;

/// How often it is looked whether the files are others. The kubelet brings a change within a minute or two.
const LOOK: Duration = Duration::from_secs(20);

/// The names of the files, as in a Secret of type `kubernetes.io/tls`.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// A file is missing, or is no PEM.
    #[error("cannot read {0}: {1}")]
    File(PathBuf, #[source] pem::Error),
    /// The file has none.
    #[error("{0} has no certificate")]
    Empty(PathBuf),
    /// The key is of no kind that is known, or is not that of the certificate.
    #[error("cannot use {0}: {1}")]
    Unusable(PathBuf, #[source] rustls::Error),
    /// None could be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[source] rcgen::Error),
    /// TLS cannot be had at all.
    #[error("cannot use TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// What is shown now.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Shown {
    /// Shows another one, if it is another one.
    fn show(&self, key: CertifiedKey) -> bool {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let news = shown.cert != key.cert;
        if news {
            *shown = Arc::new(key);
        }
        news
    }
}

/// TLS with the certificate in `folder`, which is followed until `shutdown`; without a folder, and as long as what is in it cannot be
/// used, with one that is made for `address`.
pub(super) fn follow(
    folder: Option<PathBuf>,
    address: IpAddr,
    shutdown: &CancellationToken,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let shown = Arc::new(Shown(RwLock::new(Arc::new(made(address)?))));
    if let Some(folder) = folder {
        let mut said = look(&folder, &shown, String::new());
        let (shown, shutdown) = (shown.clone(), shutdown.clone());
        tokio::spawn(shutdown.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                said = look(&folder, &shown, said);
            }
        }));
    }
    // Who reads metrics is a program of these years: the newer version alone, as with MetalLB.
    let provider = Arc::new(ring::default_provider());
    let configuration = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(shown);
    Ok(Arc::new(configuration))
}

/// Reads the files; returns what was said of them, so that the same is not said again.
fn look(folder: &Path, shown: &Shown, said: String) -> String {
    match read(folder) {
        Ok(key) => {
            if shown.show(key) {
                tracing::info!(folder = %folder.display(), "certificate for metrics read");
            }
            String::new()
        }
        Err(error) => {
            let words = error.to_string();
            if words != said {
                tracing::warn!("{words}; until it can be used, metrics go on with the certificate before");
            }
            words
        }
    }
}

fn read(folder: &Path) -> Result<CertifiedKey, CertificateError> {
    let [certificate, key] = FILES.map(|name| folder.join(name));
    let failed = |error| CertificateError::File(certificate.clone(), error);
    let chain = CertificateDer::pem_file_iter(&certificate).map_err(failed)?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if chain.is_empty() {
        return Err(CertificateError::Empty(certificate));
    }
    let der =
        PrivateKeyDer::from_pem_file(&key).map_err(|error| CertificateError::File(key.clone(), error))?;
    CertifiedKey::from_der(chain, der, &ring::default_provider())
        .map_err(|error| CertificateError::Unusable(key, error))
}

fn made(address: IpAddr) -> Result<CertifiedKey, CertificateError> {
    let made = rcgen::generate_simple_self_signed([address.to_string()]).map_err(CertificateError::Make)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    Ok(CertifiedKey::from_der(vec![made.cert.der().clone()], key.into(), &ring::default_provider())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn write(folder: &Path, address: &str) {
        let made = rcgen::generate_simple_self_signed([address.to_owned()]).unwrap();
        std::fs::write(folder.join(FILES[0]), made.cert.pem()).unwrap();
        std::fs::write(folder.join(FILES[1]), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_is_shown_is_what_the_files_have_and_stays_while_they_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let shown = Shown(RwLock::new(Arc::new(made(HERE).unwrap())));
        let now = || shown.0.read().unwrap().cert.clone();
        let first = now();
        let said = look(folder.path(), &shown, String::new());
        assert!(said.starts_with("cannot read") && said.contains("tls.crt"), "{said}");
        assert_eq!(now(), first);

        write(folder.path(), "a.example");
        assert_eq!(look(folder.path(), &shown, said), "");
        let second = now();
        assert_ne!(second, first);
        assert_eq!(look(folder.path(), &shown, String::new()), "");
        assert_eq!(now(), second);

        // The key of another certificate.
        let key = std::fs::read(folder.path().join(FILES[1])).unwrap();
        write(folder.path(), "b.example");
        std::fs::write(folder.path().join(FILES[1]), key).unwrap();
        let said = look(folder.path(), &shown, String::new());
        assert!(said.starts_with("cannot use") && said.contains("tls.key"), "{said}");
        assert_eq!(now(), second);

        std::fs::write(folder.path().join(FILES[0]), "").unwrap();
        let said = look(folder.path(), &shown, said);
        assert!(said.ends_with("has no certificate"), "{said}");
    }
}
