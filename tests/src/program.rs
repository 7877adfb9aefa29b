//! One of our programs, run on this machine against a lab.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::LabError;
use crate::lab::progress::wait;

/// How long a program may take to say or answer something, in seconds.
const PATIENCE: u64 = 60;

/// How long an answer of the admin endpoint may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How a program is to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    program: PathBuf,
    kubeconfig: PathBuf,
    port: u16,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    /// Whether it knows our flags, and logs where ours do.
    ours: bool,
}

impl Launch {
    /// With its admin endpoint on a free port.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn new(program: &Path, kubeconfig: &Path) -> Result<Self, LabError> {
        let port = free_port()?;
        Ok(Launch {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
            port,
            flags: Vec::new(),
            environment: Vec::new(),
            ours: true,
        })
    }

    /// Of a program that is not ours: with these flags alone, which name the kubeconfig and the port of an endpoint that
    /// answers /readyz.
    pub fn of_another(program: &Path, port: u16, flags: Vec<String>) -> Self {
        let (program, kubeconfig, environment) = (program.to_owned(), PathBuf::new(), Vec::new());
        Launch { program, kubeconfig, port, flags, environment, ours: false }
    }

    /// With its admin endpoint on this port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Launch { port, ..self }
    }

    /// With these flags too.
    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// With this variable in its environment: a program that does not know it takes no notice.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> Result<Program, LabError> {
        let port = self.port;
        let mut command = Command::new(&self.program);
        if self.ours {
            command.arg("--kubeconfig").arg(&self.kubeconfig);
            command.args(["--admin-port", &port.to_string(), "--log-format", "text"]);
        } else {
            // Ours say nothing there.
            command.stdout(Stdio::piped());
        }
        command.args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(LabError::at(&self.program))?;
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, log.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, log.clone());
        }
        Ok(Program { child, port, log, started })
    }
}

/// One of our programs, running, with all that it has logged so far. Dropped, it is killed.
#[derive(Debug)]
pub struct Program {
    child: Child,
    port: u16,
    log: Arc<Mutex<String>>,
    /// When it was started.
    pub started: Instant,
}

/// What a process has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Now, in KiB (`VmRSS`).
    pub resident: u64,
    /// At most so far, in KiB (`VmHWM`).
    pub peak: u64,
}

impl Program {
    /// All that it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the log has `words`.
    ///
    /// # Errors
    /// When it does not, with the log.
    pub async fn says(&self, words: &str) -> Result<(), LabError> {
        wait(&format!("{words:?} in the log"), PATIENCE, async || {
            if self.log().contains(words) { Ok(()) } else { Err(self.log()) }
        })
        .await
    }

    /// What the admin endpoint answers, with the head; an error is an answer too.
    pub fn get(&self, path: &str) -> String {
        get(self.port, path)
    }

    /// Waits until `path` answers with `status`.
    ///
    /// # Errors
    /// When it does not, with the last answer and the log.
    pub async fn answers(&self, path: &str, status: &str) -> Result<String, LabError> {
        wait(&format!("{status} from {path}"), PATIENCE, async || {
            let answer = self.get(path);
            let right = answer.starts_with(&format!("HTTP/1.1 {status}"));
            if right { Ok(answer) } else { Err(format!("{answer}\n{}", self.log())) }
        })
        .await
    }

    /// The value of a metric, its labels as they are written in `/metrics`; `None` while it has none.
    pub fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let answer = self.get("/metrics");
        let value = answer.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
        value?.trim().parse().ok()
    }

    /// What it has in memory; `None` if it has ended.
    pub fn memory(&self) -> Option<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Memory { resident: value("VmRSS:")?, peak: value("VmHWM:")? })
    }

    /// The processor time that it has taken so far; `None` if it has ended.
    pub fn processor_time(&self) -> Option<Duration> {
        // proc_pid_schedstat: the first number, in nanoseconds, for each thread.
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let nanoseconds = threads.flatten().filter_map(|thread| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(nanoseconds.sum()))
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&self, signal: Signal) -> Result<(), LabError> {
        let pid = i32::try_from(self.child.id()).map_err(|error| LabError::State(error.to_string()))?;
        kill(Pid::from_raw(pid), signal).map_err(|error| LabError::program(signal.as_str(), error))
    }

    /// Sends SIGTERM and returns how it ended and how long that took.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn end(mut self) -> Result<(ExitStatus, Duration), LabError> {
        let asked = Instant::now();
        self.signal(Signal::SIGTERM)?;
        let status = self.child.wait().map_err(LabError::at("a program of ours"))?;
        Ok((status, asked.elapsed()))
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps each line of what a program says.
fn keep(said: impl Read + Send + 'static, log: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
        }
    });
}

/// A port that nobody uses on this machine just now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, LabError> {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(free.map_err(LabError::at("a free port"))?.port())
}

/// GET from an admin endpoint on this machine; an error is an answer too.
fn get(port: u16, path: &str) -> String {
    let get = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    get().unwrap_or_else(|error| error.to_string())
}
