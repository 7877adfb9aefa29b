//! Writes the CustomResourceDefinitions into the folder of this crate, or another one given as argument.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        std::env::args_os().nth(1).map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    for (name, yaml) in ferrolb_crds::generate::files()? {
        let path = folder.join(name);
        std::fs::write(&path, yaml).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
