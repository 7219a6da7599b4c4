//! A Kafka of our own, of one broker or three, that can be killed, stopped and started again on the same data.
//!
//! The services reach each broker through a proxy: a listener of its own advertises the proxy's port.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use crate::broker::{free_port, jars};
use crate::proxy::Proxy;

/// One broker.
pub struct Node {
    directory: PathBuf,
    classes: PathBuf,
    port: u16,
    pub proxy: Proxy,
    /// The shell that ends the broker when this process ends.
    guard: Option<Child>,
}

/// All brokers.
pub struct Cluster {
    pub nodes: Vec<Node>,
    root: PathBuf,
}

impl Cluster {
    /// Starts so many brokers.
    pub fn start(name: &str, brokers: usize) -> Result<Cluster, Failed> {
        let classes = jars()?;
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fire-{name}-{}", std::process::id()));
        let ports: Vec<[u16; 3]> =
            (0..brokers).map(|_| Ok([free_port()?, free_port()?, free_port()?])).collect::<std::io::Result<_>>()?;
        let voters: Vec<String> =
            ports.iter().enumerate().map(|(index, ports)| format!("{}@127.0.0.1:{}", index + 1, ports[1])).collect();
        let mut nodes = Vec::new();
        for (index, [port, controller, via]) in ports.iter().enumerate() {
            let proxy = Proxy::start(*via)?;
            let directory = root.join(format!("node-{index}"));
            fs::create_dir_all(&directory)?;
            let copies = brokers.min(3);
            let text =
                properties(index + 1, *port, *controller, *via, proxy.port, &voters.join(","), copies, &directory);
            fs::write(directory.join("server.properties"), text)?;
            nodes.push(Node { directory, classes: classes.clone(), port: *port, proxy, guard: None });
        }
        let mut cluster = Cluster { nodes, root };
        for node in &mut cluster.nodes {
            node.format()?;
            node.launch()?;
        }
        cluster.wait()?;
        Ok(cluster)
    }

    /// Where tests reach the brokers.
    pub fn address(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// Where services reach them, through the proxies.
    pub fn via(&self) -> String {
        self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.proxy.port)).collect::<Vec<_>>().join(",")
    }

    /// Waits until every broker that runs answers.
    pub fn wait(&self) -> Result<(), Failed> {
        let deadline = Instant::now() + Duration::from_secs(90);
        for node in self.nodes.iter().filter(|node| node.guard.is_some()) {
            while TcpStream::connect(("127.0.0.1", node.port)).is_err() {
                if Instant::now() > deadline {
                    let log = fs::read_to_string(node.directory.join("log")).unwrap_or_default();
                    return Err(format!("a broker does not start\n{log}").into());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::kill);
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Node {
    fn java(&self) -> String {
        format!(
            "java -Xmx512m -Xms256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.net.preferIPv4Stack=true -cp '{}/*'",
            self.classes.display()
        )
    }

    fn format(&self) -> Result<(), Failed> {
        let script = format!(
            "cd '{}' && {} kafka.tools.StorageTool format -t dG91Y2hzdG9uZS10ZXN0cw -c server.properties \
             --ignore-formatted >log 2>&1",
            self.directory.display(),
            self.java()
        );
        let formatted = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status()?;
        if formatted.success() { Ok(()) } else { Err(fs::read_to_string(self.directory.join("log"))?.into()) }
    }

    /// Starts the broker on whatever data it has.
    pub fn launch(&mut self) -> Result<(), Failed> {
        let script = format!(
            "trap '' INT TERM HUP\ncd '{}' || exit 1\n{} kafka.Kafka server.properties >>log 2>&1 </dev/null &\n\
             broker=$!\necho $broker >pid\ncat >/dev/null\nkill -9 $broker\nwait $broker\n",
            self.directory.display(),
            self.java()
        );
        let guard = Command::new("sh")
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.guard = Some(guard);
        Ok(())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }

    /// Stops the broker where it stands, or lets it go on.
    pub fn signal(&self, name: &str) -> Result<(), Failed> {
        let id = fs::read_to_string(self.directory.join("pid"))?;
        signal(id.trim(), name)
    }
}

/// Sends a signal to a process.
pub fn signal(id: &str, name: &str) -> Result<(), Failed> {
    let sent = Command::new("kill").args([&format!("-{name}"), id]).status()?;
    if sent.success() { Ok(()) } else { Err(format!("kill -{name} {id}").into()) }
}

#[expect(clippy::too_many_arguments, reason = "the blanks of one template")]
fn properties(
    node: usize,
    port: u16,
    controller: u16,
    via: u16,
    proxy: u16,
    voters: &str,
    copies: usize,
    directory: &Path,
) -> String {
    let insync = copies.div_ceil(2);
    format!(
        "process.roles=broker,controller\nnode.id={node}\ncontroller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},VIA://127.0.0.1:{via},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port},VIA://127.0.0.1:{proxy},CONTROLLER://127.0.0.1:{controller}\n\
         inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,VIA:PLAINTEXT\n\
         log.dirs={}\nnum.network.threads=2\nnum.io.threads=2\nbackground.threads=2\n\
         offsets.topic.replication.factor={copies}\noffsets.topic.num.partitions=4\n\
         transaction.state.log.replication.factor={copies}\ntransaction.state.log.min.isr={insync}\n\
         transaction.state.log.num.partitions=4\nmin.insync.replicas={insync}\n\
         share.coordinator.state.topic.replication.factor={copies}\nshare.coordinator.state.topic.min.isr={insync}\n\
         group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
         auto.create.topics.enable=false\nlog.cleaner.backoff.ms=500\nlog.cleaner.dedupe.buffer.size=2097152\n\
         log.segment.bytes=16777216\nbroker.session.timeout.ms=6000\n",
        directory.join("data").display()
    )
}
