//! The lab's one door: a port on 127.0.0.1 behind which its API server answers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use super::{Lab, LabError, network};

/// Serves the door until it is killed.
///
/// A socket stays in the network namespace in which it was made. So the listener is made here, and then
/// this process moves into the namespace `cp`, from which it reaches the API server and in which
/// [`super::down`] finds it.
///
/// # Errors
/// When no port can be had, or the namespace cannot be entered.
pub fn serve(lab: &Lab, port_file: &Path) -> Result<(), LabError> {
    let failed = |error: io::Error| LabError::program("forwarding to the API server", error);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let netns = lab.paths.netns("cp");
    let file = std::fs::File::open(&netns).map_err(LabError::at(&netns))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| LabError::program("setns", error))?;

    // Written whole, then named: whoever sees the file can read it.
    let draft = port_file.with_extension("draft");
    std::fs::write(&draft, port.to_string()).map_err(LabError::at(&draft))?;
    std::fs::rename(&draft, port_file).map_err(LabError::at(port_file))?;

    let address: SocketAddr = format!("{}:6443", network::api_server(&lab.config))
        .parse()
        .map_err(|error| LabError::program("forwarding to the API server", error))?;
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || connect(client, address));
    }
    Ok(())
}

fn connect(client: TcpStream, address: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(address)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let (from, to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || copy(from, to));
    copy(client, server);
    Ok(())
}

/// Copies until one side ends, and tells the other.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}
