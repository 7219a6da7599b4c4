//! A broker behind TLS, logins and access rules, with certificates made here; started when first asked for.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use crate::broker::{Broker, free_port};
use crate::planted::{self, PASSWORD};

static LOCKED: OnceLock<Result<Locked, String>> = OnceLock::new();

/// Users that log in by PLAIN; `scram` logs in by SCRAM.
pub const PLAIN_USERS: [&str; 2] = ["plain", "admin"];

/// Where it listens, and where its files are.
#[derive(Clone)]
pub struct Locked {
    /// For administrators, without any lock.
    pub plain: String,
    /// TLS and a login.
    pub login: String,
    /// TLS with certificates on both sides.
    pub mutual: String,
    /// TLS with a certificate of last year.
    pub expired: String,
    /// `ca.pem`, `other_ca.pem`, `client.pem`, `client.key`, `old_client.pem`, `old_client.key`, `token`, `old_token`,
    /// `password`, `wrong_password`.
    pub files: PathBuf,
}

/// The broker.
pub fn locked() -> Result<Locked, String> {
    LOCKED.get_or_init(start).clone()
}

fn start() -> Result<Locked, String> {
    let broker = Broker::new("locked")?;
    let (root, plain) = (broker.root.clone(), broker.port);
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    make_files(&root).map_err(|error| error.to_string())?;
    let users: Vec<String> = PLAIN_USERS.iter().map(|user| format!("user_{user}=\"{PASSWORD}\"")).collect();
    let more = include_str!("../../deploy/kafka/locked.properties")
        .replace("LOGIN_PORT", &ports[0].to_string())
        .replace("MUTUAL_PORT", &ports[1].to_string())
        .replace("EXPIRED_PORT", &ports[2].to_string())
        .replace("PLAIN_USERS", &users.join(" "))
        .replace("ROOT", &root.display().to_string());
    let scram = format!("SCRAM-SHA-512=[name=scram,password={PASSWORD}]");
    broker.start(&more, &["--add-scram", &scram])?;
    let at = |port: u16| format!("127.0.0.1:{port}");
    Ok(Locked { plain: at(plain), login: at(ports[0]), mutual: at(ports[1]), expired: at(ports[2]), files: root })
}

fn make_files(root: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let authority = |name: &str| -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate()?)
    };
    let (ca, other) = (authority("tests")?, authority("somebody else")?);
    let write = |name: &str, text: &str| fs::write(root.join(name), text);
    write("ca.pem", &ca.as_ref().pem())?;
    write("other_ca.pem", &other.as_ref().pem())?;
    let signed = |name: &str, expired: bool| -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &ca)?.pem(), key.serialize_pem()))
    };
    for (name, expired) in [("server", false), ("expired", true)] {
        let (certificate, key) = signed("127.0.0.1", expired)?;
        write(&format!("{name}.pem"), &(key + &certificate))?;
    }
    for (name, expired) in [("client", false), ("old_client", true)] {
        let (certificate, key) = signed("mutual", expired)?;
        write(&format!("{name}.pem"), &certificate)?;
        write(&format!("{name}.key"), &key)?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    write("token", &token(now, now + 3_600))?;
    write("old_token", &token(now - 7_200, now - 3_600))?;
    write("password", &format!("{PASSWORD}\n"))?;
    write("wrong_password", &format!("{PASSWORD}!\n"))?;
    Ok(())
}

/// An unsecured JWT of the user `token`.
fn token(issued: u64, expires: u64) -> String {
    let part = |json: String| {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut text = String::new();
        for chunk in json.as_bytes().chunks(3) {
            let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            (0..=chunk.len()).for_each(|at| text.push(char::from(letters[(bits >> (18 - 6 * at) & 63) as usize])));
        }
        text
    };
    let claims = part(format!("{{\"sub\":\"token\",\"iat\":{issued},\"exp\":{expires}}}"));
    planted::plant(&claims);
    format!("{}.{claims}.", part("{\"alg\":\"none\"}".into()))
}

/// One access rule: may `principal` do `operation` on this?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub principal: String,
    pub operation: String,
    /// `topic`, `group`, `transactional` or `cluster`.
    pub kind: &'static str,
    pub name: String,
    pub prefixed: bool,
}

/// Adds or removes rules, by Kafka's own requests (CreateAcls and DeleteAcls, version 1).
pub fn change_rules(address: &str, rules: &[Rule], add: bool) {
    let mut body = Vec::new();
    body.extend_from_slice(&(rules.len() as i32).to_be_bytes());
    for rule in rules {
        let kind = match rule.kind {
            "topic" => 2,
            "group" => 3,
            "cluster" => 4,
            "transactional" => 5,
            other => panic!("{other}"),
        };
        let operation = match rule.operation.as_str() {
            "Read" => 3,
            "Write" => 4,
            "Create" => 5,
            "Describe" => 8,
            "DescribeConfigs" => 10,
            other => panic!("{other}"),
        };
        body.push(kind);
        string(&mut body, &rule.name);
        body.push(if rule.prefixed { 4 } else { 3 });
        string(&mut body, &format!("User:{}", rule.principal));
        string(&mut body, "*");
        body.extend_from_slice(&[operation, 3]);
    }
    let answer = request(address, if add { 30 } else { 31 }, &body);
    // Behind the correlation id and the throttle time: how many results, and the error of each.
    assert_eq!(&answer[8..12], (rules.len() as i32).to_be_bytes(), "a result for each rule");
    assert_eq!(&answer[12..14], [0, 0], "{:?}", String::from_utf8_lossy(&answer));
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&(text.len() as i16).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn request(address: &str, key: i16, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut message = Vec::new();
    message.extend_from_slice(&key.to_be_bytes());
    message.extend_from_slice(&1i16.to_be_bytes());
    message.extend_from_slice(&7i32.to_be_bytes());
    string(&mut message, "tests");
    message.extend_from_slice(body);
    stream.write_all(&(message.len() as i32).to_be_bytes()).unwrap();
    stream.write_all(&message).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}
