//! One Apache Kafka for all tests: started when first asked for, gone when this process is.
//!
//! `TOUCHSTONE_TEST_KAFKA=host:port` uses a running one, `=none` leaves its tests out (and `main` says so at the end).
//! The broker runs under a shell that waits on its standard input, which is a pipe from here: the pipe closes when this
//! process ends in whatever way, and the shell then ends the broker and removes its directory.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// Says which Kafka the tests use.
pub const VARIABLE: &str = "TOUCHSTONE_TEST_KAFKA";

const INSTALL: &str = "the tests against a real Kafka need Java 17 and Maven \
    (Debian: apt-get install openjdk-17-jre-headless maven), or TOUCHSTONE_TEST_KAFKA=host:port, \
    or TOUCHSTONE_TEST_KAFKA=none to leave them out";

static ADDRESS: OnceLock<Result<String, String>> = OnceLock::new();
static GUARDS: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Whether the tests against Kafka are left out.
pub fn is_left_out() -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| value == "none")
}

/// `host:port` of the broker.
pub fn address() -> Result<String, String> {
    ADDRESS.get_or_init(|| std::env::var(VARIABLE).map_or_else(|_| start(), Ok)).clone()
}

/// Ends the brokers that were started, and waits until their directories are gone.
pub fn stop() {
    for mut guard in GUARDS.lock().expect("no test panics while it starts a broker").drain(..) {
        drop(guard.stdin.take());
        let _ = guard.wait();
    }
}

fn start() -> Result<String, String> {
    let broker = Broker::new("kafka")?;
    let port = broker.port;
    broker.start("", &[])?;
    Ok(format!("127.0.0.1:{port}"))
}

/// A broker that is about to be started, in a directory of its own.
pub struct Broker {
    /// Its directory.
    pub root: PathBuf,
    /// Its plain listener.
    pub port: u16,
    /// How its Java is told to behave: quick to start and small, where nothing else is said.
    pub java: &'static str,
    classes: PathBuf,
}

/// For a broker that lives for a test.
const SMALL: &str = "-Xmx512m -Xms256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1";

impl Broker {
    /// One of that name; its directory is there.
    pub fn new(name: &str) -> Result<Broker, String> {
        let classes = jars()?;
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Broker { root, port: free_port().map_err(|error| error.to_string())?, java: SMALL, classes })
    }

    /// Starts it with what `more` says beyond the shipped properties, and these options of the storage tool.
    pub fn start(self, more: &str, format: &[&str]) -> Result<(), String> {
        let Broker { root, port, java, classes } = self;
        let failed = |error: std::io::Error| format!("{}: {error}", root.display());
        let controller = free_port().map_err(failed)?;
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kafka/server.properties");
        let properties = (fs::read_to_string(&template).map_err(failed)? + "\n" + more)
            .replace("CONTROLLER_PORT", &controller.to_string())
            .replace("PLAIN_PORT", &port.to_string())
            .replace(":PORT", &format!(":{port}"))
            .replace("DATA", &root.join("data").display().to_string());
        fs::write(root.join("server.properties"), properties).map_err(failed)?;
        let guard = guard(&root, &classes, java, format).map_err(|error| format!("{error}: {INSTALL}"))?;
        GUARDS.lock().expect("no test panics while it starts a broker").push(guard);
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() >= deadline {
                let log = fs::read_to_string(root.join("log")).unwrap_or_default();
                return Err(format!("Kafka did not start within 60 s; {INSTALL}\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// The shell that outlives us by a moment. It ignores an interrupt from the terminal: it still has to clean up.
fn guard(root: &Path, classes: &Path, java: &str, format: &[&str]) -> std::io::Result<Child> {
    let script = r#"
        trap '' INT TERM HUP
        root=$1; classes=$2; java="java $3 -Djava.net.preferIPv4Stack=true"; shift 3
        cd "$root" || exit 1
        $java -cp "$classes/*" kafka.tools.StorageTool format -t dG91Y2hzdG9uZS10ZXN0cw \
            -c server.properties --standalone --ignore-formatted "$@" >log 2>&1 </dev/null
        $java -cp "$classes/*" kafka.Kafka server.properties >>log 2>&1 </dev/null &
        broker=$!
        cat >/dev/null
        kill -9 "$broker"
        wait "$broker"
        cd / && rm -rf "$root"
    "#;
    Command::new("sh")
        .args(["-c", script, "kafka-for-tests"])
        .args([root, classes])
        .arg(java)
        .args(format)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// The broker's classes, fetched once and kept beside the build.
pub fn jars() -> Result<PathBuf, String> {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-4.3.1");
    Command::new("java").arg("-version").output().map_err(|error| format!("java: {error}; {INSTALL}"))?;
    if kept.exists() {
        return Ok(kept);
    }
    let fetching = kept.with_extension(std::process::id().to_string());
    println!("fetching Apache Kafka into {}", kept.display());
    let fetched = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kafka/pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", fetching.display()))
        .output()
        .map_err(|error| format!("mvn: {error}; {INSTALL}"))?;
    if !fetched.status.success() {
        let _ = std::io::stderr().write_all(&fetched.stdout);
        return Err(format!("mvn could not fetch Apache Kafka; {INSTALL}"));
    }
    // Somebody else may have been quicker; theirs is as good.
    if fs::rename(&fetching, &kept).is_err() {
        let _ = fs::remove_dir_all(&fetching);
    }
    Ok(kept)
}

/// A port that is free now, and that nobody else is given: below those that the kernel hands out for connections, each once.
pub fn free_port() -> std::io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Another test process begins elsewhere.
    let begin = 20_000 + std::process::id() % 100 * 100;
    loop {
        let port = begin + NEXT.fetch_add(1, Ordering::SeqCst);
        let port = u16::try_from(port).map_err(std::io::Error::other)?;
        match TcpListener::bind(("127.0.0.1", port)) {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|_| port),
        }
    }
}
