//! `kubectl ferrolb support-bundle`: everything that somebody who is to help would ask for, in one file, without secrets.
//!
//! ```text
//!  lists, logs, speakers ─► collect ─► redact (what could be a secret is cut out) ─► Files ─► ferrolb-….tar.gz
//! ```

mod collect;
mod redact;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::jiff::Timestamp;
use kube::Client;

pub use collect::collect;
pub use redact::{object as redact_object, text as redact_text};

use crate::Error;
use crate::output::print;

/// All that somebody who is to help would ask for, in one file, without secrets
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write; without it ferrolb-support-TIME.tar.gz here
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// So many lines of each log, from its end
    #[arg(long, default_value_t = 20_000, value_name = "NUMBER")]
    log_lines: i64,

    /// FerroLB's namespace; without it, that of its DaemonSet
    #[arg(long, value_name = "NAME")]
    system: Option<String>,
}

/// Names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Collects, and writes a new file.
///
/// # Errors
/// When the cluster cannot be read at all, or the file is there or cannot be written.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Error> {
    let now = Timestamp::now();
    let folder = format!("ferrolb-support-{}", now.strftime("%Y%m%d-%H%M%S"));
    let file = args.file.unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let failed = |why: std::io::Error| Error::File { file: file.display().to_string(), why: why.to_string() };
    // First, since collecting takes a while; never over a file that is there.
    let out = std::fs::File::options().write(true).create_new(true).open(&file).map_err(failed)?;
    let files = match collect(client, args.system.as_deref(), args.log_lines, now).await {
        Ok(files) => files,
        Err(error) => {
            let _ = std::fs::remove_file(&file);
            return Err(error.into());
        }
    };
    let written = archive(&files, &folder, now, out).map_err(failed)?;
    print(&format!(
        "{}: {} files, {} kB. Secrets were not read, and what looks like one was cut out; look through it before you pass it on.\n",
        file.display(),
        files.len(),
        written.div_ceil(1000)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a compressed tar; returns its size.
///
/// # Errors
/// When it cannot be written.
pub fn archive(files: &Files, folder: &str, now: Timestamp, out: std::fs::File) -> std::io::Result<u64> {
    let mut archive = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        archive.append_data(&mut header, format!("{folder}/{name}"), content.as_slice())?;
    }
    let mut out = archive.into_inner()?.finish()?;
    out.flush()?;
    Ok(out.metadata()?.len())
}
