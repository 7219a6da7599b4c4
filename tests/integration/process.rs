//! The program as a process: started, asked over HTTP, killed, stopped. Ended with the test, also when it fails.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::planted;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_touchstone");

/// A running service: `touchstone run` or `touchstone demo`.
pub struct Service {
    child: Child,
    address: String,
    log: PathBuf,
}

impl Service {
    /// Starts the service; its log goes to a file in `directory`.
    pub fn start(config: &Path, instance: &str, directory: &Path) -> Service {
        Service::start_as(Path::new(PROGRAM), config, instance, directory, &[])
    }

    /// The same, with another program or more variables in its environment.
    pub fn start_as(
        program: &Path,
        config: &Path,
        instance: &str,
        directory: &Path,
        variables: &[(&str, &str)],
    ) -> Service {
        let address = free_address();
        let mut command = Command::new(program);
        command.args(["run", "--config"]).arg(config).envs(variables.iter().copied());
        command.env("TOUCHSTONE__SERVICE__INSTANCE", instance).env("TOUCHSTONE__EXPORT__LISTEN", &address);
        Service::spawn(command, address, directory.join(format!("{instance}.log")))
    }

    /// Starts the demo; its log goes to a file in `directory`.
    pub fn demo(directory: &Path) -> Service {
        let address = free_address();
        let mut command = Command::new(PROGRAM);
        command.args(["demo", "--listen", &address]);
        Service::spawn(command, address, directory.join("demo.log"))
    }

    fn spawn(mut command: Command, address: String, log: PathBuf) -> Service {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Service { child, address, log }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The body of a page, with its status; `None` while nothing answers.
    pub fn get(&self, page: &str) -> Option<(u16, String)> {
        let answer = ask(&self.address, page)?;
        planted::look(page, &answer.1);
        Some(answer)
    }

    /// The values of one family at /metrics whose line holds `part`.
    pub fn values(&self, family: &str, part: &str) -> Vec<f64> {
        let Some((200, page)) = self.get("/metrics") else { return Vec::new() };
        page.lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(family) && line.contains(part))
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
            .collect()
    }

    /// The sum of those values.
    pub fn sum(&self, family: &str, part: &str) -> f64 {
        self.values(family, part).iter().sum()
    }

    /// Its process.
    #[allow(dead_code, reason = "for the tests under fire")]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its exit code, once it has ended by itself.
    #[allow(dead_code, reason = "for the tests under fire")]
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end: whether it ended well.
    pub fn stop(mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(&id).status().unwrap().success());
        self.child.wait().unwrap().success()
    }

    /// What it logged, for a failing test.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        planted::look("the log", &self.log());
    }
}

/// The body of a page, with its status; `None` while nothing answers.
pub fn ask(address: &str, page: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {page} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_string();
    Some((status, body))
}

/// Where somebody may listen, and nobody does.
pub fn free_address() -> String {
    format!("127.0.0.1:{}", crate::broker::free_port().unwrap())
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    run_with(arguments, &[])
}

/// Runs the program to its end, with these variables in its environment. One that does not end within a minute is killed.
pub fn run_with(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (ended, watched) = std::sync::mpsc::channel::<()>();
    let id = child.id().to_string();
    let watch = std::thread::spawn(move || {
        if watched.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-9", &id]).status();
        }
    });
    let mut errors = child.stderr.take().unwrap();
    let errors = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        errors.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let mut stdout = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut stdout).unwrap();
    let stderr = errors.join().unwrap();
    let output = Output { status: child.wait().unwrap(), stdout, stderr };
    drop(ended);
    watch.join().unwrap();
    planted::look(&arguments.join(" "), &String::from_utf8_lossy(&output.stdout));
    planted::look(&arguments.join(" "), &String::from_utf8_lossy(&output.stderr));
    output
}

/// Waits until something holds; fails after `within`, saying what did not come.
pub fn wait_for(what: &str, within: Duration, mut holds: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() > deadline {
            return Err(format!("{what}: not within {within:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
