//! `lab`: a real Kubernetes cluster on this machine, for trying, testing and measuring FerroLB.

mod bench;
mod chaos;
mod demo;
mod figures;
mod own;
mod release;
mod soak;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use ferrolb_tests::image::{self, Image};
use ferrolb_tests::lab::network::{self, MAX_CLIENTS, MAX_SEGMENTS, Network};
use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Config, Lab, LabError, Paths, Proxy, down, forward, node, node_init, programs, up};
use ferrolb_tests::scene;

/// A real Kubernetes cluster in network namespaces, without a container engine
#[derive(Parser)]
#[command(name = "lab", version)]
struct Args {
    /// The lab's name; several can be up at once
    #[arg(long, global = true, env = "FERROLB_LAB", default_value = "ferrolb")]
    name: String,
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the cluster's programs and the images of the lab's pods
    Build,
    /// Bring the lab up
    Up {
        /// How many nodes, 0 to 9; 0 is the control plane alone
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=9))]
        nodes: u8,
        /// How kube-proxy directs packets
        #[arg(long, value_enum, default_value_t = Proxy::Iptables)]
        proxy: Proxy,
        /// Give nodes no network card for the API: it is reached over the LAN
        #[arg(long)]
        one_nic: bool,
        /// On how many segments nodes and clients are, 1 to 3, with links eth0, eth1, eth2
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_SEGMENTS)))]
        segments: u8,
        /// How many clients there are, 2 to 20
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=i64::from(MAX_CLIENTS)))]
        clients: u8,
        /// A folder of ready Kubernetes programs and etcd, instead of building them
        #[arg(long, env = "FERROLB_LAB_PROGRAMS", value_name = "DIR")]
        programs: Option<PathBuf>,
    },
    /// Take the lab down and leave nothing behind
    Down,
    /// Show what runs
    Status,
    /// kubectl in the lab
    Kubectl {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run a command on a host of the lab: cp, sw, nodeN or clientN
    Exec {
        /// The host
        host: String,
        /// The command and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Load an image (docker-archive) into every node
    LoadImage {
        /// The archive
        file: PathBuf,
    },
    /// Build FerroLB, pack its image and install both in the lab
    Install,
    /// Measure FerroLB in the lab: latency, memory, sizes
    Figures,
    /// Measure one part of FerroLB in a lab of its own, which is taken down afterwards
    Bench {
        #[command(subcommand)]
        what: bench::What,
    },
    /// Do faults to a cluster and judge on the wire whether an address bears them
    Chaos(chaos::Args),
    /// Let a cluster work under traffic, Services that come and go and a fault every 20 s, for an hour, and report
    Soak(soak::Args),
    /// Build FerroLB and pack its image into target/image/ferrolb.tar
    Image,
    /// Make what is released: programs, the list of what is in them, an image of all architectures
    Release {
        #[command(subcommand)]
        what: release::What,
    },
    /// From nothing to a Service that answers from outside
    Demo {
        /// Leave the cluster up afterwards
        #[arg(long)]
        keep: bool,
    },
    /// Pack static programs into an image (docker-archive)
    PackImage {
        /// Name and tag, such as ferrolb:dev
        #[arg(long)]
        tag: String,
        /// The archive to write
        #[arg(long)]
        out: PathBuf,
        /// As whom it runs, as a number
        #[arg(long, default_value = "65532")]
        user: String,
        /// What runs when a pod names no command
        #[arg(long)]
        entrypoint: Option<String>,
        /// Programs: the file and, after =, its place in the image
        #[arg(required = true, value_name = "FILE=/PLACE")]
        files: Vec<String>,
    },
    /// Kill a node as a power failure does, or start it again
    Node {
        /// What to do
        #[arg(value_enum)]
        action: NodeAction,
        /// The node's number
        number: u8,
    },
    /// Unplug a node's cable, or plug it in
    Link {
        /// What to do
        #[arg(value_enum)]
        state: LinkState,
        /// The node's name
        node: String,
        /// In which network
        #[arg(value_enum, default_value_t = Network::Lan)]
        network: Network,
    },
    /// The process that is a node; the lab starts it
    #[command(hide = true)]
    NodeInit {
        node: String,
        #[arg(long)]
        inner: bool,
    },
    /// The door to the API server; the lab starts it
    #[command(hide = true)]
    Forward { port_file: PathBuf },
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum NodeAction {
    Kill,
    Start,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LinkState {
    Down,
    Up,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args.name, args.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, task: Task) -> Result<ExitCode, LabError> {
    let progress = Progress::default();
    match task {
        Task::Build => {
            programs::programs(None, &progress)?;
            programs::images(&progress)?;
            progress.say("all is built; next: lab up");
        }
        Task::Up { nodes, proxy, one_nic, segments, clients, programs } => {
            let config =
                Config { one_nic, segments, clients, ..Config::new(name)?.nodes(nodes).proxy(proxy) };
            let lab = block_on(up::up(&config, &this_program()?, programs.as_deref(), &progress))?;
            progress.say(&format!("lab {name:?} is up; next: lab --name {name} kubectl get nodes -o wide"));
            println!("export KUBECONFIG={}", lab.paths.kubeconfig().display());
        }
        Task::Down => {
            let paths = Paths::of(&Config::new(name)?.name);
            let remains = down::Remains::of(&paths);
            down::down(&paths)?;
            let what = if remains.is_none() { "there was no" } else { "took down" };
            progress.say(&format!("{what} lab {name:?}"));
        }
        Task::Status => return status(&Lab::attach(name)?),
        Task::Kubectl { args } => return replace(Lab::attach(name)?.kubectl().args(args)),
        Task::Exec { host, command } => return exec(&Lab::attach(name)?, &host, &command),
        Task::LoadImage { file } => block_on(up::load_image(&Lab::attach(name)?, &file))?,
        Task::Install => {
            let lab = Lab::attach(name)?;
            block_on(async {
                scene::install(&lab, &progress).await?;
                scene::heard(&lab).await
            })?;
            progress.say(
                "FerroLB is ready; next: kubectl apply -f config/samples/pool.yaml, with addresses of yours",
            );
        }
        Task::Figures => block_on(figures::figures(&Lab::attach(name)?))?,
        Task::Bench { what } => bench::bench(name, what, &this_program()?)?,
        Task::Chaos(args) => return chaos::chaos(name, &args, &this_program()?),
        Task::Soak(args) => return soak::soak(name, &args, &this_program()?),
        Task::Image => println!("{}", programs::ferrolb_image(&progress)?.display()),
        Task::Release { what } => return release::release(what),
        Task::Demo { keep } => block_on(demo::demo(name, &this_program()?, keep))?,
        Task::PackImage { tag, out, user, entrypoint, files } => {
            pack(&tag, &out, &user, entrypoint.as_deref(), &files)?;
        }
        Task::Node { action, number } => {
            let (lab, node) = (Lab::attach(name)?, format!("node{number}"));
            lab.host(&node)?;
            match action {
                NodeAction::Kill => node::power_off(&lab.config, &lab.paths, &node)?,
                NodeAction::Start => node::power_on(&lab.config, &lab.paths, &node, &this_program()?)?,
            }
        }
        Task::Link { state, node, network } => {
            let lab = Lab::attach(name)?;
            lab.host(&node)?;
            if !lab.config.networks().contains(&network) {
                return Err(LabError::Machine(format!(
                    "{node} has no link in the network {}: the lab was started with {}",
                    network.bridge(),
                    if network == Network::Mgmt { "--one-nic" } else { "fewer --segments" }
                )));
            }
            network::set_port(&lab.paths, &node, network, state == LinkState::Up)?;
        }
        Task::NodeInit { node, inner: false } => node_init::outer(&Lab::attach(name)?, &node)?,
        Task::NodeInit { node, inner: true } => node_init::inner(&Lab::attach(name)?, &node)?,
        Task::Forward { port_file } => forward::serve(&Lab::attach(name)?, &port_file)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn block_on<T>(future: impl Future<Output = Result<T, LabError>>) -> Result<T, LabError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| LabError::State(error.to_string()))?.block_on(future)
}

fn this_program() -> Result<PathBuf, LabError> {
    std::env::current_exe().map_err(LabError::at("/proc/self/exe"))
}

fn pack(
    tag: &str,
    out: &Path,
    user: &str,
    entrypoint: Option<&str>,
    files: &[String],
) -> Result<(), LabError> {
    let mut image = Image::new(tag).user(user);
    for file in files {
        let (from, to) = file.split_once('=').ok_or_else(|| {
            LabError::Machine(format!(
                "{file:?}: write the file and its place in the image, as in target/x=/x"
            ))
        })?;
        image = image.file(Path::new(from), to);
    }
    if let Some(path) = entrypoint {
        image = image.entrypoint(path);
    }
    image::write(&image, out).map_err(LabError::at(out))
}

fn status(lab: &Lab) -> Result<ExitCode, LabError> {
    let remains = down::Remains::of(&lab.paths);
    println!(
        "lab {:?}: {} nodes, kube-proxy in {} mode",
        lab.config.name,
        lab.config.nodes,
        lab.config.proxy.flag()
    );
    println!("kubeconfig {}", lab.paths.kubeconfig().display());
    println!("logs       {}", lab.paths.logs().display());
    println!("namespaces {}", remains.namespaces.join(" "));
    for (pid, line) in &remains.processes {
        println!("{pid:>8} {}", line.chars().take(100).collect::<String>());
    }
    replace(lab.kubectl().args(["get", "nodes", "-o", "wide"]))
}

/// Runs a command on a host. On a node it enters all of the node's namespaces.
fn exec(lab: &Lab, host: &str, command: &[String]) -> Result<ExitCode, LabError> {
    lab.host(host)?;
    let mut enter = Command::new("nsenter");
    if host.starts_with("node") {
        let init = node::init(&lab.paths, host).ok_or_else(|| node::not_running(host))?;
        enter.args(["--target", &init.to_string(), "--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
    } else {
        enter.arg(format!("--net={}", lab.paths.netns(host).display())).arg("--");
    }
    replace(enter.args(command))
}

/// Becomes the command: its exit code is ours, and signals reach it.
fn replace(command: &mut Command) -> Result<ExitCode, LabError> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(LabError::Program {
        program: command.get_program().to_string_lossy().into_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use ferrolb_tests::documents;

    use super::*;

    #[test]
    fn the_documents_name_commands_that_there_are() {
        let (mut wrong, mut seen) = (Vec::new(), 0);
        for document in documents::all().unwrap() {
            for command in document.commands() {
                let Some(arguments) = command.arguments_of("lab") else { continue };
                seen += 1;
                if let Some(error) = documents::refused::<Args>("lab", arguments, command.whole) {
                    wrong.push(format!("{}:{}: {error}", document.path.display(), command.line));
                }
            }
        }
        assert!(seen > 20, "only {seen} commands of lab were found");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
